//! How a Natter service runs: configuration, telemetry, the NATS connection, endpoints and typed calls, durable
//! consumers, readiness and the two-stage stop. What a service *does* is in its own crate.

mod admin;
mod call;
pub mod config;
mod consume;
mod endpoint;
mod fault;
mod leaders;
mod lifecycle;
mod log;
pub mod mongo;
mod nats;
mod pins;
mod rates;
mod ready;
mod start;
mod storage;
mod trace;

pub use call::Caller;
pub use consume::{Batches, Delivery, Durable, Outcome};
pub use endpoint::Endpoints;
pub use fault::{absent, chain, fault};
pub use lifecycle::{Lifecycle, StopError};
pub use log::{Logged, ReadError, last_events, leaders_end, next_events};
pub use nats::Nats;
pub use rates::Rates;
pub use ready::Readiness;
pub use start::{Service, StartError, main};
pub use storage::{Bucket, KvError, is_lost_race, is_under_way, last_revisions, last_values};
pub use trace::Trace;
