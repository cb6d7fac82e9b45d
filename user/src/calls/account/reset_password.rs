//! Setting a new password with the code that was mailed to the address.

use contract::{Done, Refusal, text::Email, user::ResetPassword};

use crate::{Shared, keys::HmacKey};

/// Sets the password and ends all sessions. Answers the same whatever is wrong with the code.
///
/// Whatever fails half-way, and wherever this process dies, the code is good for the same request until it has been
/// answered, and each step may be repeated. Sessions end first: where NATS is away nothing has been set. They end once
/// more afterwards, because one may have begun with the old password meanwhile; one that begins even later is refused by
/// [`Sessions::start`](crate::session::Sessions::start).
pub(crate) async fn reset_password(state: Shared, request: ResetPassword) -> Result<Done, Refusal> {
    let ResetPassword { email, code, password } = request;
    let code = code.expose().trim();
    state.store.there()?;
    // Before the work of a hash, which is for those with a code.
    if !state.codes.opens_reset(&email, code).await? {
        return Err(wrong());
    }
    let hash = state.passwords.hash(password.expose(), salt(&state.salts, &email, code)).await?;
    let claimed = state.codes.claim_reset(&email, code, &hash).await?.ok_or_else(wrong)?;
    // Only accounts with a proven address get codes.
    let user = state.store.account_of(&email).await?.ok_or_else(wrong)?.user.id;

    state.sessions.revoke_all(user).await?;
    state.store.set_password(user, &hash).await?;
    state.sessions.revoke_all(user).await?;

    state.codes.spend_reset(claimed).await;
    tracing::info!(%user, "a password was reset");
    Ok(Done {})
}

fn wrong() -> Refusal {
    Refusal::unauthenticated("The code is wrong or no longer good.")
}

/// The same whenever this code comes with this address, so that a request that is repeated has one and the same hash, and
/// known to nobody without the pepper.
fn salt(salts: &HmacKey, email: &Email, code: &str) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.copy_from_slice(&salts.mac(&[b"reset", email.as_bytes(), code.as_bytes()])[..16]);
    salt
}
