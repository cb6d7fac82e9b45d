//! Changing what others see of oneself.

use contract::{
    Refusal,
    user::{Account, SetStatus, UpdateProfile, User},
};

use crate::Shared;

pub(crate) async fn update(state: Shared, request: UpdateProfile) -> Result<User, Refusal> {
    changed(state.store.update(request.actor.user_id, &request.changes).await?)
}

/// A status whose `until` has passed is as none, also one that is set like this; so is one that says nothing.
pub(crate) async fn set_status(state: Shared, request: SetStatus) -> Result<User, Refusal> {
    let status = request.status.filter(|status| status.text.is_some() || status.emoji.is_some());
    changed(state.store.set_status(request.actor.user_id, status.as_ref()).await?)
}

fn changed(account: Option<Account>) -> Result<User, Refusal> {
    account.map(|account| account.user).ok_or_else(|| Refusal::not_found("user"))
}
