//! Access tokens: EdDSA JWTs (RFC 7519, RFC 8037) and the keys they verify with (RFC 7517).

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use contract::{
    Refusal, SessionId, Time, UserId,
    user::{Claims, Jwk, Jwks, Role, TOKEN_AUDIENCE, TOKEN_ISSUER},
};
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use service::{StartError, fault};
use sha2::{Digest, Sha256};

use crate::{config::AuthConfig, keys::VerifyingKey};

/// Signs access tokens and publishes the keys that verify them.
pub struct AccessTokens {
    key: EncodingKey,
    header: Header,
    lifetime: Duration,
    jwks: Jwks,
}

impl AccessTokens {
    pub fn new(config: &AuthConfig) -> Result<Self, StartError> {
        let pair = KeypairBytes { secret_key: config.signing_key.inner().to_bytes(), public_key: None };
        let der =
            pair.to_pkcs8_der().map_err(|error| StartError::Invalid(format!("NATTER_AUTH__SIGNING_KEY: {error}")))?;
        let signing = jwk(&config.signing_key.verifying());
        let header = Header { kid: Some(signing.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let mut keys = vec![signing];
        for previous in config.previous_keys.iter().map(jwk) {
            if !keys.contains(&previous) {
                keys.push(previous);
            }
        }
        Ok(Self {
            key: EncodingKey::from_ed_der(der.as_bytes()),
            header,
            lifetime: config.access_token_lifetime(),
            jwks: Jwks { keys },
        })
    }

    /// A token for this session, good from `now` on for [`lifetime`](Self::lifetime).
    pub fn sign(&self, user: UserId, session: SessionId, role: Role, now: Time) -> Result<String, Refusal> {
        let claims = Claims {
            sub: user,
            sid: session,
            role,
            iss: TOKEN_ISSUER.to_owned(),
            aud: TOKEN_AUDIENCE.to_owned(),
            exp: unix_seconds(now.plus(self.lifetime)),
            iat: unix_seconds(now),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(|error| fault("signing an access token", &error))
    }

    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The key that signs, then those that only verify.
    pub fn jwks(&self) -> &Jwks {
        &self.jwks
    }
}

fn unix_seconds(time: Time) -> u64 {
    u64::try_from(time.as_millis() / 1_000).unwrap_or(0)
}

fn jwk(key: &VerifyingKey) -> Jwk {
    let x = BASE64URL.encode(key.as_bytes());
    Jwk {
        kid: thumbprint(&x),
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        alg: "EdDSA".to_owned(),
        usage: "sig".to_owned(),
        x,
    }
}

/// RFC 7638: the SHA-256 of the required members, in the order of their names, without white space.
fn thumbprint(x: &str) -> String {
    BASE64URL.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        // Appendix A.3.
        assert_eq!(
            thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
