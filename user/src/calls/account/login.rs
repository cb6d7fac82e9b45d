//! Signing in with a password.

use contract::{
    Code, Refusal,
    user::{Login, LoginBody, Tokens},
};

use super::sign_in::sign_in;
use crate::{Shared, otp::Pending, session::Proof, store::Credentials};

/// Answers the same, in the same time, for an unknown address and a wrong password.
pub(crate) async fn login(state: Shared, request: Login) -> Result<Tokens, Refusal> {
    let LoginBody { email, password, device } = request.body;
    // First of all, so that a crowd costs nothing but its refusals.
    let admitted = state.passwords.admit()?;
    state.logins.take(&email, 1)?;
    let found = state.store.credentials(&email).await?;
    let stored = found.as_ref().and_then(|found| found.password_hash.as_deref());
    let right = state.passwords.verify(admitted, password.expose(), stored).await?;
    let Some(Credentials { account, password_hash: Some(stored), password_set_at }) = found.filter(|_| right) else {
        return Err(Refusal::unauthenticated("The e-mail address or the password is wrong."));
    };
    if !account.email_verified {
        // The code brings the very password into force that has just been typed. Where the last one was killed by wrong
        // tries there is no new one yet, and the answer is the same.
        let pending = Pending { name: account.user.name, password_hash: Some(stored) };
        if let Err(refusal) = state.codes.send_registration(&email, pending).await
            && refusal.code != Code::RateLimited
        {
            return Err(refusal);
        }
        return Err(Refusal::new(
            Code::EmailUnverified,
            "Please verify your e-mail address with the code we sent you.",
        ));
    }
    // Where this fails, and has said so, the next sign-in tries again.
    if state.passwords.is_outdated(&stored)
        && let Ok(hash) = state.passwords.hash(password.expose(), rand::random()).await
    {
        let _ = state.store.replace_hash(account.user.id, &stored, &hash).await;
    }
    sign_in(&state, account, device, request.client, Proof::Password { set_at: password_set_at }).await
}
