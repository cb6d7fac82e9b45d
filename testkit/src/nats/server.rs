//! A process of nats-server: how it is started, and where it is found then.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::{
    process::{Output, Process},
    secrets, tools, until, workspace,
};

/// A start takes some 50 ms; a store that is to be recovered, or a machine that compiles meanwhile, takes longer.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(30);

/// The accounts of `nats.conf`.
pub const USERS: [&str; 5] = ["user", "chat", "mail", "gateway", "inspector"];

/// The password of each account in [`USERS`].
#[derive(Clone)]
pub struct Passwords(Vec<(&'static str, String)>);

impl Passwords {
    /// Fresh random ones.
    pub fn random() -> Self {
        Self::from_fn(|_| secrets::password())
    }

    /// Asks `password` for each account's.
    pub fn from_fn(mut password: impl FnMut(&str) -> String) -> Self {
        Self(USERS.map(|user| (user, password(user))).into())
    }

    /// An account's password; empty for one that `nats.conf` does not know.
    pub fn of(&self, user: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == user).map_or("", |(_, password)| password)
    }
}

/// How to start a [`Server`].
pub struct Options {
    /// `--name`, unique in a cluster.
    pub name: String,
    /// Folder of the streams; created if missing.
    pub store: PathBuf,
    /// Folder for what else the server writes; must exist.
    pub run_folder: PathBuf,
    /// Port for clients on loopback; `None` lets the server choose.
    pub port: Option<u16>,
    /// Port for monitoring on loopback; `None` lets the server choose.
    pub monitor_port: Option<u16>,
    /// When writes are forced to disk, see `nats.conf`.
    pub sync: String,
    /// The accounts' passwords.
    pub passwords: Passwords,
    /// The node's place in a cluster; `None` for a single node.
    pub cluster: Option<ClusterNode>,
}

/// A node's place in a cluster on loopback.
#[derive(Clone)]
pub struct ClusterNode {
    /// Port for the other nodes.
    pub port: u16,
    /// Ports that lead to the other nodes; its own may be among them.
    pub routes: Vec<u16>,
    /// Whether nodes tell each other where they are; where not, they know the routes above and no others.
    pub gossip: bool,
    /// What the nodes know each other by.
    pub password: String,
}

/// A running nats-server.
pub struct Server {
    /// The process, to signal it and to wait for its end.
    pub process: Process,
    /// Port for clients on loopback.
    pub port: u16,
    /// Port for monitoring over HTTP on loopback.
    pub monitor_port: u16,
}

impl Server {
    /// Starts nats-server, installing it first if need be, and waits until it takes clients.
    pub async fn start(options: &Options, output: Output) -> Result<Self> {
        Self::start_under(&workspace().join("nats.conf"), options, output).await
    }

    /// The same under another configuration file.
    pub(super) async fn start_under(config: &Path, options: &Options, output: Output) -> Result<Self> {
        let program = tokio::task::spawn_blocking(tools::nats_server).await??;
        let mut command = Command::new(program);
        let port = |port: Option<u16>| port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        command
            .arg("--config")
            .arg(config)
            .args(["--name", &options.name, "--addr", "127.0.0.1"])
            .args(["--port", &port(options.port), "--http_port", &port(options.monitor_port)])
            .arg("--ports_file_dir")
            .arg(&options.run_folder)
            .env("NATTER_NATS_STORE", &options.store)
            .env("NATTER_NATS_SYNC", &options.sync)
            .envs(options.passwords.0.iter().map(|(user, password)| (password_variable(user), password)))
            .envs(cluster_variables(options.cluster.as_ref()));
        if options.cluster.as_ref().is_some_and(|cluster| !cluster.gossip) {
            // Told to the others as this node's address: nobody listens there.
            command.args(["--cluster_advertise", "127.0.0.1:9"]);
        }
        let process = Process::spawn(&options.name, command, output)?;
        let ports = until("nats-server to take clients", START_DEADLINE, async || {
            if let Some(status) = process.exit_status() {
                return Some(Err(status));
            }
            read_ports(&options.run_folder, process.pid()).map(Ok)
        })
        .await?;
        match ports {
            Ok((port, monitor_port)) => Ok(Self { process, port, monitor_port }),
            Err(status) => bail!("nats-server ended at once ({status})\n{}", process.output()),
        }
    }
}

/// Name of the variable in `nats.conf` for an account's password.
pub fn password_variable(user: &str) -> String {
    format!("NATTER_NATS_{}_PASSWORD", user.to_uppercase())
}

fn cluster_variables(cluster: Option<&ClusterNode>) -> [(&'static str, String); 3] {
    const NAMES: [&str; 3] = ["NATTER_NATS_CLUSTER_LISTEN", "NATTER_NATS_CLUSTER_ROUTES", "NATTER_NATS_ROUTE_PASSWORD"];
    let values = match cluster {
        None => ["0".to_owned(), "[]".to_owned(), secrets::password()],
        Some(node) => {
            let route = |port: &u16| format!("\"nats://route:{}@127.0.0.1:{port}\"", node.password);
            let routes: Vec<_> = node.routes.iter().map(route).collect();
            [format!("127.0.0.1:{}", node.port), format!("[{}]", routes.join(", ")), node.password.clone()]
        }
    };
    let [listen, routes, password] = values;
    [(NAMES[0], listen), (NAMES[1], routes), (NAMES[2], password)]
}

/// Reads the file in which nats-server reports the ports it has bound; `None` until it is complete.
fn read_ports(folder: &Path, pid: u32) -> Option<(u16, u16)> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
        monitoring: Vec<String>,
    }
    let ports: Ports =
        serde_json::from_slice(&std::fs::read(folder.join(format!("nats-server_{pid}.ports"))).ok()?).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
    Some((port(&ports.nats)?, port(&ports.monitoring)?))
}
