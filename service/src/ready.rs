//! Readiness: which parts this service needs are there, by name.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The parts a service needs, shared by all who report on one.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<watch::Sender<BTreeMap<&'static str, bool>>>,
    stopping: CancellationToken,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new(CancellationToken::new())
    }
}

impl Readiness {
    /// After `stopping` parts are given up on purpose, which is no news.
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        Self { parts: Arc::new(watch::Sender::new(BTreeMap::new())), stopping }
    }

    /// Reports on a part; the first report makes it one that is needed.
    pub fn set(&self, part: &'static str, there: bool) {
        self.parts.send_if_modified(|parts| {
            let before = parts.insert(part, there);
            match (before, there) {
                (Some(true), false) if !self.stopping.is_cancelled() => tracing::warn!(part, "lost {part}"),
                (Some(false), true) => tracing::info!(part, "{part} is there"),
                _ => {}
            }
            before != Some(there)
        });
    }

    /// Whether this part is there now.
    #[must_use]
    pub fn has(&self, part: &str) -> bool {
        self.parts.borrow().get(part).copied().unwrap_or(false)
    }

    /// Names of the parts that are missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.parts.borrow().iter().filter(|(_, there)| !**there).map(|(part, _)| *part).collect()
    }

    /// Waits until nothing is missing.
    pub async fn wait(&self) {
        let mut parts = self.parts.subscribe();
        // The sender lives as long as `self`.
        let _ = parts.wait_for(|parts| parts.values().all(|there| *there)).await;
    }
}
