//! What every way of signing in ends with.

use contract::{
    Refusal,
    text::Device,
    user::{Account, Client, Tokens},
};

use crate::{Shared, notice, session::Proof};

/// Starts a session, and tells the account's owner where its device is new to them.
pub(super) async fn sign_in(
    state: &Shared,
    account: Account,
    device: Option<Device>,
    client: Client,
    proof: Proof,
) -> Result<Tokens, Refusal> {
    let (session, tokens) = state.sessions.start(account, device, client, proof).await?;
    notice::of_sign_in(&state.nats, &state.store, &tokens.user, &session).await;
    Ok(tokens)
}
