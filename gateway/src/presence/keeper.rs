//! Keeps this gateway's lease and its people's sessions in the bucket `PRESENCE`. The lease is the only heartbeat: its cost
//! grows with gateways. If it was lost, or NATS was away and the bucket with it, everything is put there again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use contract::{
    GatewayId, Time, UserId,
    presence::{Availability, LEASE_SECONDS, Lease, RENEW_SECONDS, Session},
    storage::{PRESENCE_BUCKET, PresenceKey},
};
use futures::{StreamExt, stream};
use service::{Bucket, KvError, Nats, Readiness, chain};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{LINGER, Presence};

/// Keys written at a time.
const AT_ONCE: usize = 64;
/// What NATS did not take is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// At the stop, sockets have this long to be closed before their sessions are handed back anyway,
const CLOSED: Duration = Duration::from_secs(6);
/// which may take this long;
const HANDED_BACK: Duration = Duration::from_millis(1_500);
/// they are looked at this often.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Keeper {
    presence: Presence,
    nats: Nats,
    readiness: Readiness,
    gateway: GatewayId,
    since: Time,
    /// The bucket's entries, as far as known.
    written: HashMap<UserId, Availability>,
    /// Who left, and when that is believed.
    leaving: VecDeque<(Instant, UserId)>,
}

/// Why everything has to be put there again.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("NATS was away")]
    Connection,
    #[error("the lease has expired")]
    Lease,
    #[error("cannot have the bucket")]
    Bucket(#[from] async_nats::jetstream::context::CreateKeyValueError),
    #[error("cannot write")]
    Write(#[from] KvError),
}

impl Keeper {
    pub(super) fn new(presence: Presence, nats: Nats, readiness: Readiness) -> Self {
        Self {
            presence,
            nats,
            readiness,
            gateway: GatewayId::new(),
            since: Time::now(),
            written: HashMap::new(),
            leaving: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self, soft: CancellationToken) {
        let mut connections = self.nats.connections();
        while !soft.is_cancelled() {
            connections.borrow_and_update();
            let lost = tokio::select! {
                biased;
                () = soft.cancelled() => break,
                _ = connections.changed() => Lost::Connection,
                Err(lost) = self.serve() => lost,
            };
            self.readiness.set("presence", false);
            // Whoever was written may be so no longer.
            let here: HashSet<UserId> = self.presence.here().devices.people().collect();
            let mut known = std::mem::take(&mut self.written);
            known.retain(|user, _| !here.contains(user));
            self.leaving.extend(known.into_keys().map(|user| (Instant::now(), user)));
            // Beside whoever has come since.
            self.presence.here().stale.extend(here);
            if !matches!(lost, Lost::Connection) {
                tracing::warn!(error = chain(&lost), "presence is put into NATS again");
                tokio::select! { () = soft.cancelled() => {}, () = sleep(AGAIN) => {} }
            }
        }
        self.hand_back().await;
    }

    /// Keeps lease and sessions until that fails.
    async fn serve(&mut self) -> Result<std::convert::Infallible, Lost> {
        Bucket::presence().ensure(&self.nats).await?;
        let mut lease = self.put_lease(None).await?;
        let mut renew = interval(Duration::from_secs(RENEW_SECONDS));
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renew.reset();
        loop {
            self.write_stale().await?;
            self.readiness.set("presence", true);
            let left = self.leaving.front().map(|(at, _)| *at);
            tokio::select! {
                () = self.presence.0.changed.notified() => {}
                () = sleep_until(left.unwrap_or_else(Instant::now)), if left.is_some() => {}
                _ = renew.tick() => lease = self.put_lease(Some(lease)).await?,
            }
        }
    }

    /// Answers the lease's revision; a renewal finds the lease as it was, or it has expired and others know.
    async fn put_lease(&self, revision: Option<u64>) -> Result<u64, Lost> {
        let key = PresenceKey::Lease(self.gateway).to_string();
        let ttl = Some(Duration::from_secs(LEASE_SECONDS));
        let lease = json(&Lease { since: self.since });
        match revision {
            None => Ok(self.nats.put(PRESENCE_BUCKET, &key, lease, ttl).await?),
            Some(revision) => {
                self.nats.put_at(PRESENCE_BUCKET, &key, lease, ttl, revision).await.map_err(|error| match error {
                    KvError::Conflict => Lost::Lease,
                    error => error.into(),
                })
            }
        }
    }

    /// Writes the entries that may not be right, but of those who have just left.
    async fn write_stale(&mut self) -> Result<(), KvError> {
        let now = Instant::now();
        let stale = std::mem::take(&mut self.presence.here().stale);
        let mut due = Vec::new();
        for user in stale {
            let here = self.presence.here().devices.of(user);
            match here {
                Some(availability) => due.push((user, Some(availability))),
                None => self.leaving.push_back((now + LINGER, user)),
            }
        }
        // They stay in the queue until that is written, whatever becomes of us meanwhile; who has come back stays.
        let left = self.leaving.iter().take_while(|(at, _)| *at <= now).count();
        let gone = self.leaving.iter().take(left).map(|(_, user)| *user);
        due.extend(gone.filter(|user| self.presence.here().devices.of(*user).is_none()).map(|user| (user, None)));
        due.retain(|(user, availability)| availability.is_none() || self.written.get(user).copied() != *availability);
        self.write(due.clone()).await?;
        self.leaving.drain(..left);
        for (user, availability) in due {
            match availability {
                Some(availability) => self.written.insert(user, availability),
                None => self.written.remove(&user),
            };
        }
        Ok(())
    }

    async fn write(&self, entries: Vec<(UserId, Option<Availability>)>) -> Result<(), KvError> {
        let write = async |(user, availability): (UserId, Option<Availability>)| {
            let key = PresenceKey::Session(user, self.gateway).to_string();
            match availability {
                Some(status) => self.nats.put(PRESENCE_BUCKET, &key, json(&Session { status }), None).await.map(|_| ()),
                None => self.nats.delete(PRESENCE_BUCKET, &key).await,
            }
        };
        let mut writes = stream::iter(entries).map(write).buffer_unordered(AT_ONCE);
        while let Some(written) = writes.next().await {
            written?;
        }
        Ok(())
    }

    /// At the stop: clients have gone elsewhere, and what is left of them here goes.
    async fn hand_back(mut self) {
        self.readiness.set("presence", false);
        let deadline = Instant::now() + CLOSED;
        while !self.presence.here().devices.is_empty() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        if !self.written.is_empty() {
            // They have this long to be somewhere else, or others would see them go and come.
            sleep_until((Instant::now() + LINGER).min(deadline)).await;
        }
        let gone = self.written.drain().map(|(user, _)| (user, None)).collect();
        let lease = PresenceKey::Lease(self.gateway).to_string();
        let handing = async {
            self.write(gone).await?;
            self.nats.delete(PRESENCE_BUCKET, &lease).await
        };
        if !matches!(tokio::time::timeout(HANDED_BACK, handing).await, Ok(Ok(()))) {
            tracing::warn!("presence could not be handed back; the lease will expire");
        }
    }
}

/// Cannot fail for what is written here.
fn json(value: &impl serde::Serialize) -> bytes::Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
