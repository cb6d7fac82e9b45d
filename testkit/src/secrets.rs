//! Secrets made up on the spot: NATS passwords, the key that signs tokens, the pepper of one-time codes, the key of Web Push.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

/// A NATS password: begins with a letter because `nats.conf` would read digits as a number.
pub fn password() -> String {
    format!("n{:032x}", rand::random::<u128>())
}

/// 33 bytes in hexadecimal, 32 of them random; begins with a letter because a service would read digits as a number.
pub fn pepper() -> String {
    format!("ab{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// An Ed25519 private key as PKCS#8 PEM (RFC 8410).
pub fn signing_key() -> String {
    // SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING seed } }: constant but for the seed.
    const PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let seed: [u8; 32] = rand::random();
    let der = [PREFIX.as_slice(), &seed].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der))
}

/// A private key on P-256, its 32 bytes in base64url.
pub fn vapid_key() -> String {
    let mut bytes: [u8; 32] = rand::random();
    // Any number below the order of the curve, which begins with 32 ones, is a key.
    bytes[0] &= 0x7f;
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
