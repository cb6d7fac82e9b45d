//! A subscription, checked: what we encrypt for and where we push to.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use contract::{Refusal, push::PushSubscription};
use p256::PublicKey;
use sha2::{Digest, Sha256};

use super::public::Endpoint;

/// Bytes of an uncompressed point; a browser's key comes in no other form (RFC 8291, section 3.1).
const POINT: usize = 65;

/// What a browser reads its messages with.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) public: PublicKey,
    pub(crate) auth: [u8; 16],
}

/// Where to push and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) keys: Keys,
}

impl Target {
    /// The refusal names the field.
    pub(crate) fn check(subscription: &PushSubscription, allow_private: bool) -> Result<Self, Refusal> {
        let endpoint = Endpoint::parse(&subscription.endpoint, allow_private)
            .map_err(|wrong| Refusal::field("endpoint", wrong))?;
        let public = decode(&subscription.keys.p256dh)
            .filter(|point| point.len() == POINT)
            // Whether it is on the curve is checked here; whether it is infinity, by there being 65 bytes.
            .and_then(|point| PublicKey::from_sec1_bytes(&point).ok())
            .ok_or_else(|| Refusal::field("keys.p256dh", "must be an uncompressed point on P-256 in base64url"))?;
        let auth = decode(&subscription.keys.auth)
            .and_then(|auth| auth.try_into().ok())
            .ok_or_else(|| Refusal::field("keys.auth", "must be 16 bytes in base64url"))?;
        Ok(Self { endpoint, keys: Keys { public, auth } })
    }
}

/// The padding, which some libraries write, is overlooked.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// What a subscription is called by: tells its endpoint to nobody.
pub(crate) fn id(endpoint: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(endpoint))
}

#[cfg(test)]
mod tests {
    use contract::push::PushKeys;

    use super::*;

    const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn wrong(p256dh: &str, auth: &str) -> Option<String> {
        let keys = PushKeys { p256dh: p256dh.to_owned(), auth: auth.to_owned() };
        let subscription = PushSubscription { endpoint: "https://push.example/a".to_owned(), keys };
        Target::check(&subscription, false).err().map(|refusal| refusal.errors[0].field.clone())
    }

    #[test]
    fn keys_are_a_point_and_16_bytes() {
        assert_eq!(wrong(P256DH, AUTH), None);
        assert_eq!(wrong(&format!("{P256DH}="), &format!("{AUTH}==")), None);
        let off_the_curve = P256DH.replace("iw4", "iw8");
        let compressed = BASE64_URL_SAFE_NO_PAD.encode([&[2][..], &decode(P256DH).unwrap()[1..33]].concat());
        for point in ["", "A", "AA", "!", &off_the_curve, &compressed, &P256DH[..84]] {
            assert_eq!(wrong(point, AUTH).as_deref(), Some("keys.p256dh"), "{point}");
        }
        for auth in ["", "AAAA", "BTBZMqHH6r4Tts7J_aSIggAA", "BTBZMqHH6r4Tts7J/aSIgg"] {
            assert_eq!(wrong(P256DH, auth).as_deref(), Some("keys.auth"), "{auth}");
        }
    }
}
