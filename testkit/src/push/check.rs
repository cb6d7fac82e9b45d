//! What a push service checks and a browser decrypts, written from the RFCs and not from what sends.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use p256::{
    PublicKey,
    ecdh::diffie_hellman,
    ecdsa::{Signature, VerifyingKey, signature::Verifier},
    elliptic_curve::sec1::ToEncodedPoint,
};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use serde_json::Value;

use super::{Browser, Message, http::Request};

/// A token may live for a day at most (RFC 8292, section 2).
const DAY: u64 = 24 * 60 * 60;
/// Bytes that every push service takes (RFC 8030, section 7.2).
const MOST: usize = 4_096;

/// The status to refuse with, and why.
type Objection = (u16, String);

/// The message that a request is, if it is one.
pub(super) fn message(request: &Request, browser: &Browser, origin: &str) -> Result<Message, Objection> {
    let bad = |what: &str| (400, what.to_owned());
    if request.method != "POST" {
        return Err((405, "not a POST".to_owned()));
    }
    let (signer, contact) = authorization(request.header("Authorization").unwrap_or(""), origin)?;
    if request.body.len() > MOST {
        return Err((413, "too large".to_owned()));
    }
    if request.header("Content-Encoding") != Some("aes128gcm") {
        return Err((415, "not encrypted with aes128gcm".to_owned()));
    }
    let ttl = request.header("TTL").and_then(|ttl| ttl.parse().ok()).ok_or_else(|| bad("no TTL"))?;
    let topic = request.header("Topic").map(str::to_owned);
    if topic.as_ref().is_some_and(|topic| topic.len() > 32 || BASE64URL.decode(topic).is_err()) {
        return Err(bad("the topic is not 32 characters of base64url"));
    }
    let urgency = request.header("Urgency").map(str::to_owned);
    if urgency.as_deref().is_some_and(|urgency| !["very-low", "low", "normal", "high"].contains(&urgency)) {
        return Err(bad("an unknown urgency"));
    }
    let payload = decrypt(&request.body, browser).ok_or_else(|| bad("cannot be decrypted"))?;
    let payload = String::from_utf8(payload).map_err(|_| bad("not UTF-8"))?;
    Ok(Message { to: request.path.clone(), payload, ttl, topic, urgency, contact, signer })
}

/// `vapid t=<token>, k=<key>`: the key, and the token's `sub` (RFC 8292, section 3).
fn authorization(header: &str, origin: &str) -> Result<(String, String), Objection> {
    let wrong = |what: &str| (403, what.to_owned());
    let parameters = header.strip_prefix("vapid ").ok_or((401, "no VAPID".to_owned()))?;
    let parameter = |name: &str| {
        let all = parameters.split(',').filter_map(|parameter| parameter.trim().split_once('='));
        all.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let (token, key) = parameter("t").zip(parameter("k")).ok_or_else(|| wrong("no token or no key"))?;
    let decode = |text: &str| BASE64URL.decode(text).map_err(|_| wrong("not base64url"));

    let (signed, signature) = token.rsplit_once('.').ok_or_else(|| wrong("no JWT"))?;
    let (head, claims) = signed.split_once('.').ok_or_else(|| wrong("no JWT"))?;
    let verifying = VerifyingKey::from_sec1_bytes(&decode(key)?).map_err(|_| wrong("the key is none"))?;
    let signature = Signature::from_slice(&decode(signature)?).map_err(|_| wrong("the signature is none"))?;
    verifying.verify(signed.as_bytes(), &signature).map_err(|_| wrong("the signature is wrong"))?;

    let json = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).map_err(|_| wrong("not JSON"));
    let (head, claims) = (json(decode(head)?)?, json(decode(claims)?)?);
    if head["alg"] != "ES256" {
        return Err(wrong("not ES256"));
    }
    if claims["aud"] != origin {
        return Err(wrong(&format!("for {} and not for {origin}", claims["aud"])));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if !claims["exp"].as_u64().is_some_and(|end| (now + 1..=now + DAY).contains(&end)) {
        return Err(wrong("expired, or valid for too long"));
    }
    let contact = claims["sub"].as_str().ok_or_else(|| wrong("nobody to tell of problems"))?;
    Ok((key.to_owned(), contact.to_owned()))
}

/// RFC 8188, section 2, of one record, with the keys of RFC 8291, section 3.4. HKDF (RFC 5869) is two HMACs where one
/// block is enough.
fn decrypt(message: &[u8], browser: &Browser) -> Option<Vec<u8>> {
    let (salt, rest) = message.split_at_checked(16)?;
    let (size, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first()?;
    let (sender, record) = rest.split_at_checked(usize::from(*length))?;
    if usize::try_from(u32::from_be_bytes(size.try_into().ok()?)).ok()? < record.len() {
        return None;
    }
    let own = browser.secret.public_key().to_encoded_point(false);
    let shared =
        diffie_hellman(browser.secret.to_nonzero_scalar(), PublicKey::from_sec1_bytes(sender).ok()?.as_affine());
    let secret = mac(&browser.auth, shared.raw_secret_bytes());
    let secret = mac(&secret, &[b"WebPush: info\0", own.as_bytes(), sender, &[1]].concat());
    let secret = mac(salt, &secret);
    let key = &mac(&secret, b"Content-Encoding: aes128gcm\0\x01")[..16];
    let nonce = &mac(&secret, b"Content-Encoding: nonce\0\x01")[..12];

    let mut record = record.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key.open_in_place(nonce, Aad::empty(), &mut record).ok()?;
    // The padding is zeros after the delimiter, which is 2 in the last record.
    let end = plain.iter().rposition(|byte| *byte != 0)?;
    (plain[end] == 2).then(|| plain[..end].to_vec())
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}
