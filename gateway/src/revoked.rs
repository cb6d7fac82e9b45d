//! Which sessions are revoked: the bucket `REVOKED`, watched, so that an access token dies with its session.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_nats::jetstream::kv::{Operation, Watch};
use contract::{SessionId, storage::REVOKED_BUCKET};
use futures::StreamExt;
use service::{Lifecycle, Nats, Readiness, chain};
use tokio::sync::watch;

/// A watch that cannot be had is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// While the bucket is being read, the next key comes within this, or there is none.
const NEXT_KEY: Duration = Duration::from_secs(1);

/// Sessions revoked within the lifetime of an access token; cheap to clone.
#[derive(Clone, Default)]
pub struct Revoked {
    sessions: Arc<RwLock<HashSet<SessionId>>>,
    loaded: Arc<watch::Sender<bool>>,
}

impl Revoked {
    /// Waits until the bucket has been read; before, nobody can be let in.
    pub async fn loaded(&self) {
        // The sender lives as long as this does, so there is no error.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    #[must_use]
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }

    /// What is known to be revoked before the watch says so.
    pub fn insert(&self, session: SessionId) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(session);
    }

    fn remove(&self, session: SessionId) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }

    fn replace(&self, sessions: HashSet<SessionId>) {
        *self.sessions.write().unwrap_or_else(PoisonError::into_inner) = sessions;
        self.loaded.send_replace(true);
    }

    /// Follows the bucket in the background; `expel` is told each session that turns up. Whenever NATS was away the
    /// bucket is read anew: it may be another one. Readiness `revoked` says whether it is being followed.
    pub fn follow(
        &self,
        nats: &Nats,
        lifecycle: &Lifecycle,
        readiness: &Readiness,
        expel: impl Fn(SessionId) + Send + Sync + 'static,
    ) {
        readiness.set("revoked", false);
        let (this, nats, soft, readiness) = (self.clone(), nats.clone(), lifecycle.soft().clone(), readiness.clone());
        lifecycle.keep("revoked", async move {
            let mut connections = nats.connections();
            while !soft.is_cancelled() {
                connections.borrow_and_update();
                let outcome = tokio::select! {
                    biased;
                    () = soft.cancelled() => return,
                    _ = connections.changed() => Ok(()),
                    outcome = this.follow_once(&nats, &readiness, &expel) => outcome,
                };
                if let Err(error) = outcome {
                    readiness.set("revoked", false);
                    tracing::warn!(error = chain(error.as_ref()), "cannot follow revoked sessions; trying again");
                    tokio::select! { () = soft.cancelled() => {}, () = tokio::time::sleep(AGAIN) => {} }
                }
            }
        });
    }

    async fn follow_once(
        &self,
        nats: &Nats,
        readiness: &Readiness,
        expel: &impl Fn(SessionId),
    ) -> Result<(), async_nats::Error> {
        let bucket = nats.jetstream().get_key_value(REVOKED_BUCKET).await?;
        let empty = bucket.status().await?.values() == 0;
        let mut watch = bucket.watch_with_history(">").await?;
        let sessions = if empty { HashSet::new() } else { read(&mut watch).await? };
        let known: Vec<_> = sessions.iter().copied().collect();
        self.replace(sessions);
        known.into_iter().for_each(expel);
        readiness.set("revoked", true);
        while let Some(entry) = watch.next().await {
            let entry = entry?;
            let Ok(session) = entry.key.parse() else { continue };
            match entry.operation {
                Operation::Put => {
                    self.insert(session);
                    expel(session);
                }
                Operation::Delete | Operation::Purge => self.remove(session),
            }
        }
        Err("the watch ended".into())
    }
}

/// What the bucket holds at the moment.
async fn read(watch: &mut Watch) -> Result<HashSet<SessionId>, async_nats::Error> {
    let mut sessions = HashSet::new();
    while let Ok(Some(entry)) = tokio::time::timeout(NEXT_KEY, watch.next()).await {
        let entry = entry?;
        if let (Ok(session), Operation::Put) = (entry.key.parse(), entry.operation) {
            sessions.insert(session);
        }
        if entry.delta == 0 {
            break;
        }
    }
    Ok(sessions)
}
