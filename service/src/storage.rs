//! KV buckets with per-key TTL (ADR-8, ADR-48), on what async-nats lacks: refreshing a key that has a TTL, and reading
//! many keys in one request (ADR-31).

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
    kv,
    message::PublishMessage,
    stream::{Republish, StorageType},
};
use bytes::Bytes;
use contract::{room, storage::PRESENCE_BUCKET};

use crate::{Logged, Nats, log};

/// A removed key is remembered this long by the server.
const TOMBSTONE: Duration = Duration::from_mins(1);

/// A bucket, by what it promises.
#[derive(Debug, Clone)]
pub struct Bucket {
    config: kv::Config,
}

impl Bucket {
    /// A bucket on disk whose keys stay until removed.
    #[must_use]
    pub fn durable(name: &'static str, description: &str) -> Self {
        Self {
            config: kv::Config {
                bucket: name.to_owned(),
                description: description.to_owned(),
                history: 1,
                storage: StorageType::File,
                ..Default::default()
            },
        }
    }

    /// A bucket in the server's memory: for what is worthless after a restart of all of NATS. In a cluster it is on disk:
    /// where all nodes were restarted within a second, a copy in memory may wait for good for a leader that no longer
    /// exists (nats-server 2.15.1: "catchup aborted, no leader for stream").
    #[must_use]
    pub fn volatile(name: &'static str, description: &str) -> Self {
        let mut bucket = Self::durable(name, description);
        bucket.config.storage = StorageType::Memory;
        bucket
    }

    /// Keys may have a TTL; the server's marker of an expiry stays this long.
    #[must_use]
    pub fn with_ttl(mut self, markers: Duration) -> Self {
        self.config.limit_markers = Some(markers);
        self
    }

    /// Every change is also published, from `$KV.<bucket>.<source>` to `destination`.
    #[must_use]
    pub fn republished(mut self, source: &str, destination: &str) -> Self {
        self.config.republish = Some(Republish {
            source: format!("$KV.{}.{source}", self.config.bucket),
            destination: destination.to_owned(),
            headers_only: false,
        });
        self
    }

    /// The bucket `PRESENCE`, which whoever comes first creates: `user` or a gateway. The server's note that a lease has
    /// expired stays long enough for `user` to be restarted meanwhile.
    #[must_use]
    pub fn presence() -> Self {
        Self::volatile(PRESENCE_BUCKET, "Gateways, who is connected to them, and what others see of it")
            .with_ttl(Duration::from_mins(5))
            .republished("view.*", room::PRESENCE_REPUBLISH)
    }

    /// Makes the bucket be there, as described.
    pub async fn ensure(&self, nats: &Nats) -> Result<kv::Store, jetstream::context::CreateKeyValueError> {
        let mut config = kv::Config { num_replicas: nats.replicas(), ..self.config.clone() };
        if nats.replicas() > 1 {
            config.storage = StorageType::File;
        }
        let jetstream = nats.jetstream();
        if let Ok(store) = jetstream.create_key_value(config.clone()).await {
            return Ok(store);
        }
        // It exists with another configuration: from an older version, or with other replicas.
        match jetstream.create_or_update_key_value(config.clone()).await {
            // Where a stream is kept is the one thing that cannot be changed: this one began on a single node.
            Err(_) if config.storage != self.config.storage => {
                config.storage = self.config.storage;
                jetstream.create_or_update_key_value(config).await
            }
            done => done,
        }
    }
}

/// What a write to a bucket met.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The key is not at the revision that was expected: somebody else wrote.
    #[error("the key was written by somebody else")]
    Conflict,
    #[error("cannot write the key")]
    Write(#[source] PublishError),
    #[error("cannot read keys")]
    Read(#[source] log::ReadError),
}

impl Nats {
    /// Puts a key, whatever was there; with a TTL (whole seconds, at least one) it expires by itself. Answers the
    /// revision.
    pub async fn put(&self, bucket: &str, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<u64, KvError> {
        self.write(bucket, key, with_ttl(PublishMessage::build().payload(value), ttl)).await
    }

    /// Puts a key that must still be at `revision`, 0 for absent.
    pub async fn put_at(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        revision: u64,
    ) -> Result<u64, KvError> {
        let message = PublishMessage::build().payload(value).expected_last_subject_sequence(revision);
        self.write(bucket, key, with_ttl(message, ttl)).await
    }

    /// The same without a TTL, with headers that a RePublish passes on.
    pub async fn put_with_headers_at(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        headers: HeaderMap,
        revision: u64,
    ) -> Result<u64, KvError> {
        // The fence after the headers, which it is one of.
        let message = PublishMessage::build().payload(value).headers(headers).expected_last_subject_sequence(revision);
        self.write(bucket, key, message).await
    }

    /// Removes a key of a bucket that has TTLs, whatever was there.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), KvError> {
        self.write(bucket, key, tombstone()).await.map(|_| ())
    }

    /// Removes a key that must still be at `revision`.
    pub async fn delete_at(&self, bucket: &str, key: &str, revision: u64) -> Result<(), KvError> {
        self.write(bucket, key, tombstone().expected_last_subject_sequence(revision)).await.map(|_| ())
    }

    async fn write(&self, bucket: &str, key: &str, message: PublishMessage) -> Result<u64, KvError> {
        let failed = |error: PublishError| if is_lost_race(&error) { KvError::Conflict } else { KvError::Write(error) };
        let ack = self.jetstream().send_publish(format!("$KV.{bucket}.{key}"), message).await.map_err(failed)?;
        Ok(ack.await.map_err(failed)?.sequence)
    }
}

/// Whether what was to be written after a certain message was refused because somebody else was first. In a cluster the
/// server says so in another way where what they wrote is still under way to the replicas, and async-nats does not count
/// that among its kinds.
#[must_use]
pub fn is_lost_race(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || refusal(error).is_some_and(|code| code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// Whether this very message, by its id, is still under way to the replicas of a cluster: it may yet be stored or not.
#[must_use]
pub fn is_under_way(error: &PublishError) -> bool {
    refusal(error).is_some_and(|code| code == ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT)
}

fn refusal(error: &PublishError) -> Option<ErrorCode> {
    Some(std::error::Error::source(error)?.downcast_ref::<jetstream::Error>()?.error_code())
}

fn with_ttl(message: PublishMessage, ttl: Option<Duration>) -> PublishMessage {
    match ttl {
        Some(ttl) => message.ttl(Duration::from_secs(ttl.as_secs().max(1))),
        None => message,
    }
}

/// ADR-8: a key that is removed is a message that says so; it goes by itself.
fn tombstone() -> PublishMessage {
    PublishMessage::build().header("KV-Operation", "DEL").ttl(TOMBSTONE)
}

/// The last values of all keys of a bucket that match `keys` (wildcards allowed), without deleted and expired ones, in
/// one request for every 1,000. [`Logged::sequence`] is the revision, [`Logged::subject`] is `$KV.<bucket>.<key>`.
pub async fn last_values(nats: &Nats, bucket: &str, keys: &[String]) -> Result<Vec<Logged>, KvError> {
    let subjects: Vec<String> = keys.iter().map(|key| format!("$KV.{bucket}.{key}")).collect();
    let mut values = log::last_events(nats, &format!("KV_{bucket}"), &subjects).await.map_err(KvError::Read)?;
    values.retain(|value| !value.is_removal());
    Ok(values)
}

/// The last messages of the keys, removals among them since a compare-and-set needs their revision, at most 1,024, and not
/// older than revision `seen` of any key of the bucket: what was delivered or written at `seen` is in the answer, whichever
/// replica gives it.
pub async fn last_revisions(nats: &Nats, bucket: &str, keys: &[String], seen: u64) -> Result<Vec<Logged>, KvError> {
    let subjects: Vec<String> = keys.iter().map(|key| format!("$KV.{bucket}.{key}")).collect();
    log::last_events_since(nats, &format!("KV_{bucket}"), &subjects, seen).await.map_err(KvError::Read)
}
