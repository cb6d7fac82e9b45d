//! Natter from outside: REST and the official Socket.IO client, through processes that may die.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps says what it expects")]

mod bad_input;
mod cluster;
mod example;
mod faults;
mod groups;
mod model;
mod notifications;
mod presence;
mod sessions;
mod sight;
mod signals;
mod two_people;
