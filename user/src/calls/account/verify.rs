//! Proving an address with the code that was mailed to it: signs in, and up where it is the first time.

use contract::{
    Refusal,
    text::{Email, Name},
    user::{Tokens, Verify, VerifyBody},
};

use super::sign_in::sign_in;
use crate::{
    Shared,
    otp::{Pending, Redeemed},
    session::Proof,
    store::Proven,
};

/// Answers the same whatever is wrong with the code.
pub(crate) async fn verify(state: Shared, request: Verify) -> Result<Tokens, Refusal> {
    let VerifyBody { email, code, device } = request.body;
    // A code is not spent on a database that is away.
    state.store.there()?;
    let Some(redeemed) = state.codes.redeem(&email, code.expose().trim()).await? else {
        return Err(Refusal::unauthenticated("The code is wrong or no longer good."));
    };
    let proven = match redeemed {
        Redeemed { pending: Some(Pending { name, password_hash }) } => Proven::Registration { name, password_hash },
        Redeemed { pending: None } => Proven::SignIn { name: name_of(&email) },
    };
    let account = state.store.prove(&email, &proven).await?;
    sign_in(&state, account, device, request.client, Proof::Code).await
}

/// What somebody is called until they say: the part of the address before the @.
fn name_of(email: &Email) -> Name {
    let local = email.split('@').next().unwrap_or_default();
    match Name::new(local).or_else(|_| Name::new("?")) {
        Ok(name) => name,
        Err(_) => unreachable!("a question mark is a name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_account_is_called_by_its_address() {
        assert_eq!(&*name_of(&Email::new("anna.b@example.org").unwrap()), "anna.b");
    }
}
