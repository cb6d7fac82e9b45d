//! Registering an address with a password: nothing comes into force before the code that is mailed to the address.

use contract::{
    Refusal,
    text::Email,
    user::{Register, Registered},
};

use crate::{Shared, keys::HmacKey, otp::Pending, store::Registration};

/// Answers the same, in the same time, whether the address is free, taken or being registered.
pub(crate) async fn register(state: Shared, request: Register) -> Result<Registered, Refusal> {
    let Register { email, password, name } = request;
    let password_hash = state.passwords.hash(password.expose(), salt(&state.salts, &email)).await?;
    match state.store.register(&email, &name, &password_hash).await? {
        Registration::Noted => {
            let pending = Pending { name, password_hash: Some(password_hash) };
            state.codes.send_registration(&email, pending).await?;
        }
        Registration::Taken => state.codes.send_already_registered(&email).await?,
    }
    Ok(Registered { status: "verification_required".to_owned() })
}

/// The same for each registration of an address, so that one that comes twice has one and the same hash, and known to
/// nobody without the pepper.
fn salt(salts: &HmacKey, email: &Email) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.copy_from_slice(&salts.mac(&[email.as_bytes()])[..16]);
    salt
}
