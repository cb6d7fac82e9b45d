//! Who of some people is there. Answered from NATS alone, so it needs no database and knows nobody by account: who has
//! never come is offline.

use std::collections::BTreeSet;

use contract::{
    Refusal, UserId,
    presence::{GetPresence, MAX_PRESENCE, Presence, PresenceStatus, Presences, Seen},
    storage::{LAST_SEEN_BUCKET, PRESENCE_BUCKET},
};
use service::absent;

use crate::{Shared, presence};

pub(crate) async fn get(state: Shared, request: GetPresence) -> Result<Presences, Refusal> {
    if request.user_ids.len() > MAX_PRESENCE {
        return Err(Refusal::field("userIds", format!("must be at most {MAX_PRESENCE}")));
    }
    let users: BTreeSet<UserId> = request.user_ids.iter().copied().collect();
    let views = presence::views(&state.nats, &users).await.map_err(|error| absent(PRESENCE_BUCKET, &error))?;
    // Those whose view has expired were seen before; those who come meanwhile are published.
    let without: Vec<UserId> = users.into_iter().filter(|user| !views.contains_key(user)).collect();
    let last_seen = presence::last_seen(&state.nats, &without).await;
    let last_seen = last_seen.map_err(|error| absent(LAST_SEEN_BUCKET, &error))?;

    let seen = |user_id: UserId| {
        views.get(&user_id).cloned().unwrap_or_else(|| {
            let last_seen_at = last_seen.get(&user_id).copied();
            let presence = Presence { user_id, online: false, status: PresenceStatus::Offline, last_seen_at };
            Seen { presence, revision: 0 }
        })
    };
    Ok(Presences { presence: request.user_ids.into_iter().map(seen).collect() })
}
