//! What load is put on.

use std::{
    env::temp_dir,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Process, Processes};

/// Where `cargo dev` notes in its data folder what runs.
const RUNNING: &str = "running";

/// How the system is found.
#[derive(Args, Clone, Serialize)]
pub struct Target {
    /// Data folder of the `cargo dev` that runs the system; it tells what the following ones would
    #[arg(long, default_value = ".dev")]
    #[serde(skip)]
    data: PathBuf,
    /// Gateways, separated by commas; with one only, nothing crosses between gateways
    #[arg(long, value_delimiter = ',', value_parser = address)]
    gateways: Vec<String>,
    /// Folder that the mail service writes letters into (NATTER_MAIL__FILES)
    #[arg(long)]
    #[serde(skip)]
    mail: Option<PathBuf>,
    /// The NATS server's monitoring port, such as http://127.0.0.1:8222
    #[arg(long, value_parser = address)]
    #[serde(skip)]
    nats: Option<String>,
}

/// A running system.
#[derive(Clone)]
pub struct System {
    /// Such as `http://127.0.0.1:8080`.
    pub gateways: Vec<String>,
    /// The folder of letters.
    pub mail: PathBuf,
    /// Where NATS tells about itself over HTTP.
    pub nats: String,
    /// What it consists of, and this program. Without a `cargo dev`, only the latter is known.
    pub processes: Processes,
    /// Where it keeps its data; a place on the same disk is worth as much.
    data: Option<PathBuf>,
}

/// What `cargo dev` notes, as far as it is of use here.
#[derive(Deserialize)]
struct Running {
    gateways: Vec<String>,
    nats_monitoring: String,
    mail: PathBuf,
    processes: Vec<Process>,
}

impl Target {
    /// Finds the system; what was said on the command line goes before what `cargo dev` has noted.
    pub fn find(&self) -> Result<System> {
        let running = Running::read(&self.data);
        let Self { gateways, mail, nats, .. } = self.clone();
        let complete = !gateways.is_empty() && mail.is_some() && nats.is_some();
        let running = match running {
            Err(_) if complete => Running::unknown(),
            running => running.with_context(|| {
                format!("no `cargo dev` runs on {}; say --data, or --gateways, --mail and --nats", self.data.display())
            })?,
        };
        Ok(System {
            gateways: if gateways.is_empty() { running.gateways } else { gateways },
            mail: mail.unwrap_or(running.mail),
            nats: nats.unwrap_or(running.nats_monitoring),
            processes: Processes::and_this(running.processes),
            data: self.data.is_dir().then_some(self.data.clone()),
        })
    }
}

impl System {
    /// What NATS tells about itself under this path.
    pub async fn ask_nats(&self, path: &str) -> Result<Value> {
        let answer = reqwest::get(format!("{}/{path}", self.nats)).await.context("NATS' monitoring port")?;
        Ok(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?)
    }

    /// An empty folder beside the system's data, removed on drop; elsewhere if it is not known where those are.
    pub fn scratch(&self) -> Result<TempDir> {
        let folder = self.data.as_ref().map_or_else(|| Ok(temp_dir()), |data| data.canonicalize())?;
        Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(folder)?)
    }
}

impl Running {
    fn read(data: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&fs::read(data.join(RUNNING))?)?)
    }

    fn unknown() -> Self {
        Self { gateways: Vec::new(), nats_monitoring: String::new(), mail: PathBuf::new(), processes: Vec::new() }
    }
}

/// An address as it is given on the command line.
fn address(url: &str) -> Result<String, String> {
    let url = url.trim_end_matches('/');
    if url.starts_with("http://") {
        Ok(url.to_owned())
    } else {
        Err("must be http://host:port, without TLS".to_owned())
    }
}
