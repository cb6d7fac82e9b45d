//! Tells people of sign-ins to their account from devices it had not been used on before.

use std::time::Duration;

use contract::{
    Refusal,
    mail::{Content, Letter},
    user::Account,
};
use service::Nats;
use sha2::{Digest, Sha256};

use crate::{
    letter,
    store::{Store, StoredSession},
};

/// Who signs in waits at most this long for a letter to be queued.
const PATIENCE: Duration = Duration::from_secs(2);

/// Queues the letter, once for a session. What fails is logged and hinders nobody: the device is then still a new one,
/// and the next sign-in from it tells.
pub async fn of_sign_in(nats: &Nats, store: &Store, account: &Account, session: &StoredSession) {
    let told = tokio::time::timeout(PATIENCE, tell(nats, store, account, session)).await;
    let late = || Refusal::unavailable("It took too long.");
    if let Err(refusal) = told.unwrap_or_else(|_| Err(late())) {
        tracing::warn!(error = %refusal, user = %session.user, session = %session.id, "cannot tell of a new device");
    }
}

/// The very first sign-in is no news. The letter goes before the device is known, so that one of both is repeated rather
/// than none done.
async fn tell(nats: &Nats, store: &Store, account: &Account, session: &StoredSession) -> Result<(), Refusal> {
    let device = fingerprint(session.device.as_deref().unwrap_or_default());
    let known = store.devices(session.user).await?;
    if !known.is_empty() && !known.contains(&device) {
        let content =
            Content::NewSignIn { device: session.device.clone(), ip: session.ip.clone(), at: session.created_at };
        let name = Some(account.user.name.clone());
        let letter = Letter { to: account.email.clone(), name, content, expires_at: None };
        letter::post(nats, &letter, &session.id.to_string()).await?;
    }
    if known.last() == Some(&device) {
        return Ok(());
    }
    store.remember_device(session.user, &device).await
}

/// Short, whatever a device calls itself; 128 bits are enough to tell 50 apart.
fn fingerprint(device: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(32);
    for byte in &Sha256::digest(device.trim().as_bytes())[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
