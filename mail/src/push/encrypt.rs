//! Encryption of a message for one browser: `aes128gcm` (RFC 8188) with keys of RFC 8291, in one record.

use p256::{PublicKey, SecretKey, ecdh::diffie_hellman, elliptic_curve::sec1::ToEncodedPoint};
use ring::{
    aead::{self, AES_128_GCM, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};

use super::subscription::Keys;

/// Bytes of an uncompressed point: `0x04`, x, y.
const POINT: u8 = 65;
/// What the one record ends with (RFC 8188, section 2).
const LAST_RECORD: u8 = 2;
/// Size of a record; ours is shorter, and so the last (RFC 8291, section 4).
const RECORD: u32 = 4_096;

#[derive(Debug, thiserror::Error)]
#[error("a message could not be encrypted")]
pub(crate) struct EncryptError;

impl From<ring::error::Unspecified> for EncryptError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self
    }
}

/// What the push service is given, with a key pair and a salt that are used once.
pub(crate) fn encrypt(payload: &[u8], keys: &Keys) -> Result<Vec<u8>, EncryptError> {
    encrypt_with(payload, keys, &super::random_key(), rand::random())
}

/// `sender` is the key pair "as" of RFC 8291, section 3.1.
fn encrypt_with(payload: &[u8], keys: &Keys, sender: &SecretKey, salt: [u8; 16]) -> Result<Vec<u8>, EncryptError> {
    let (browser, ours) = (point(&keys.public), point(&sender.public_key()));
    let shared = diffie_hellman(sender.to_nonzero_scalar(), keys.public.as_affine());
    let mut secret = [0; 32];
    Salt::new(HKDF_SHA256, &keys.auth)
        .extract(shared.raw_secret_bytes())
        .expand(&[b"WebPush: info\0", &browser, &ours], HKDF_SHA256)?
        .fill(&mut secret)?;

    let secret = Salt::new(HKDF_SHA256, &salt).extract(&secret);
    let key = UnboundKey::from(secret.expand(&[b"Content-Encoding: aes128gcm\0"], &AES_128_GCM)?);
    let mut nonce = [0; aead::NONCE_LEN];
    secret.expand(&[b"Content-Encoding: nonce\0"], NonceLength)?.fill(&mut nonce)?;

    let mut record = [payload, &[LAST_RECORD]].concat();
    let nonce = Nonce::assume_unique_for_key(nonce);
    LessSafeKey::new(key).seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut record)?;
    // The header of RFC 8188, section 2.1, whose key id is our public key.
    Ok([&salt[..], &RECORD.to_be_bytes(), &[POINT], &ours, &record].concat())
}

/// Uncompressed, as it is in all of Web Push.
pub(crate) fn point(key: &PublicKey) -> Box<[u8]> {
    key.to_encoded_point(false).to_bytes()
}

struct NonceLength;

impl KeyType for NonceLength {
    fn len(&self) -> usize {
        aead::NONCE_LEN
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};

    use super::*;

    /// RFC 8291, appendix A.
    #[test]
    fn the_example_of_the_rfc_is_encrypted_as_there() {
        let bytes = |text: &str| BASE64URL.decode(text).unwrap();
        let keys = Keys {
            public: PublicKey::from_sec1_bytes(&bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ))
            .unwrap(),
            auth: bytes("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap(),
        };
        let sender = SecretKey::from_slice(&bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let message = encrypt_with(b"When I grow up, I want to be a watermelon", &keys, &sender, salt).unwrap();
        assert_eq!(
            BASE64URL.encode(message),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBr\
             u3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }
}
