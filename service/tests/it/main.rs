//! The plumbing of a service against a real nats-server under the project's nats.conf.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps says what it expects")]

mod calls;
mod consumers;
mod losses;
mod storage;
mod world;
