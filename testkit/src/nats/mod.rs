//! A real nats-server under the project's `nats.conf`.

mod cluster;
mod server;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;

pub use self::{
    cluster::Network,
    server::{ClusterNode, Options, Passwords, Server, USERS, password_variable},
};
use crate::{free_port, nats::server::START_DEADLINE, process::Output, scratch, until, workspace};

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
        format!("nats://{}", self.address())
    }

    /// The same as an address.
    ///
    /// # Panics
    /// Before the first start.
    pub fn address(&self) -> SocketAddr {
        free_port::address(self.options.port.expect("the server has been started"))
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

    /// Whether one who calls itself so is connected here.
    pub async fn has_client(&self, name: &str) -> bool {
        let listed = async || -> Option<bool> {
            let answer = reqwest::get(format!("{}/connz", self.monitor_url())).await.ok()?;
            let clients: serde_json::Value = answer.json().await.ok()?;
            Some(clients["connections"].as_array()?.iter().any(|client| client["name"] == name))
        };
        listed().await.unwrap_or(false)
    }

    /// Waits until JetStream serves: at once on a single node, after an election in a cluster.
    ///
    /// # Panics
    /// When it does not within 30 s, with what the server said last.
    pub async fn wait_until_healthy(&self) {
        let url = format!("{}/healthz", self.monitor_url());
        let mut said = "nothing".to_owned();
        let healthy = until("nats-server to be healthy", START_DEADLINE, async || {
            let answer = reqwest::get(&url).await.ok()?;
            let status = answer.status();
            said = answer.text().await.ok()?;
            status.is_success().then_some(())
        })
        .await;
        if let Err(late) = healthy {
            panic!("{late}; {} says {said}", self.name());
        }
    }
}
