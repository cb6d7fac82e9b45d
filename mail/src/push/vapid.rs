//! Who we are to push services (RFC 8292): a signed token for each of their origins.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_URL_SAFE_NO_PAD,
};
use contract::Time;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::{
    SecretKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey},
};
use serde::Serialize;

use super::encrypt::point;

/// A token's life; at most a day (RFC 8292, section 2).
const LIFE: Duration = Duration::from_hours(12);
/// With less than this left a token is replaced: clocks differ.
const RENEWED: Duration = Duration::from_hours(1);
/// Origins whose tokens are kept. Users choose the origins, so there must be an end.
const KEPT: usize = 1_000;
/// Base64 with or without its padding; URL-safe letters are translated before.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The private key, as the operator writes it.
#[derive(Clone)]
pub struct VapidKey(SecretKey);

impl fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VapidKey")
    }
}

impl VapidKey {
    /// 32 bytes in base64url, as the usual generators print it, or PKCS#8 or SEC1 as PEM (also with `\n` for its line
    /// breaks, as env files have it) or as bare base64.
    fn parse(text: &str) -> Option<Self> {
        let text = text.replace("\\n", "\n");
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
        let base64: String = lines.collect::<String>().replace('-', "+").replace('_', "/");
        let bytes = LENIENT.decode(base64).ok()?;
        let whole = SecretKey::from_slice(&bytes).ok();
        // OpenSSL writes PKCS#8 as PEM but SEC1 as DER.
        let pkcs8 = || SecretKey::from_pkcs8_der(&bytes).ok();
        whole.or_else(pkcs8).or_else(|| SecretKey::from_sec1_der(&bytes).ok()).map(Self)
    }
}

impl FromStr for VapidKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
            .ok_or("neither a P-256 private key of 32 bytes in base64url nor one in PKCS#8 or SEC1 (PEM or its base64)")
    }
}

/// Signs for all push services.
pub(crate) struct Vapid {
    key: EncodingKey,
    public: String,
    contact: String,
    tokens: Mutex<HashMap<String, (String, Time)>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    sub: &'a str,
}

impl Vapid {
    pub(crate) fn new(VapidKey(key): &VapidKey, contact: String) -> Result<Self, p256::pkcs8::Error> {
        Ok(Self {
            key: EncodingKey::from_ec_der(key.to_pkcs8_der()?.as_bytes()),
            public: BASE64_URL_SAFE_NO_PAD.encode(point(&key.public_key())),
            contact,
            tokens: Mutex::default(),
        })
    }

    /// The public key, as browsers want it.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// The `Authorization` for the push service at `origin`.
    pub(crate) fn authorization(&self, origin: &str) -> Result<String, jsonwebtoken::errors::Error> {
        self.authorization_at(origin, Time::now())
    }

    fn authorization_at(&self, origin: &str, now: Time) -> Result<String, jsonwebtoken::errors::Error> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((authorization, end)) = tokens.get(origin)
            && *end > now.plus(RENEWED)
        {
            return Ok(authorization.clone());
        }
        let end = now.plus(LIFE);
        let claims = Claims { aud: origin, exp: end.as_millis() / 1_000, sub: &self.contact };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key)?;
        let authorization = format!("vapid t={token}, k={}", self.public);
        if tokens.len() >= KEPT {
            tokens.clear();
        }
        tokens.insert(origin.to_owned(), (authorization.clone(), end));
        Ok(authorization)
    }
}

#[cfg(test)]
mod tests {
    use p256::{elliptic_curve::sec1::ToEncodedPoint, pkcs8::LineEnding};

    use super::*;

    /// The example of RFC 8292, section 2.4, has a public key only; this pair is of RFC 8291, appendix A.
    const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const PUBLIC: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

    fn vapid() -> Vapid {
        Vapid::new(&VapidKey::parse(PRIVATE).unwrap(), "mailto:natter@example.org".to_owned()).unwrap()
    }

    #[test]
    fn a_key_is_read_however_it_is_written() {
        let key = VapidKey::parse(PRIVATE).unwrap().0;
        let der = key.to_pkcs8_der().unwrap();
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let base64 = base64::prelude::BASE64_STANDARD.encode(der.as_bytes());
        let sec1 = base64::prelude::BASE64_STANDARD.encode(key.to_sec1_der().unwrap());
        for text in [PRIVATE, &format!("{PRIVATE}="), &pem, &base64, &sec1] {
            let read = VapidKey::parse(text).unwrap().0;
            assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(read.public_key().to_encoded_point(false)), PUBLIC);
        }
        let escaped = pem.replace('\n', "\\n");
        assert!(VapidKey::parse(&escaped).is_some());
        // Zero is no key, and neither is a public one.
        for text in ["", "AAAA", &"A".repeat(43), PUBLIC, "-----BEGIN PRIVATE KEY-----"] {
            assert!(VapidKey::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", VapidKey::parse(PRIVATE)), "Some(VapidKey)");
    }

    #[test]
    fn a_token_is_kept_for_its_origin_until_it_nears_its_end() {
        let (vapid, start) = (vapid(), Time::now());
        let first = vapid.authorization_at("https://a.example", start).unwrap();
        let later = |hours| start.plus(Duration::from_hours(hours));
        assert_eq!(vapid.authorization_at("https://a.example", later(10)).unwrap(), first);
        assert_ne!(vapid.authorization_at("https://b.example", start).unwrap(), first);
        assert_ne!(vapid.authorization_at("https://a.example", later(11)).unwrap(), first);
        assert!(first.starts_with("vapid t=") && first.ends_with(&format!(", k={PUBLIC}")), "{first}");
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let vapid = vapid();
        for origin in 0..KEPT + 10 {
            vapid.authorization(&origin.to_string()).unwrap();
        }
        assert!(vapid.tokens.lock().unwrap().len() <= KEPT);
    }
}
