//! Asking for a code to set a new password with.

use contract::{Done, Refusal, user::ForgotPassword};

use crate::Shared;

/// Answers the same, for the same work, whether there is an account of this address or not.
pub(crate) async fn forgot_password(state: Shared, request: ForgotPassword) -> Result<Done, Refusal> {
    let account = state.store.account_of(&request.email).await?;
    state.codes.send_reset(&request.email, account.map(|account| account.user.name)).await.map(|()| Done {})
}
