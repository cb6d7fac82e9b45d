//! When somebody was last seen to come or go: the bucket `LAST_SEEN`, which outlives what is in NATS' memory.

use std::collections::HashMap;

use contract::{Time, UserId, storage::LAST_SEEN_BUCKET};
use serde::{Deserialize, Serialize};
use service::{KvError, Logged, Nats};

/// Another instance may write the same key meanwhile; it does so once or twice.
const TRIES: u32 = 10;

#[derive(Serialize, Deserialize)]
struct LastSeen {
    at: Time,
}

/// Those of these users who were ever seen, and when.
pub async fn last_seen(nats: &Nats, users: &[UserId]) -> Result<HashMap<UserId, Time>, KvError> {
    let keys: Vec<String> = users.iter().map(UserId::to_string).collect();
    let values = service::last_values(nats, LAST_SEEN_BUCKET, &keys).await?;
    let seen = |value: &Logged| Some((value.subject.rsplit('.').next()?.parse().ok()?, parse(value)?));
    Ok(values.iter().filter_map(seen).collect())
}

/// Remembers that a user was seen at `now`. Answers what is remembered, which is later where another host's clock is
/// ahead: it only ever goes forward.
pub(super) async fn note(nats: &Nats, user: UserId, now: Time) -> Result<Time, KvError> {
    let key = user.to_string();
    for _ in 0..TRIES {
        let last = service::last_revisions(nats, LAST_SEEN_BUCKET, std::slice::from_ref(&key), 0).await?;
        let revision = last.first().map_or(0, |last| last.sequence);
        if let Some(later) = last.first().and_then(parse).filter(|at| *at >= now) {
            return Ok(later);
        }
        let Ok(json) = serde_json::to_vec(&LastSeen { at: now }) else { return Ok(now) };
        match nats.put_at(LAST_SEEN_BUCKET, &key, json.into(), None, revision).await {
            Err(KvError::Conflict) => {}
            written => return written.map(|_| now),
        }
    }
    Err(KvError::Conflict)
}

fn parse(value: &Logged) -> Option<Time> {
    Some(serde_json::from_slice::<LastSeen>(&value.payload).ok()?.at)
}
