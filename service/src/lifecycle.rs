//! The two-stage stop: a soft token tells everybody to finish, a deadline, then a hard token tells them to drop what
//! they hold. A task that ends before the stop is a failure of the whole service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{future::FutureExt, sync::CancellationToken, task::TaskTracker};

/// Work in flight has this long to finish after the soft stop; a supervisor's patience (10 s) is longer.
const DEADLINE: Duration = Duration::from_secs(8);

/// Tasks of a service and the tokens that end them.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
}

/// Why a service did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error("a task ended before it was told to")]
    TaskDied,
    #[error("work was still in flight at the deadline")]
    Deadline,
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
}

impl Lifecycle {
    /// Cancelled when the service should take nothing new and finish what it has.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Runs `work` for as long as the service lives: it should end after the soft stop, and only then.
    pub fn keep(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let guard = DiedEarly { lifecycle: this.clone(), name };
            tokio::select! {
                () = work => {}
                () = this.hard.cancelled() => {}
            }
            drop(guard);
        });
    }

    /// Runs one piece of work that the stop waits for.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work.with_cancellation_token_owned(self.hard.clone()));
    }

    /// Begins the stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits for SIGTERM, SIGINT or [`stop`](Self::stop), then stops in two stages.
    pub async fn run_until_stopped(&self) -> Result<(), StopError> {
        let mut term = signal(SignalKind::terminate()).map_err(StopError::Signals)?;
        let mut int = signal(SignalKind::interrupt()).map_err(StopError::Signals)?;
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: finishing what is in flight"),
            _ = int.recv() => tracing::info!("SIGINT: finishing what is in flight"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(DEADLINE, self.tasks.wait()).await;
        self.hard.cancel();
        match (self.failed.load(Ordering::Relaxed), finished) {
            (true, _) => Err(StopError::TaskDied),
            (false, Err(_)) => Err(StopError::Deadline),
            (false, Ok(())) => Ok(()),
        }
    }
}

/// Notices, also by a panic's unwinding, that a kept task ended while it was still needed.
struct DiedEarly {
    lifecycle: Lifecycle,
    name: &'static str,
}

impl Drop for DiedEarly {
    fn drop(&mut self) {
        if !self.lifecycle.soft.is_cancelled() {
            tracing::error!(task = self.name, "task {} ended early; the service stops", self.name);
            self.lifecycle.failed.store(true, Ordering::Relaxed);
            self.lifecycle.soft.cancel();
        }
    }
}
