//! The gateway against a real NATS and the official client, with `user` and `chat` played by the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps says what it expects")]

mod connect;
mod events;
mod limits;
mod presence;
mod raw;
mod rest;
mod rooms;
mod signals;
mod slow;
mod world;
