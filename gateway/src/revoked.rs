//! Which sessions are revoked: the bucket `REVOKED`, watched, so that an access token dies with its session.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_nats::jetstream::kv::{Entry, Operation};
use contract::{SessionId, storage::REVOKED_BUCKET};
use futures::{Stream, StreamExt};
use service::{Lifecycle, Nats, Readiness, chain};
use tokio::{sync::watch, time::timeout};

/// A watch that cannot be had is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// While the bucket is being read, the next key comes within this, or it is read again.
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
        let held = bucket.status().await?.values();
        let mut told = bucket.watch_with_history(">").await?.map(|entry| entry.map(|entry| Told::from(&entry)));
        let sessions = read(&mut told, held).await?;
        let known: Vec<_> = sessions.iter().copied().collect();
        self.replace(sessions);
        known.into_iter().for_each(expel);
        readiness.set("revoked", true);
        while let Some(told) = told.next().await {
            match told? {
                Told { session: Some(session), revoked: true, .. } => {
                    self.insert(session);
                    expel(session);
                }
                Told { session: Some(session), revoked: false, .. } => self.remove(session),
                Told { session: None, .. } => {}
            }
        }
        Err("the watch ended".into())
    }
}

/// What a key of the bucket says.
struct Told {
    /// `None` for a key that is none.
    session: Option<SessionId>,
    revoked: bool,
    /// Keys that come after it.
    left: u64,
}

impl From<&Entry> for Told {
    fn from(entry: &Entry) -> Self {
        Self { session: entry.key.parse().ok(), revoked: entry.operation == Operation::Put, left: entry.delta }
    }
}

/// What a bucket holds that has so many keys: all of it or an error, for who is not known to be revoked is let in.
async fn read<E: Into<async_nats::Error>>(
    told: &mut (impl Stream<Item = Result<Told, E>> + Unpin),
    keys: u64,
) -> Result<HashSet<SessionId>, async_nats::Error> {
    let (mut sessions, mut left) = (HashSet::new(), keys);
    while left > 0 {
        let next = timeout(NEXT_KEY, told.next()).await.map_err(|_| "the bucket was not read in time")?;
        let next = next.ok_or("the watch ended")?.map_err(Into::into)?;
        match next.session {
            Some(session) if next.revoked => drop(sessions.insert(session)),
            Some(session) => drop(sessions.remove(&session)),
            None => {}
        }
        left = next.left;
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn told(session: SessionId, revoked: bool, left: u64) -> Told {
        Told { session: Some(session), revoked, left }
    }

    fn stream(all: impl IntoIterator<Item = Told>) -> impl Stream<Item = Result<Told, async_nats::Error>> + Unpin {
        stream::iter(all.into_iter().map(Ok).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn the_bucket_is_read_whole() {
        let [anna, ben] = [SessionId::new(), SessionId::new()];
        let mut all = stream([told(anna, true, 2), told(ben, true, 1), told(anna, false, 0), told(anna, true, 0)]);
        assert_eq!(read(&mut all, 2).await.unwrap(), [ben].into());
        assert!(all.next().await.is_some(), "what comes later is another's to take");
        assert!(read(&mut stream([]).chain(stream::pending()), 0).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_part_of_the_bucket_is_an_error() {
        let part = || stream([told(SessionId::new(), true, 1)]);
        assert!(read(&mut part(), 2).await.is_err(), "the watch ended");
        assert!(read(&mut part().chain(stream::pending()), 2).await.is_err(), "NATS is slow");
    }
}
