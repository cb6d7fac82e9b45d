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
    revision: u64,
    entry: Option<Entry>,
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
            let _ = kv::delete_at(&self.nats, OTP_BUCKET, &key, revision).await;
        }
        posted
    }

    async fn issue(&self, purpose: Purpose, email: &Email, pending: Option<Pending>) -> Result<Issued, Refusal> {
        let key = purpose.key(email);
        for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let Current { revision, entry: last } = self.read(&key, now).await?;
            let contested = last.as_ref().is_some_and(|last| contradicts(last.pending.as_ref(), pending.as_ref()));
            if let Some(mut last) = last.filter(|last| now < last.sent_at.plus(self.resend)) {
                if contested {
                    last.pending = last.pending.map(without_password);
                    if self.write(&key, &last, now, revision).await?.is_none() {
                        continue;
                    }
                }
                let wait = last.sent_at.plus(self.resend).since(now);
                return Ok(if last.attempts < self.tries { Issued::OnItsWay } else { Issued::Wait(wait) });
            }
            let code = format!("{:06}", rand::random_range(0..1_000_000));
            let entry = Entry {
                mac: BASE64_STANDARD.encode(self.key.mac(&parts(purpose, email, &code))),
                attempts: 0,
                sent_at: now,
                expires_at: now.plus(self.lifetime),
                pending: if contested { pending.clone().map(without_password) } else { pending.clone() },
            };
            if let Some(revision) = self.write(&key, &entry, now, revision).await? {
                return Ok(Issued::New { code, expires_at: entry.expires_at, revision });
            }
        }
        Err(busy())
    }

    /// Takes a code that was mailed to this address, whatever it was asked for: once. A wrong one counts against all
    /// that could have been meant; `None` is all that is said about why it does not work.
    pub async fn redeem(&self, email: &Email, code: &str) -> Result<Option<Redeemed>, Refusal> {
        let mut counted = [false; Purpose::ALL.len()];
        'again: for round in 0..ROUNDS {
            pause(round).await;
            let now = Time::now();
            let keys = Purpose::ALL.map(|purpose| purpose.key(email));
            let [register, sign_in] = &keys;
            let (register, sign_in) = futures::try_join!(self.read(register, now), self.read(sign_in, now))?;
            let sign_in_asked_for = sign_in.entry.is_some();
            let current = [register, sign_in];

            for ((purpose, key), Current { revision, entry }) in Purpose::ALL.iter().zip(&keys).zip(&current) {
                let Some(entry) = entry.as_ref().filter(|entry| entry.attempts < self.tries) else { continue };
                if !self
                    .key
                    .verifies(&parts(*purpose, email, code), &BASE64_STANDARD.decode(&entry.mac).unwrap_or_default())
                {
                    continue;
                }
                match kv::delete_at(&self.nats, OTP_BUCKET, key, *revision).await {
                    Ok(()) => {
                        // Who has just asked for a code to sign in may well have typed the wrong one of two: then the
                        // password that comes with it is not theirs.
                        let pending = entry.pending.clone();
                        let pending = if sign_in_asked_for { pending.map(without_password) } else { pending };
                        return Ok(Some(Redeemed { pending }));
                    }
                    Err(KvError::Conflict) => continue 'again,
                    Err(error) => return Err(absent(OTP_BUCKET, &error)),
                }
            }
            for (index, (key, Current { revision, entry })) in keys.iter().zip(&current).enumerate() {
                let Some(entry) = entry.as_ref().filter(|entry| entry.attempts < self.tries) else { continue };
                if counted[index] {
                    continue;
                }
                let entry = Entry { attempts: entry.attempts + 1, ..entry.clone() };
                if self.write(key, &entry, now, *revision).await?.is_none() {
                    continue 'again;
                }
                counted[index] = true;
            }
            return Ok(None);
        }
        Err(busy())
    }

    async fn read(&self, key: &str, now: Time) -> Result<Current, Refusal> {
        let Latest { revision, value } = kv::latest(&self.nats, OTP_BUCKET, key).await?;
        let entry = value.map(|value| serde_json::from_slice::<Entry>(&value)).transpose();
        let entry = entry.map_err(|error| fault("reading a one-time code", &error))?;
        Ok(Current { revision, entry: entry.filter(|entry| now < entry.expires_at) })
    }

    /// Writes over `revision` what expires when it should; `None` where another was faster.
    async fn write(&self, key: &str, entry: &Entry, now: Time, revision: u64) -> Result<Option<u64>, Refusal> {
        let value = serde_json::to_vec(entry).map_err(|error| fault("writing a one-time code", &error))?;
        let left = entry.expires_at.since(now);
        // The entry says to the millisecond when it expires; the server, in whole seconds, must not be earlier.
        let ttl = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        match self.nats.put_at(OTP_BUCKET, key, value.into(), Some(ttl), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(KvError::Conflict) => Ok(None),
            Err(error) => Err(absent(OTP_BUCKET, &error)),
        }
    }
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
