//! The `chat` service against real servers: NATS under the project's nats.conf, and MongoDB.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps says what it expects")]

mod archive;
mod audiences;
mod catchup;
mod conversations;
mod messages;
mod receipts;
mod world;
