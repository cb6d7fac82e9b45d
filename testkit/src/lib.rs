//! Real servers for tests and for `cargo dev`: nats-server, a MongoDB, the services themselves and the official
//! Socket.IO client. What is missing on the machine is installed once into the user's cache directory.
//!
//! [`Nats`], [`Mongo`], [`System`] and the clients panic where something fails, as a test wants it. [`tools`],
//! [`process`], [`nats::Server`], [`mongo::Server`] and [`services`] return errors; `cargo dev` stands on those.

pub mod free_port;
pub mod mongo;
pub mod nats;
pub mod process;
pub mod proxy;
pub mod push;
pub mod rest;
pub mod scratch;
pub mod secrets;
pub mod services;
pub mod smtp;
pub mod socketio;
pub mod system;
pub mod tools;

mod wait;

pub use mongo::Mongo;
pub use nats::Nats;
pub use system::{Session, System, SystemOptions};
pub use wait::{eventually, until};

use std::path::PathBuf;

/// Root of the workspace, where `nats.conf` is.
pub fn workspace() -> PathBuf {
    let crate_folder =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    crate_folder.parent().map_or_else(|| crate_folder.clone(), PathBuf::from)
}
