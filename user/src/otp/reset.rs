//! Codes that set a new password.
//!
//! A reset takes several steps in several places, any of which may fail. So its code is not taken at the beginning, as
//! one that lets in is, but bound to the new password ([`Codes::claim_reset`]), and taken at the end: until then the same
//! request can be repeated and completes what is missing, and no other password can be set with this code.

use contract::{
    Refusal, Time,
    mail::{Content, Letter},
    storage::OTP_BUCKET,
    text::{Email, Name, Secret},
};
use service::{KvError, chain};

use super::{
    Codes, Issued, ROUNDS, busy,
    entry::{Current, Entry, Purpose},
    pause,
};

/// A code that was right, bound to a password.
#[derive(Debug)]
pub struct Claimed {
    key: String,
    revision: u64,
}

impl Codes {
    /// Mails a code that sets a new password, unless one is on its way. `account` is what its owner is called; `None`,
    /// where there is no account, gets no letter, but is in all that can be seen from outside as if: there is a code that
    /// nobody gets to know, of which wrong tries count, and one more write in place of the letter's.
    pub async fn send_reset(&self, email: &Email, account: Option<Name>) -> Result<(), Refusal> {
        let (code, entry, revision) = match self.issue(Purpose::Reset, email, None).await? {
            Issued::New { code, entry, revision } => (code, entry, revision),
            Issued::OnItsWay => return Ok(()),
            Issued::Wait(wait) => return Err(Refusal::rate_limited(wait)),
        };
        let outcome = if let Some(name) = account {
            let content = Content::PasswordReset { code: Secret::new(code), minutes: self.minutes() };
            let letter = Letter { to: email.clone(), name: Some(name), content, expires_at: Some(entry.expires_at) };
            self.post(Purpose::Reset, &letter, revision).await
        } else {
            let over = Current { purpose: Purpose::Reset, key: Purpose::Reset.key(email), revision, entry: None };
            self.write(&over, &entry, Time::now()).await.map(|_| ())
        };
        // Said to nobody, for it would say that there is an account, or none. Asking again helps.
        if let Err(refusal) = outcome {
            tracing::error!(error = %refusal, "cannot queue a letter to reset a password");
        }
        Ok(())
    }

    /// Whether this code may set a new password. A wrong one counts.
    pub async fn opens_reset(&self, email: &Email, code: &str) -> Result<bool, Refusal> {
        let mut counted = [false];
        for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let current = [self.read(Purpose::Reset, email, now).await?];
            if self.opens(&current[0], email, code) {
                return Ok(true);
            }
            if self.count(&current, &mut counted, now).await? {
                return Ok(false);
            }
        }
        Err(busy())
    }

    /// Binds a code that [opens](Self::opens_reset) to the password with this hash; `None` where it is bound to another
    /// one, or is not good any more.
    pub async fn claim_reset(&self, email: &Email, code: &str, hash: &str) -> Result<Option<Claimed>, Refusal> {
        for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let current = self.read(Purpose::Reset, email, now).await?;
            let Some(entry) = current.entry.as_ref().filter(|_| self.opens(&current, email, code)) else {
                return Ok(None);
            };
            let revision = match entry.claim.as_deref() {
                Some(claim) if claim == hash => Some(current.revision),
                Some(_) => return Ok(None),
                None => {
                    let entry = Entry { claim: Some(hash.to_owned()), ..entry.clone() };
                    self.write(&current, &entry, now).await?
                }
            };
            if let Some(revision) = revision {
                return Ok(Some(Claimed { key: current.key, revision }));
            }
        }
        Err(busy())
    }

    /// Takes the code, now that all is done. Where that fails it is good until it expires, but only for what has been
    /// done, so the request that has come to its end does not fail.
    pub async fn spend_reset(&self, claimed: Claimed) {
        match self.nats.delete_at(OTP_BUCKET, &claimed.key, claimed.revision).await {
            // Another was faster: the same request at the same time, or a wrong try.
            Ok(()) | Err(KvError::Conflict) => {}
            Err(error) => tracing::warn!(error = chain(&error), "cannot take the code of a reset that is done"),
        }
    }
}
