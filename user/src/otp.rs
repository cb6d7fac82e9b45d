//! One-time codes, in the bucket `OTP`: one key for each purpose and address. Every change of a key is a compare-and-set,
//! so that each try counts, a code works once and a mail is sent once, whatever happens at the same time.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use contract::{
    Refusal, Time,
    mail::{Content, Letter},
    storage::OTP_BUCKET,
    text::{Email, Name, Secret},
};
use serde::{Deserialize, Serialize};
use service::{KvError, Nats, absent, fault};
use sha2::{Digest, Sha256};

use crate::{
    config::AuthConfig,
    keys::HmacKey,
    kv::{self, Latest},
    letter,
};

/// Writes that lost against another are tried again this often; each loss means that another has succeeded, and no
/// more than the tries of a code can succeed.
const ROUNDS: u32 = 32;

/// What a code is asked for. One of one purpose does not work for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Register,
    SignIn,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Register, Self::SignIn];

    fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::SignIn => "signin",
        }
    }

    /// The address is no secret to those who read the bucket's subjects, but it is nobody's business either.
    fn key(self, email: &Email) -> String {
        use std::fmt::Write;
        let mut key = format!("code.{}.", self.name());
        for byte in Sha256::digest(email.as_bytes()) {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

/// What comes into force with the code of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    pub name: Name,
    /// `None` where the address was registered with several passwords at the same time: whoever owns it has typed at
    /// most one of them, and nobody knows which.
    pub password_hash: Option<String>,
}

/// The value of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// HMAC-SHA256 of purpose, address and code, in base64.
    mac: String,
    /// Wrong ones so far.
    attempts: u32,
    sent_at: Time,
    expires_at: Time,
    pending: Option<Pending>,
}

/// A key as it stands, read.
struct Current {
    purpose: Purpose,
    key: String,
    revision: u64,
    /// Unless it has expired.
    entry: Option<Entry>,
}

impl Current {
    /// The entry, unless wrong tries have killed its code.
    fn living(&self, tries: u32) -> Option<&Entry> {
        self.entry.as_ref().filter(|entry| entry.attempts < tries)
    }
}

/// What became of the wish for a code.
enum Issued {
    /// A code to be mailed.
    New { code: String, expires_at: Time, revision: u64 },
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
        self.send(Purpose::SignIn, email, None, |code| code).await
    }

    /// Mails a code that brings `pending` into force, unless one is on its way.
    pub async fn send_registration(&self, email: &Email, pending: Pending) -> Result<(), Refusal> {
        self.send(Purpose::Register, email, Some(pending), |code| code).await
    }

    /// Mails the owner of an account that somebody tries to register its address. In all that can be seen from outside
    /// it is as [`send_registration`](Self::send_registration), with a code that nobody gets to know.
    pub async fn send_already_registered(&self, email: &Email) -> Result<(), Refusal> {
        self.send(Purpose::Register, email, None, |_code| Content::AlreadyRegistered {}).await
    }

    async fn send(
        &self,
        purpose: Purpose,
        email: &Email,
        pending: Option<Pending>,
        write: impl FnOnce(Content) -> Content,
    ) -> Result<(), Refusal> {
        let name = pending.as_ref().map(|pending| pending.name.clone());
        let (code, expires_at, revision) = match self.issue(purpose, email, pending).await? {
            Issued::New { code, expires_at, revision } => (code, expires_at, revision),
            Issued::OnItsWay => return Ok(()),
            Issued::Wait(wait) => return Err(Refusal::rate_limited(wait)),
        };
        let minutes = u32::try_from(self.lifetime.as_secs().div_ceil(60)).unwrap_or(u32::MAX);
        let content = write(Content::Otp { code: Secret::new(code), minutes });
        let letter = Letter { to: email.clone(), name, content, expires_at: Some(expires_at) };
        let key = purpose.key(email);
        let posted = letter::post(&self.nats, &letter, &format!("{key}.{revision}")).await;
        if posted.is_err() {
            // Nobody gets this code: the next wish must not wait for it. Where this fails too, it waits.
            let _ = self.nats.delete_at(OTP_BUCKET, &key, revision).await;
        }
        posted
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
            };
            if let Some(revision) = self.write(&last, &entry, now).await? {
                return Ok(Issued::New { code, expires_at: entry.expires_at, revision });
            }
        }
        Err(busy())
    }

    /// Takes a code that was mailed to this address, whatever it was asked for: once. A wrong one counts against all
    /// that could have been meant; `None` is all that is said about why it does not work.
    pub async fn redeem(&self, email: &Email, code: &str) -> Result<Option<Redeemed>, Refusal> {
        let mut counted = [false; Purpose::ALL.len()];
        for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let [register, sign_in] = Purpose::ALL.map(|purpose| self.read(purpose, email, now));
            let current: [_; Purpose::ALL.len()] = futures::try_join!(register, sign_in)?.into();
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

    fn opens(&self, current: &Current, email: &Email, code: &str) -> bool {
        let mac = current.living(self.tries).and_then(|entry| BASE64_STANDARD.decode(&entry.mac).ok());
        mac.is_some_and(|mac| self.key.verifies(&parts(current.purpose, email, code), &mac))
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

    async fn read(&self, purpose: Purpose, email: &Email, now: Time) -> Result<Current, Refusal> {
        let key = purpose.key(email);
        let Latest { revision, value } = kv::latest(&self.nats, OTP_BUCKET, &key).await?;
        let entry = value.map(|value| serde_json::from_slice::<Entry>(&value)).transpose();
        let entry = entry.map_err(|error| fault("reading a one-time code", &error))?;
        Ok(Current { purpose, key, revision, entry: entry.filter(|entry| now < entry.expires_at) })
    }

    /// Writes over what was read what expires when it should; `None` where another was faster.
    async fn write(&self, over: &Current, entry: &Entry, now: Time) -> Result<Option<u64>, Refusal> {
        let value = serde_json::to_vec(entry).map_err(|error| fault("writing a one-time code", &error))?;
        let left = entry.expires_at.since(now);
        // The entry says to the millisecond when it expires; the server, in whole seconds, must not be earlier.
        let ttl = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        match self.nats.put_at(OTP_BUCKET, &over.key, value.into(), Some(ttl), over.revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(KvError::Conflict) => Ok(None),
            Err(error) => Err(absent(OTP_BUCKET, &error)),
        }
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

fn parts<'a>(purpose: Purpose, email: &'a Email, code: &'a str) -> [&'a [u8]; 3] {
    [purpose.name().as_bytes(), email.as_bytes(), code.as_bytes()]
}

/// A replica that answers reads may be a little behind the leader that takes writes.
async fn pause(round: u32) {
    tokio::time::sleep(Duration::from_millis(round.into())).await;
}

fn busy() -> Refusal {
    Refusal::unavailable("Too much happens to this code at once; please try again.")
}
