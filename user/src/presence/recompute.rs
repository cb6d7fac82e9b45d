//! One person's presence, made anew.

use std::time::Duration;

use contract::{
    Time, UserId,
    storage::{PRESENCE_BUCKET, PresenceKey},
};
use service::{KvError, Nats};

use super::{last_seen, reading::Reading};

/// The view of one who went stays this long, so that memory is bounded by who is there; then `LAST_SEEN` knows.
const AFTERGLOW: Duration = Duration::from_mins(1);
/// Changes of one person that may come upon each other before this one makes way for others.
const TRIES: u32 = 20;

/// Makes what others see of a user agree with what gateways say; `seen` is a revision that must have been heard of.
///
/// What was read may be past when it is written: an instance that read later may meanwhile have found nothing to do, and
/// the compare-and-set knows of views only. So whoever has written looks again; the last one to write then sees that it
/// agrees with all changes up to then, and each later change begins here again.
pub(super) async fn recompute(nats: &Nats, user: UserId, mut seen: u64) -> Result<(), KvError> {
    let view = PresenceKey::View(user).to_string();
    let keys = [format!("user.{user}.*"), view.clone(), "gateway.*".to_owned()];
    for _ in 0..TRIES {
        let reading = Reading::of(&service::last_revisions(nats, PRESENCE_BUCKET, &keys, seen).await?);
        let Some(mut change) = reading.change(user, Time::now()) else { return Ok(()) };
        if let Some(now) = change.moved {
            change.view.last_seen_at = Some(last_seen::note(nats, user, now, change.view.online).await?);
        }
        let Ok(json) = serde_json::to_vec(&change.view) else { return Ok(()) };
        let ttl = (!change.view.online).then_some(AFTERGLOW);
        match nats.put_at(PRESENCE_BUCKET, &view, json.into(), ttl, change.revision).await {
            Ok(revision) => {
                metrics::counter!("natter_presence_changes_total").increment(1);
                seen = revision;
            }
            Err(KvError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(KvError::Conflict)
}
