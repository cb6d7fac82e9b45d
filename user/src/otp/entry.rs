//! A one-time code as it is stored.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use contract::{
    Refusal, Time,
    storage::OTP_BUCKET,
    text::{Email, Name},
};
use serde::{Deserialize, Serialize};
use service::{KvError, absent, fault};
use sha2::{Digest, Sha256};

use super::Codes;
use crate::kv::{self, Latest};

/// What a code is asked for. One of one purpose does not work for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Register,
    SignIn,
    Reset,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::SignIn => "signin",
            Self::Reset => "reset",
        }
    }

    /// The address is no secret to those who read the bucket's subjects, but it is nobody's business either.
    pub(super) fn key(self, email: &Email) -> String {
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
pub(super) struct Entry {
    /// HMAC-SHA256 of purpose, address and code, in base64.
    pub(super) mac: String,
    /// Wrong ones so far.
    pub(super) attempts: u32,
    pub(super) sent_at: Time,
    pub(super) expires_at: Time,
    pub(super) pending: Option<Pending>,
    /// The hash of the password that a code of a reset has begun to set: it sets no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<String>,
}

/// A key as it stands, read.
pub(super) struct Current {
    pub(super) purpose: Purpose,
    pub(super) key: String,
    pub(super) revision: u64,
    /// Unless it has expired.
    pub(super) entry: Option<Entry>,
}

impl Current {
    /// The entry, unless wrong tries have killed its code.
    pub(super) fn living(&self, tries: u32) -> Option<&Entry> {
        self.entry.as_ref().filter(|entry| entry.attempts < tries)
    }
}

impl Codes {
    pub(super) fn opens(&self, current: &Current, email: &Email, code: &str) -> bool {
        let mac = current.living(self.tries).and_then(|entry| BASE64_STANDARD.decode(&entry.mac).ok());
        mac.is_some_and(|mac| self.key.verifies(&parts(current.purpose, email, code), &mac))
    }

    pub(super) async fn read(&self, purpose: Purpose, email: &Email, now: Time) -> Result<Current, Refusal> {
        let key = purpose.key(email);
        let Latest { revision, value } = kv::latest(&self.nats, OTP_BUCKET, &key).await?;
        let entry = value.map(|value| serde_json::from_slice::<Entry>(&value)).transpose();
        let entry = entry.map_err(|error| fault("reading a one-time code", &error))?;
        Ok(Current { purpose, key, revision, entry: entry.filter(|entry| now < entry.expires_at) })
    }

    /// Writes over what was read what expires when it should; `None` where another was faster.
    pub(super) async fn write(&self, over: &Current, entry: &Entry, now: Time) -> Result<Option<u64>, Refusal> {
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

pub(super) fn parts<'a>(purpose: Purpose, email: &'a Email, code: &'a str) -> [&'a [u8]; 3] {
    [purpose.name().as_bytes(), email.as_bytes(), code.as_bytes()]
}
