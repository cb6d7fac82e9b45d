//! A MongoDB: the one that `NATTER_MONGO__URI` names, `mongod`, or the compatible `secantusd-rs`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use mongodb::bson::{Document, doc};
use tokio::{net::TcpStream, sync::OnceCell};

use crate::{
    free_port,
    process::{Output, Process},
    scratch,
    tools::{self, MongoProgram},
    until,
};

/// Names a MongoDB that is there already.
pub const URI_VARIABLE: &str = "NATTER_MONGO__URI";
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How to start a [`Server`].
pub struct Options {
    /// Folder of the data; created if missing.
    pub data: PathBuf,
    /// Port on loopback.
    pub port: u16,
}

/// A running MongoDB on loopback.
pub struct Server {
    /// The process, to signal it and to wait for its end.
    pub process: Process,
    /// Its address as a connection string.
    pub uri: String,
}

impl Server {
    /// Starts a MongoDB, installing it first if need be, and waits until it takes clients.
    pub async fn start(options: &Options, output: Output) -> Result<Self> {
        let program = tokio::task::spawn_blocking(tools::mongo).await??;
        std::fs::create_dir_all(&options.data)?;
        let process = Process::spawn("mongo", command(&program, options), output)?;
        let address = free_port::address(options.port);
        let running = until("MongoDB to take clients", START_DEADLINE, async || {
            if process.exit_status().is_some() {
                return Some(false);
            }
            TcpStream::connect(address).await.is_ok().then_some(true)
        })
        .await?;
        ensure!(running, "MongoDB ended at once\n{}", process.output());
        let uri = format!("mongodb://{address}/");
        if matches!(program, MongoProgram::Mongod(_)) {
            form_replica_set(&uri).await.context("a replica set of one, which transactions need")?;
        }
        Ok(Self { process, uri })
    }
}

fn command(program: &MongoProgram, options: &Options) -> Command {
    let port = options.port.to_string();
    let mut command;
    match program {
        MongoProgram::Mongod(program) => {
            command = Command::new(program);
            command.args(["--bind_ip", "127.0.0.1", "--replSet", "natter", "--wiredTigerCacheSizeGB", "0.25"]);
            command.args(["--port", &port]).arg("--dbpath").arg(&options.data);
        }
        MongoProgram::Secantus(program) => {
            command = Command::new(program);
            command.args(["--host", "127.0.0.1", "--cache-size", "128M", "--log-file-max", "16MB"]);
            // By itself it acknowledges before the log is written, and `kill -9` loses what was acknowledged.
            command.args(["--sync-on-commit", "--log-level", "WARNING"]);
            command.args(["--port", &port]).arg("--storage-path").arg(&options.data);
        }
    }
    command
}

/// Makes a fresh `mongod` a replica set of one; does nothing to one that has been made so before.
async fn form_replica_set(uri: &str) -> Result<()> {
    let direct = mongodb::Client::with_uri_str(format!("{uri}?directConnection=true")).await?;
    let admin = direct.database("admin");
    // An error is "already initialized"; what counts is whether a primary appears.
    let _ = admin.run_command(doc! { "replSetInitiate": {} }).await;
    until("MongoDB to elect itself", START_DEADLINE, async || {
        let hello: Document = admin.run_command(doc! { "hello": 1 }).await.ok()?;
        hello.get_bool("isWritablePrimary").ok()?.then_some(())
    })
    .await
}

/// A MongoDB of a test: an empty database of its own, on its own server or a shared one.
pub struct Mongo {
    uri: String,
    database: String,
    own: Option<Own>,
}

/// A server that belongs to one [`Mongo`], so that it can be stopped.
struct Own {
    options: Options,
    folder: Arc<scratch::Folder>,
    server: Mutex<Option<Server>>,
}

#[expect(clippy::expect_used, reason = "a test that cannot have its server is over")]
impl Mongo {
    /// A fresh database on the server that all tests of this binary share.
    ///
    /// # Panics
    /// When no server can be started.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<Mongo> = OnceCell::const_new();
        let shared = SHARED.get_or_init(Self::start).await;
        Self { uri: shared.uri.clone(), database: fresh_name(), own: None }
    }

    /// A fresh database on a server of its own, which can be stopped and started again; with `NATTER_MONGO__URI`, on
    /// that server.
    ///
    /// # Panics
    /// When no server can be started.
    pub async fn start() -> Self {
        if let Ok(uri) = std::env::var(URI_VARIABLE) {
            return Self { uri, database: fresh_name(), own: None };
        }
        let folder = Arc::new(scratch::Folder::new("mongo").expect("a scratch folder"));
        let port = free_port::any().expect("a free port");
        let options = Options { data: folder.path().join("data"), port };
        let own = Own { options, folder, server: Mutex::new(None) };
        let uri = own.start().await.expect("a running MongoDB");
        Self { uri, database: fresh_name(), own: Some(own) }
    }

    /// The connection string, without a database.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The name of the database, which nobody else uses.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What a service needs in its environment to connect.
    pub fn env(&self) -> Vec<(String, String)> {
        vec![(URI_VARIABLE.to_owned(), self.uri.clone()), ("NATTER_MONGO__DATABASE".to_owned(), self.database.clone())]
    }

    /// The database, with a client of its own.
    ///
    /// # Panics
    /// When the connection string is wrong.
    pub async fn connect(&self) -> mongodb::Database {
        let client = mongodb::Client::with_uri_str(&self.uri).await.expect("a connection string");
        client.database(&self.database)
    }

    /// Stops the server with SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When the server is shared or is not ours.
    pub async fn stop(&self) {
        if let Some(server) = self.own().take() {
            server.process.stop(Duration::from_secs(20)).await;
        }
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Panics
    /// When the server is shared or is not ours.
    pub async fn kill(&self) {
        if let Some(server) = self.own().take() {
            server.process.kill();
            server.process.wait().await;
        }
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill), with the same port and data.
    ///
    /// # Panics
    /// When it does not start, or the server is shared or is not ours.
    pub async fn start_again(&self) {
        self.stop().await;
        self.own().start().await.expect("a running MongoDB");
    }

    /// SIGSTOP: it hangs with all its connections open.
    ///
    /// # Panics
    /// When the server is shared or is not ours.
    pub fn pause(&self) {
        self.own().with(Process::pause);
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Panics
    /// When the server is shared or is not ours.
    pub fn resume(&self) {
        self.own().with(Process::resume);
    }

    /// Where it listens; `None` for one that is not ours.
    pub fn address(&self) -> Option<SocketAddr> {
        self.own.as_ref().map(|own| free_port::address(own.options.port))
    }

    /// Whether [`stop`](Self::stop) is possible: not where `NATTER_MONGO__URI` names the server.
    pub fn can_stop(&self) -> bool {
        self.own.is_some()
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("a server that this test started with `Mongo::start`")
    }
}

impl Own {
    fn take(&self) -> Option<Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn with(&self, signal: impl FnOnce(&Process)) {
        if let Some(server) = &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
            signal(&server.process);
        }
    }

    async fn start(&self) -> Result<String> {
        let server = Server::start(&self.options, Output::File(self.folder.path().join("log"))).await?;
        let uri = server.uri.clone();
        let previous = self.server.lock().unwrap_or_else(PoisonError::into_inner).replace(server);
        if previous.is_some() {
            bail!("two servers on one folder");
        }
        Ok(uri)
    }
}

/// A database name that no other test or run uses.
fn fresh_name() -> String {
    format!("test_{:016x}", rand::random::<u64>())
}
