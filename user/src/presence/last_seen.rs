//! When somebody was last seen to come or go: the bucket `LAST_SEEN`, which outlives what is in NATS' memory.

use std::collections::HashMap;

use contract::{Time, UserId, storage::LAST_SEEN_BUCKET};
use serde::{Deserialize, Serialize};
use service::{KvError, Logged, Nats};

/// Another instance may write the same key meanwhile; it does so once or twice.
const TRIES: u32 = 10;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct LastSeen {
    at: Time,
    /// They came then and have not been seen to go.
    #[serde(default)]
    here: bool,
}

/// Those of these users who were ever seen, and when.
pub async fn last_seen(nats: &Nats, users: &[UserId]) -> Result<HashMap<UserId, Time>, KvError> {
    let keys: Vec<String> = users.iter().map(UserId::to_string).collect();
    let values = service::last_values(nats, LAST_SEEN_BUCKET, &keys).await?;
    let seen = |value: &Logged| Some((value.subject.rsplit('.').next()?.parse().ok()?, parse(value)?.at));
    Ok(values.iter().filter_map(seen).collect())
}

/// Remembers that a user came (`here`) or went at `now`. Answers what is remembered: it only ever goes forward, and one who
/// was here all along, though NATS lost its memory of it, did not come again.
pub(super) async fn note(nats: &Nats, user: UserId, now: Time, here: bool) -> Result<Time, KvError> {
    let key = user.to_string();
    for _ in 0..TRIES {
        let last = service::last_revisions(nats, LAST_SEEN_BUCKET, std::slice::from_ref(&key), 0).await?;
        let revision = last.first().map_or(0, |last| last.sequence);
        let known = last.first().and_then(parse);
        if let Some(known) = known.filter(|known| here && known.here) {
            return Ok(known.at);
        }
        // Another host's clock may be ahead.
        let at = known.map_or(now, |known| known.at.max(now));
        let Ok(json) = serde_json::to_vec(&LastSeen { at, here }) else { return Ok(at) };
        match nats.put_at(LAST_SEEN_BUCKET, &key, json.into(), None, revision).await {
            Err(KvError::Conflict) => {}
            written => return written.map(|_| at),
        }
    }
    Err(KvError::Conflict)
}

fn parse(value: &Logged) -> Option<LastSeen> {
    serde_json::from_slice(&value.payload).ok()
}
