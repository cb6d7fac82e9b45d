//! One-time codes, in the bucket `OTP`: one key for each purpose and address. Every change of a key is a compare-and-set,
//! so that each try counts, a code works once and a mail is sent once, whatever happens at the same time.

mod entry;
mod reset;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use contract::{
    Refusal, Time,
    mail::{Content, Letter},
    storage::OTP_BUCKET,
    text::{Email, Secret},
};
use service::{KvError, Nats, absent};

use crate::{config::AuthConfig, keys::HmacKey, letter};
use entry::{Current, Entry, Purpose, parts};

pub use entry::Pending;

/// Writes that lost against another are tried again this often; each loss means that another has succeeded, and no
/// more than the tries of a code can succeed.
const ROUNDS: u32 = 32;

/// What a code that lets in may have been asked for; one for a new password lets nobody in.
const TO_GET_IN: [Purpose; 2] = [Purpose::Register, Purpose::SignIn];

/// What became of the wish for a code.
enum Issued {
    /// A code to be mailed.
    New { code: String, entry: Entry, revision: u64 },
    /// The last one was mailed a moment ago and is good.
    OnItsWay,
    /// The last one was mailed a moment ago and is dead.
    Wait(Duration),
}

/// A code that was right.
#[derive(Debug)]
pub struct Redeemed {
    /// `None` for a sign-in.
    pub pending: Option<Pending>,
}

/// Sends and redeems one-time codes.
pub struct Codes {
    nats: Nats,
    key: HmacKey,
    lifetime: Duration,
    resend: Duration,
    tries: u32,
}

impl Codes {
    pub fn new(nats: Nats, config: &AuthConfig) -> Self {
        Self {
            nats,
            key: config.pepper.derive("one-time codes"),
            lifetime: config.otp_lifetime(),
            resend: config.otp_resend(),
            tries: config.otp_tries,
        }
    }

    /// Mails a code for signing in, unless one is on its way.
    pub async fn send_sign_in(&self, email: &Email) -> Result<(), Refusal> {
        self.send(Purpose::SignIn, email, None, otp).await
    }

    /// Mails a code that brings `pending` into force, unless one is on its way.
    pub async fn send_registration(&self, email: &Email, pending: Pending) -> Result<(), Refusal> {
        self.send(Purpose::Register, email, Some(pending), otp).await
    }

    /// Mails the owner of an account that somebody tries to register its address. In all that can be seen from outside
    /// it is as [`send_registration`](Self::send_registration), with a code that nobody gets to know.
    pub async fn send_already_registered(&self, email: &Email) -> Result<(), Refusal> {
        self.send(Purpose::Register, email, None, |_code, _minutes| Content::AlreadyRegistered {}).await
    }

    async fn send(
        &self,
        purpose: Purpose,
        email: &Email,
        pending: Option<Pending>,
        write: impl FnOnce(Secret, u32) -> Content,
    ) -> Result<(), Refusal> {
        let name = pending.as_ref().map(|pending| pending.name.clone());
        match self.issue(purpose, email, pending).await? {
            Issued::New { code, entry, revision } => {
                let content = write(Secret::new(code), self.minutes());
                let letter = Letter { to: email.clone(), name, content, expires_at: Some(entry.expires_at) };
                self.post(purpose, &letter, revision).await
            }
            Issued::OnItsWay => Ok(()),
            Issued::Wait(wait) => Err(Refusal::rate_limited(wait)),
        }
    }

    /// Queues the letter with the code of this revision.
    async fn post(&self, purpose: Purpose, letter: &Letter, revision: u64) -> Result<(), Refusal> {
        let key = purpose.key(&letter.to);
        let posted = letter::post(&self.nats, letter, &format!("{key}.{revision}")).await;
        if posted.is_err() {
            // Nobody gets this code: the next wish must not wait for it. Where this fails too, it waits.
            let _ = self.nats.delete_at(OTP_BUCKET, &key, revision).await;
        }
        posted
    }

    /// How long a code is good for, as a letter says it.
    fn minutes(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs().div_ceil(60)).unwrap_or(u32::MAX)
    }

    async fn issue(&self, purpose: Purpose, email: &Email, pending: Option<Pending>) -> Result<Issued, Refusal> {
        for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let last = self.read(purpose, email, now).await?;
            let contested =
                last.entry.as_ref().is_some_and(|entry| contradicts(entry.pending.as_ref(), pending.as_ref()));
            if let Some(entry) = last.entry.as_ref().filter(|entry| now < entry.sent_at.plus(self.resend)) {
                if contested {
                    let entry = Entry { pending: entry.pending.clone().map(without_password), ..entry.clone() };
                    if self.write(&last, &entry, now).await?.is_none() {
                        continue;
                    }
                }
                let wait = entry.sent_at.plus(self.resend).since(now);
                return Ok(if last.living(self.tries).is_some() { Issued::OnItsWay } else { Issued::Wait(wait) });
            }
            let code = format!("{:06}", rand::random_range(0..1_000_000));
            let entry = Entry {
                mac: BASE64_STANDARD.encode(self.key.mac(&parts(purpose, email, &code))),
                attempts: 0,
                sent_at: now,
                expires_at: now.plus(self.lifetime),
                pending: if contested { pending.clone().map(without_password) } else { pending.clone() },
                claim: None,
            };
            if let Some(revision) = self.write(&last, &entry, now).await? {
                return Ok(Issued::New { code, entry, revision });
            }
        }
        Err(busy())
    }

    /// Takes a code that was mailed to this address to sign up or in, whichever it was: once. A wrong one counts against all
    /// that could have been meant; `None` is all that is said about why it does not work.
    pub async fn redeem(&self, email: &Email, code: &str) -> Result<Option<Redeemed>, Refusal> {
        let mut counted = [false; TO_GET_IN.len()];
        for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let [register, sign_in] = TO_GET_IN.map(|purpose| self.read(purpose, email, now));
            let current: [_; TO_GET_IN.len()] = futures::try_join!(register, sign_in)?.into();
            if let Some(right) = current.iter().find(|current| self.opens(current, email, code)) {
                match self.nats.delete_at(OTP_BUCKET, &right.key, right.revision).await {
                    Ok(()) => return Ok(Some(redeemed(right, &current))),
                    Err(KvError::Conflict) => {}
                    Err(error) => return Err(absent(OTP_BUCKET, &error)),
                }
            } else if self.count(&current, &mut counted, now).await? {
                return Ok(None);
            }
        }
        Err(busy())
    }

    /// Counts a wrong try against each living code that it has not been counted against; false where another was faster.
    async fn count(&self, current: &[Current], counted: &mut [bool], now: Time) -> Result<bool, Refusal> {
        for (current, counted) in current.iter().zip(counted).filter(|(_, counted)| !**counted) {
            let Some(entry) = current.living(self.tries) else { continue };
            let entry = Entry { attempts: entry.attempts + 1, ..entry.clone() };
            if self.write(current, &entry, now).await?.is_none() {
                return Ok(false);
            }
            *counted = true;
        }
        Ok(true)
    }
}

/// Who has just asked for a code to sign in as well may have typed the wrong one of two: then the password that comes
/// with it is not theirs.
fn redeemed(right: &Current, current: &[Current]) -> Redeemed {
    let pending = right.entry.as_ref().and_then(|entry| entry.pending.clone());
    let asked_to_sign_in = current.iter().any(|current| current.purpose == Purpose::SignIn && current.entry.is_some());
    Redeemed { pending: if asked_to_sign_in { pending.map(without_password) } else { pending } }
}

/// Whether two registrations of one address are not one and the same.
fn contradicts(one: Option<&Pending>, other: Option<&Pending>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.password_hash != other.password_hash)
}

fn without_password(pending: Pending) -> Pending {
    Pending { password_hash: None, ..pending }
}

fn otp(code: Secret, minutes: u32) -> Content {
    Content::Otp { code, minutes }
}

/// A replica that answers reads may be a little behind the leader that takes writes.
async fn pause(round: u32) {
    tokio::time::sleep(Duration::from_millis(round.into())).await;
}

fn busy() -> Refusal {
    Refusal::unavailable("Too much happens to this code at once; please try again.")
}
