//! A service from its first line to its last.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    Batches, Caller, Delivery, Durable, Endpoints, Lifecycle, Nats, Outcome, Readiness, StopError, admin, chain,
    config::{Common, LogConfig, LogFormat},
    mongo,
};

/// Storage that cannot be had is asked for again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// What was measured is summed up this often; until then each sample of a histogram is kept, whether `/metrics` is read or not.
const SUMMED_UP: Duration = Duration::from_secs(5);

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("configuration: {0}")]
    Config(#[from] crate::config::ConfigError),
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("cannot connect to NATS")]
    Nats(#[from] async_nats::ConnectError),
    #[error("cannot set MongoDB up")]
    Mongo(#[from] mongodb::error::Error),
    #[error("cannot register at NATS: {0}")]
    Micro(async_nats::Error),
    #[error("{0}")]
    Invalid(String),
    #[error("stopped while starting")]
    Stopped,
}

/// A running service: what it is made of and what its crate builds on.
pub struct Service {
    name: &'static str,
    nats: Nats,
    lifecycle: Lifecycle,
    readiness: Readiness,
    admin: SocketAddr,
}

impl Service {
    /// Opens the admin port and connects to NATS in the background.
    pub async fn start(name: &'static str, config: &Common) -> Result<Self, StartError> {
        let lifecycle = Lifecycle::default();
        let readiness = Readiness::new(lifecycle.soft().clone());
        let listen = config.admin.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| StartError::Listen(listen, error))?;
        let admin = listener.local_addr().map_err(|error| StartError::Listen(listen, error))?;
        readiness.set("started", false);
        let nats = Nats::connect(&config.nats, &readiness).await?;
        let serve = admin::serve(listener, readiness.clone(), metrics_handle(), lifecycle.soft().clone());
        lifecycle.keep("admin", serve);
        lifecycle.keep("metrics", sum_up(metrics_handle(), lifecycle.soft().clone()));
        tracing::info!(%admin, "{name} {} starts", env!("CARGO_PKG_VERSION"));
        Ok(Self { name, nats, lifecycle, readiness, admin })
    }

    #[must_use]
    pub fn nats(&self) -> &Nats {
        &self.nats
    }

    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::new(self.nats.client().clone())
    }

    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Where the admin port is bound.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Connects to MongoDB in the background.
    pub async fn mongo(&self, config: &crate::config::MongoConfig) -> Result<mongo::Mongo, StartError> {
        Ok(mongo::Mongo::connect(config, &self.readiness, &self.lifecycle).await?)
    }

    /// Makes streams and buckets be there: now, and again whenever NATS was away, since what lives in its memory is
    /// gone then. Returns when they are there for the first time.
    pub async fn storage<E, F>(&self, ensure: E) -> Result<(), StartError>
    where
        E: Fn(Nats) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), async_nats::Error>> + Send,
    {
        self.readiness.set("storage", false);
        let (nats, readiness, soft) = (self.nats.clone(), self.readiness.clone(), self.lifecycle.soft().clone());
        let mut connections = nats.connections();
        let (first, ready) = tokio::sync::oneshot::channel();
        let mut first = Some(first);
        self.lifecycle.keep("storage", async move {
            while !soft.is_cancelled() {
                connections.borrow_and_update();
                match ensure(nats.clone()).await {
                    Ok(()) => {
                        readiness.set("storage", true);
                        if let Some(first) = first.take() {
                            let _ = first.send(());
                        }
                        tokio::select! { () = soft.cancelled() => {}, _ = connections.changed() => {} }
                    }
                    Err(error) => {
                        readiness.set("storage", false);
                        tracing::warn!(error = chain(error.as_ref()), "cannot have streams and buckets; trying again");
                        tokio::select! { () = soft.cancelled() => {}, () = tokio::time::sleep(AGAIN) => {} }
                    }
                }
            }
        });
        ready.await.map_err(|_| StartError::Stopped)
    }

    /// Begins the list of what this service answers.
    #[must_use]
    pub fn endpoints<S: Clone + Send + Sync + 'static>(&self, state: S) -> Endpoints<S> {
        Endpoints::new(self.name, self.nats.clone(), self.lifecycle.clone(), state)
    }

    /// Works a durable consumer, `concurrency` messages at a time.
    pub fn consume<H, F>(&self, durable: Durable, concurrency: usize, handle: H)
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = (Delivery, Outcome)> + Send + 'static,
    {
        self.readiness.set(durable.name, false);
        let name = durable.name;
        let work = durable.each(self.nats.clone(), self.lifecycle.clone(), self.readiness.clone(), concurrency, handle);
        self.lifecycle.keep(name, work);
    }

    /// Works a durable consumer in batches, one after the other.
    pub fn consume_batches<H, F>(&self, durable: Durable, batches: Batches, handle: H)
    where
        H: Fn(Vec<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<(Delivery, Outcome)>> + Send + 'static,
    {
        self.readiness.set(durable.name, false);
        let name = durable.name;
        let work = durable.batches(self.nats.clone(), self.lifecycle.clone(), self.readiness.clone(), batches, handle);
        self.lifecycle.keep(name, work);
    }

    /// Everything is in place: `/readyz` may say so.
    pub fn started(&self) {
        self.readiness.set("started", true);
        tracing::info!("{} is ready to serve", self.name);
    }

    /// Serves until SIGTERM, SIGINT or a task's death; then finishes what is in flight.
    pub async fn run_until_stopped(self) -> Result<(), StopError> {
        let outcome = self.lifecycle.run_until_stopped().await;
        // What is still on its way out, replies and acknowledgements, leaves before the process does.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.nats.client().flush()).await;
        tracing::info!("{} has stopped", self.name);
        outcome
    }
}

/// The process's recorder. There is one per process; in tests several services share it.
fn metrics_handle() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Another recorder was there first: ours then shows nothing, which is no reason not to serve.
            let _ = metrics::set_global_recorder(recorder);
            handle
        })
        .clone()
}

async fn sum_up(metrics: PrometheusHandle, soft: CancellationToken) {
    while soft.run_until_cancelled(tokio::time::sleep(SUMMED_UP)).await.is_some() {
        metrics.run_upkeep();
    }
}

fn log_to_stderr(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // In tests a subscriber may be there already.
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// As many open files as this process may have: each connection is one, and what a shell or systemd gives at first is
/// often 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| maximum.is_none_or(|maximum| current < maximum))
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, ?maximum, "cannot raise the number of files that may be open");
    }
}

/// `main` of a service: runs it and turns its end into an exit code.
///
/// A configuration that cannot be used is one line on stderr that names the key.
pub fn main<C, R, F>(config: Result<C, crate::config::ConfigError>, log: impl Fn(&C) -> &LogConfig, run: R) -> ExitCode
where
    R: FnOnce(C) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    log_to_stderr(log(&config));
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "stopped by a failure");
            ExitCode::FAILURE
        }
    }
}
