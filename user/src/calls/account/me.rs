//! Oneself, with what nobody else sees.

use contract::{
    Refusal,
    user::{Account, GetMe},
};

use crate::Shared;

pub(crate) async fn me(state: Shared, request: GetMe) -> Result<Account, Refusal> {
    state
        .store
        .account(request.actor.user_id)
        .await?
        .ok_or_else(|| Refusal::unauthenticated("This account no longer exists."))
}
