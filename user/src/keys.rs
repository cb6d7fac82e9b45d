//! Secrets of the configuration, checked when it is read and shown nowhere: the keys of access tokens, the pepper.

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, de};
use sha2::Sha256;

/// Base64 with or without its padding; URL-safe letters are translated before.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes of the least pepper.
const PEPPER: usize = 32;
/// Bytes of a bare private key (RFC 8032, section 5.1.5).
const SEED: usize = 32;

/// Why a secret cannot be used. Says nothing of the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("neither an Ed25519 private key in PKCS#8 (PEM or its base64) nor a seed of 32 bytes in base64")]
    Signing,
    #[error("one is neither an Ed25519 private key nor a public one (PEM or its base64)")]
    Verifying,
    #[error("must be at least 32 bytes in hexadecimal or base64")]
    Pepper,
}

/// An Ed25519 private key.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    #[must_use]
    pub fn inner(&self) -> &ed25519_dalek::SigningKey {
        &self.0
    }

    #[must_use]
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = unarmoured(text).ok_or(KeyError::Signing)?;
        match <[u8; SEED]>::try_from(bytes.as_slice()) {
            Ok(seed) => Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed))),
            Err(_) => ed25519_dalek::SigningKey::from_pkcs8_der(&bytes).map(Self).map_err(|_| KeyError::Signing),
        }
    }
}

/// An Ed25519 public key.
#[derive(Clone)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// A private key stands for its public one.
impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if let Ok(private) = text.parse::<SigningKey>() {
            return Ok(private.verifying());
        }
        let bytes = unarmoured(text).ok_or(KeyError::Verifying)?;
        ed25519_dalek::VerifyingKey::from_public_key_der(&bytes).map(Self).map_err(|_| KeyError::Verifying)
    }
}

/// What other keys are derived from.
#[derive(Clone)]
pub struct Pepper(Vec<u8>);

impl Pepper {
    /// A key of its own for each purpose, so that what is made for one is worth nothing for another.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> HmacKey {
        HmacKey(HmacKey(self.0.clone()).mac(&[b"natter key v1", purpose.as_bytes()]).to_vec())
    }
}

impl FromStr for Pepper {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = unhex(text).or_else(|| unarmoured(text)).ok_or(KeyError::Pepper)?;
        if bytes.len() < PEPPER { Err(KeyError::Pepper) } else { Ok(Self(bytes)) }
    }
}

/// A key of HMAC-SHA256 (RFC 2104).
#[derive(Clone)]
pub struct HmacKey(Vec<u8>);

impl HmacKey {
    /// Over all parts, each with its length before it, so that no two lists of parts are one text.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Compares without telling by its time how much is right.
    #[must_use]
    pub fn verifies(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.over(parts).verify_slice(mac).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes keys of any length")
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// The bytes of PEM (also with `\n` for its line breaks, as env files have it) or of bare base64.
fn unarmoured(text: &str) -> Option<Vec<u8>> {
    let text = text.replace("\\n", "\n");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let base64: String = lines.collect::<String>().replace('-', "+").replace('_', "/");
    BASE64.decode(base64).ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() < 2 * PEPPER || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

macro_rules! secret {
    ($($name:ident)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("***")
            }
        }
    )+};
}
secret!(SigningKey VerifyingKey Pepper HmacKey);

macro_rules! from_text {
    ($($name:ident)+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}
from_text!(SigningKey Pepper);

#[cfg(test)]
mod tests {
    use super::*;

    // Test vector of RFC 8410, section 10.3 and 10.1: a private key and its public one.
    const BODY: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";

    #[test]
    fn one_private_key_in_all_its_forms() {
        let public = PUBLIC.parse::<VerifyingKey>().unwrap();
        let seed = BASE64.encode(&BASE64.decode(BODY).unwrap()[16..]);
        for text in [
            format!("-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n"),
            format!("-----BEGIN PRIVATE KEY-----\\n{BODY}\\n-----END PRIVATE KEY-----\\n"),
            BODY.to_owned(),
            BODY.replace('+', "-").replace('/', "_"),
            seed.clone(),
            seed.trim_end_matches('=').to_owned(),
        ] {
            let key = text.parse::<SigningKey>().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(key.verifying().as_bytes(), public.as_bytes(), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        for text in ["", "secret", "c2VjcmV0", PUBLIC] {
            let error = text.parse::<SigningKey>().unwrap_err();
            assert_eq!(error, KeyError::Signing, "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
        assert!("c2VjcmV0".parse::<VerifyingKey>().is_err());
    }

    #[test]
    fn a_pepper_has_at_least_32_bytes() {
        assert!("ab".repeat(32).parse::<Pepper>().is_ok());
        assert!(BASE64.encode([7; 32]).parse::<Pepper>().is_ok());
        for text in ["", "ab", &"ab".repeat(31), &"ab".repeat(16), &BASE64.encode([7; 31])] {
            assert_eq!(text.parse::<Pepper>().err(), Some(KeyError::Pepper), "{text:?}");
        }
        assert_eq!("ab".repeat(32).parse::<Pepper>().unwrap().0, [0xab; 32]);
    }

    #[test]
    fn keys_of_two_purposes_differ_and_so_do_lists_of_parts() {
        let pepper: Pepper = "ab".repeat(32).parse().unwrap();
        let (one, other) = (pepper.derive("one"), pepper.derive("other"));
        assert!(one.verifies(&[b"a", b"b"], &one.mac(&[b"a", b"b"])));
        assert!(!one.verifies(&[b"a", b"b"], &other.mac(&[b"a", b"b"])));
        assert!(!one.verifies(&[b"a", b"b"], &one.mac(&[b"ab", b""])));
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", BODY.parse::<SigningKey>().unwrap()), "***");
    }
}
