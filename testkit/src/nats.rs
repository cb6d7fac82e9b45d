//! A real nats-server under the project's `nats.conf`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    free_port,
    process::{Output, Process},
    proxy::{Proxy, Traffic},
    scratch, secrets, tools, until, workspace,
};

/// A start takes some 50 ms; a store that is to be recovered, or a machine that compiles meanwhile, takes longer.
const START_DEADLINE: Duration = Duration::from_secs(30);

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
    async fn start_under(config: &Path, options: &Options, output: Output) -> Result<Self> {
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

/// What is between the nodes of a cluster: each connects to each through a proxy of its own.
pub struct Network {
    links: Vec<Link>,
}

struct Link {
    from: usize,
    to: usize,
    proxy: Proxy,
}

impl Network {
    /// What becomes of all traffic between this node and the others, in both directions.
    pub fn set(&self, node: usize, traffic: Traffic) {
        for link in self.links.iter().filter(|link| [link.from, link.to].contains(&node)) {
            link.proxy.set(traffic);
        }
    }
}

/// A nats-server of a test: random port (the same after a restart), own store, removed on drop.
pub struct Nats {
    options: Options,
    config: PathBuf,
    server: Option<Server>,
    folder: scratch::Folder,
}

#[expect(clippy::expect_used, reason = "a test that cannot have its server is over")]
impl Nats {
    /// A single node under the project's `nats.conf`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let mut nats = Self::new("nats-server", Passwords::random(), None);
        nats.start_again().await;
        nats
    }

    /// A single node whose streams on disk have room for `bytes` together, under the same file with this one line more.
    ///
    /// # Panics
    /// When it does not start, or the file has no place for the line.
    pub async fn start_with_room(bytes: u64) -> Self {
        const PLACE: &str = "  store_dir: $NATTER_NATS_STORE\n";
        let mut nats = Self::new("nats-server", Passwords::random(), None);
        let whole = std::fs::read_to_string(workspace().join("nats.conf")).expect("nats.conf");
        assert!(whole.contains(PLACE), "nats.conf sets the folder of the streams in another way");
        let config = nats.folder.path().join("nats.conf");
        let line = format!("{PLACE}  max_file_store: {bytes}\n");
        std::fs::write(&config, whole.replacen(PLACE, &line, 1)).expect("a configuration file");
        nats.config = config;
        nats.start_again().await;
        nats
    }

    /// A cluster of `size` nodes with the same passwords, once it has a leader for its streams.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn cluster(size: usize) -> Vec<Self> {
        let ports: Vec<_> = (0..size).map(|_| free_port::any().expect("a port")).collect();
        let (passwords, password) = (Passwords::random(), secrets::password());
        let mut nodes = Vec::with_capacity(size);
        for (index, &port) in ports.iter().enumerate() {
            let place = ClusterNode { port, routes: ports.clone(), gossip: true, password: password.clone() };
            let mut node = Self::new(&format!("nats-{index}"), passwords.clone(), Some(place));
            node.start_again().await;
            nodes.push(node);
        }
        for node in &nodes {
            node.wait_until_healthy().await;
        }
        nodes
    }

    /// The same, with a network between the nodes that can fail.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn cluster_with_network(size: usize) -> (Vec<Self>, Network) {
        let ports: Vec<_> = (0..size).map(|_| free_port::any().expect("a port")).collect();
        let (passwords, password) = (Passwords::random(), secrets::password());
        let (mut nodes, mut links) = (Vec::with_capacity(size), Vec::new());
        for (from, &port) in ports.iter().enumerate() {
            let mut routes = Vec::new();
            for (to, &target) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
                let proxy = Proxy::start(free_port::address(target)).await.expect("a proxy");
                routes.push(proxy.address().port());
                links.push(Link { from, to, proxy });
            }
            let place = ClusterNode { port, routes, gossip: false, password: password.clone() };
            nodes.push(Self::new(&format!("nats-{from}"), passwords.clone(), Some(place)));
        }
        for node in &mut nodes {
            node.start_again().await;
        }
        for node in &nodes {
            node.wait_until_healthy().await;
        }
        (nodes, Network { links })
    }

    fn new(name: &str, passwords: Passwords, cluster: Option<ClusterNode>) -> Self {
        let folder = scratch::Folder::new(name).expect("a scratch folder");
        // The real setting unless told: what tests promise of durability they promise of `always`.
        let sync = std::env::var("NATTER_NATS_SYNC").unwrap_or_else(|_| "always".to_owned());
        let options = Options {
            name: name.to_owned(),
            store: folder.path().join("store"),
            run_folder: folder.path().to_path_buf(),
            port: None,
            monitor_port: None,
            sync,
            passwords,
            cluster,
        };
        Self { options, config: workspace().join("nats.conf"), server: None, folder }
    }

    /// What the server is called in its cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where clients connect, without credentials.
    ///
    /// # Panics
    /// Before the first start.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.options.port.expect("the server has been started"))
    }

    /// Where `/varz`, `/jsz` and `/healthz` are.
    ///
    /// # Panics
    /// Before the first start.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.monitor_port.expect("the server has been started"))
    }

    /// The password of one of [`USERS`].
    pub fn password(&self, user: &str) -> &str {
        self.options.passwords.of(user)
    }

    /// What the service of this name needs in its environment to connect.
    pub fn env(&self, service: &str) -> Vec<(String, String)> {
        vec![
            ("NATTER_NATS__URL".to_owned(), self.url()),
            ("NATTER_NATS__PASSWORD".to_owned(), self.password(service).to_owned()),
        ]
    }

    /// A client with the rights of one of [`USERS`].
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn connect(&self, user: &str) -> async_nats::Client {
        self.client(user).connect(self.url()).await.expect("a connection to nats-server")
    }

    /// How one of [`USERS`] connects, for a test that wants to set more.
    pub fn client(&self, user: &str) -> async_nats::ConnectOptions {
        // The inspector is the `nats` CLI, which uses the default prefix.
        let inbox = if user == "inspector" { "_INBOX".to_owned() } else { format!("_INBOX_{user}") };
        async_nats::ConnectOptions::with_user_and_password(user.to_owned(), self.password(user).to_owned())
            .name(user)
            .custom_inbox_prefix(inbox)
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.process.stop(Duration::from_secs(10)).await;
        }
    }

    /// SIGKILL, and waits for its end.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.process.kill();
            server.process.wait().await;
        }
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill), with the same port and store.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        self.stop().await;
        let output = Output::File(self.folder.path().join("log"));
        let server = Server::start_under(&self.config, &self.options, output).await.context("nats-server");
        let server = server.expect("a running nats-server");
        (self.options.port, self.options.monitor_port) = (Some(server.port), Some(server.monitor_port));
        self.server = Some(server);
    }

    /// Kills it, removes all that it has stored and starts it on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn wipe_and_start_again(&mut self) {
        self.kill().await;
        if self.options.store.exists() {
            std::fs::remove_dir_all(&self.options.store).expect("the store can be removed");
        }
        self.start_again().await;
    }

    /// SIGSTOP: it hangs with all its connections open.
    pub fn pause(&self) {
        if let Some(server) = &self.server {
            server.process.pause();
        }
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        if let Some(server) = &self.server {
            server.process.resume();
        }
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until JetStream serves: at once on a single node, after an election in a cluster.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub async fn wait_until_healthy(&self) {
        let url = format!("{}/healthz", self.monitor_url());
        crate::eventually("nats-server to be healthy", START_DEADLINE, async || {
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}
