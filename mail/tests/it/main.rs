//! The mail service as a process, against a real nats-server under `nats.conf` and a mail server that fails on demand.
#![expect(clippy::unwrap_used, reason = "tests")]

mod delivery;
mod failures;
mod files;
mod push;
mod push_failures;
mod push_world;
mod running;
mod start;
mod subscriptions;
