//! Natter as a whole under faults: people who write and read, what goes wrong meanwhile, and a checker of what became of
//! every message. `tests/` uses it for minutes, `cargo run -p e2e -- soak` for as long as one likes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "what supports a test panics where the test could not go on"
)]

pub mod check;
pub mod client;
pub mod clock;
pub mod fault;
pub mod history;
pub mod load;
pub mod mutants;
pub mod observe;
pub mod random;
pub mod recorder;
pub mod reduce;
pub mod report;
pub mod run;
pub mod site;
pub mod soak;
