//! The note of what runs on a data folder, for those who work with it from another terminal: `cargo dev rebuild`, `bench`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Its file in the data folder. It holds passwords.
pub(crate) const RUNNING: &str = "running";

/// What runs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Running {
    /// What `chat` is told, see `rebuild`.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where clients connect, such as `http://127.0.0.1:8080`.
    pub(crate) gateways: Vec<String>,
    /// Where NATS tells about itself over HTTP.
    pub(crate) nats_monitoring: String,
    /// The folder that letters are written into.
    pub(crate) mail: PathBuf,
    pub(crate) processes: Vec<Noted>,
}

/// A running process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Noted {
    /// As in the log of `cargo dev`.
    pub(crate) name: String,
    pub(crate) pid: u32,
}
