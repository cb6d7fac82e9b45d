//! What gateways left behind that are no more.

use contract::{
    GatewayId,
    storage::{PRESENCE_BUCKET, PresenceKey},
};
use futures::{TryStreamExt, stream};
use service::{KvError, Logged, Nats};

use super::{reading::Reading, recompute::recompute};

/// Keys removed at a time.
const REMOVED_AT_ONCE: usize = 64;
/// People looked at at a time.
const PEOPLE_AT_ONCE: usize = 32;

/// Removes the sessions of a gateway whose lease was gone at revision `seen`, unless it has come back. Answers how many
/// there were; the consumer hears of each removal.
pub(super) async fn remove_sessions(nats: &Nats, gateway: GatewayId, seen: u64) -> Result<usize, KvError> {
    let sessions = service::last_values(nats, PRESENCE_BUCKET, &[format!("user.*.{gateway}")]).await?;
    let lease = PresenceKey::Lease(gateway).to_string();
    let reading = with_leases(nats, sessions, &lease, seen).await?;
    let orphans = reading.orphans();
    let sessions = orphans.len();
    if sessions > 0 {
        tracing::info!(%gateway, sessions, "a gateway is gone; removing its sessions");
        remove(nats, orphans).await?;
    }
    Ok(sessions)
}

/// Removes all sessions without a lease and makes anew every view that disagrees with the sessions.
pub(super) async fn reconcile(nats: &Nats) -> Result<(), KvError> {
    let keys = ["user.*.*".to_owned(), "view.*".to_owned()];
    let values = service::last_values(nats, PRESENCE_BUCKET, &keys).await?;
    let reading = with_leases(nats, values, "gateway.*", 0).await?;
    let (orphans, changed) = (reading.orphans(), reading.changed());
    if !orphans.is_empty() || !changed.is_empty() {
        tracing::info!(sessions = orphans.len(), people = changed.len(), "presence disagrees with the gateways");
    }
    remove(nats, orphans).await?;
    let people = stream::iter(changed.into_iter().map(Ok));
    people.try_for_each_concurrent(PEOPLE_AT_ONCE, |user| recompute(nats, user, reading.newest)).await
}

/// Adds the leases to what was read before them: a gateway writes its lease first, so a session that was there has none
/// now only if its gateway lost it, and will put the session again when it comes back.
async fn with_leases(nats: &Nats, mut values: Vec<Logged>, leases: &str, seen: u64) -> Result<Reading, KvError> {
    let seen = values.iter().map(|value| value.sequence).fold(seen, u64::max);
    values.extend(service::last_revisions(nats, PRESENCE_BUCKET, &[leases.to_owned()], seen).await?);
    Ok(Reading::of(&values))
}

/// Removes keys that are as they were read. One that is not: the gateway was there again, or another instance before us.
async fn remove(nats: &Nats, sessions: Vec<(PresenceKey, u64)>) -> Result<(), KvError> {
    let sessions = stream::iter(sessions.into_iter().map(Ok));
    sessions
        .try_for_each_concurrent(REMOVED_AT_ONCE, async |(key, revision)| {
            match nats.delete_at(PRESENCE_BUCKET, &key.to_string(), revision).await {
                Err(KvError::Conflict) => Ok(()),
                removed => removed,
            }
        })
        .await
}
