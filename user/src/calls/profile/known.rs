//! Which of some people there are: asked by `chat` before they become members.

use std::collections::HashSet;

use contract::{
    Refusal, UserId,
    user::{Known, KnownUsers},
};

use crate::Shared;

/// Most of one question.
const MOST: usize = 1_000;

/// In the order they were asked for.
pub(crate) async fn known(state: Shared, request: KnownUsers) -> Result<Known, Refusal> {
    let mut user_ids = request.user_ids;
    if user_ids.len() > MOST {
        return Err(Refusal::field("userIds", format!("must be at most {MOST}")));
    }
    let found: HashSet<UserId> = state.store.known(&user_ids).await?.into_iter().collect();
    user_ids.retain(|user| found.contains(user));
    Ok(Known { user_ids })
}
