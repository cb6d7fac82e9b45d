//! The testkit against the real servers, and `nats.conf` against what it promises.
#![expect(clippy::unwrap_used, reason = "tests")]

mod permissions;
mod servers;
mod socketio;
