//! Who is asking: access tokens (EdDSA JWTs, RFC 8037 and 7519), verified with the public keys of the `user` service.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use contract::{
    Actor, Refusal, Time,
    user::{Claims, GetJwks, Jwks, TOKEN_AUDIENCE, TOKEN_ISSUER},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use service::{Lifecycle, Readiness};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{calls::Calls, revoked::Revoked};

/// A token with an unknown key makes us ask for the keys again, but no more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Keys are asked for anew after this, so that one taken back is trusted no longer.
const REFRESH: Duration = Duration::from_mins(5);
/// Without any key yet, we ask this often.
const FIRST_KEYS: Duration = Duration::from_millis(500);

/// Who comes before the revoked sessions are known waits for them this long.
const STARTING: Duration = Duration::from_secs(1);

/// A verified token.
#[derive(Debug, Clone, Copy)]
pub struct Verified {
    pub actor: Actor,
    pub expires_at: Time,
}

/// Verifies access tokens; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    calls: Calls,
    revoked: Revoked,
    keys: Arc<RwLock<Keys>>,
    asked: Arc<Mutex<Option<Instant>>>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    /// What `/.well-known/jwks.json` shows.
    published: Option<Jwks>,
}

impl Identity {
    #[must_use]
    pub fn new(calls: Calls, revoked: Revoked) -> Self {
        Self { calls, revoked, keys: Arc::default(), asked: Arc::default() }
    }

    /// Fetches the keys in the background, now and every few minutes. Readiness `jwks` says whether there are any.
    pub fn keep_keys(&self, lifecycle: &Lifecycle, readiness: &Readiness) {
        readiness.set("jwks", false);
        let (this, soft, readiness) = (self.clone(), lifecycle.soft().clone(), readiness.clone());
        lifecycle.keep("jwks", async move {
            while !soft.is_cancelled() {
                let known = this.fetch().await.is_ok() || this.jwks().is_some();
                readiness.set("jwks", known);
                let pause = if known { REFRESH } else { FIRST_KEYS };
                tokio::select! { () = soft.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
            }
        });
    }

    /// The public keys, once they are known.
    #[must_use]
    pub fn jwks(&self) -> Option<Jwks> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).published.clone()
    }

    /// Whose token this is.
    ///
    /// `unauthenticated` unless it is signed with one of our keys, meant for us, unexpired and its session unrevoked;
    /// `unavailable` where that cannot be known.
    pub async fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        let verified = self.verify_signature(token).await?;
        // A gateway that has just started knows them within milliseconds: its first clients need not come again for that.
        if timeout(STARTING, self.revoked.loaded()).await.is_err() {
            return Err(Refusal::unavailable("Natter is starting; please try again."));
        }
        if self.revoked.contains(verified.actor.session_id) {
            return Err(Refusal::unauthenticated("This session has ended; please sign in again."));
        }
        Ok(verified)
    }

    async fn verify_signature(&self, token: &str) -> Result<Verified, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        if header.alg != Algorithm::EdDSA {
            return Err(invalid());
        }
        let id = header.kid.ok_or_else(invalid)?;
        let key = if let Some(key) = self.key(&id) {
            key
        } else {
            self.ask_again().await?;
            self.key(&id).ok_or_else(invalid)?
        };
        decode(token, &key)
    }

    fn key(&self, id: &str) -> Option<DecodingKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    /// Fetches the keys unless that was done a moment ago.
    async fn ask_again(&self) -> Result<(), Refusal> {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return if self.jwks().is_some() { Ok(()) } else { Err(no_keys()) };
        }
        let outcome = self.fetch().await;
        *asked = Some(Instant::now());
        outcome.map_err(|_| no_keys())
    }

    async fn fetch(&self) -> Result<(), Refusal> {
        let jwks = self.calls.idempotent(&GetJwks {}).await?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys::from(jwks);
        Ok(())
    }
}

impl From<Jwks> for Keys {
    fn from(jwks: Jwks) -> Self {
        let ed25519 = jwks.keys.iter().filter(|key| key.kty == "OKP" && key.crv == "Ed25519");
        let by_id = ed25519
            .filter_map(|jwk| match DecodingKey::from_ed_components(&jwk.x) {
                Ok(key) => Some((jwk.kid.clone(), key)),
                Err(error) => {
                    tracing::warn!(kid = jwk.kid, %error, "a public key cannot be used");
                    None
                }
            })
            .collect();
        Self { by_id, published: Some(jwks) }
    }
}

fn decode(token: &str, key: &DecodingKey) -> Result<Verified, Refusal> {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_issuer(&[TOKEN_ISSUER]);
    rules.set_audience(&[TOKEN_AUDIENCE]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.leeway = 0;
    let claims = jsonwebtoken::decode::<Claims>(token, key, &rules).map_err(|_| invalid())?.claims;
    let expires_at = Time::from_millis(i64::try_from(claims.exp.saturating_mul(1_000)).unwrap_or(i64::MAX));
    Ok(Verified { actor: Actor { user_id: claims.sub, session_id: claims.sid, role: claims.role }, expires_at })
}

fn invalid() -> Refusal {
    Refusal::unauthenticated("A valid access token is needed.")
}

fn no_keys() -> Refusal {
    Refusal::unavailable("Access tokens cannot be verified right now; please try again.")
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
    use contract::{SessionId, UserId, user::Jwk, user::Role};
    use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
    use jsonwebtoken::{EncodingKey, Header};

    use super::*;

    const KID: &str = "k1";

    fn pair(seed: u8) -> (EncodingKey, String) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let x = BASE64.encode(key.verifying_key().as_bytes());
        (EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes()), x)
    }

    fn keys(x: &str) -> Keys {
        Keys::from(Jwks {
            keys: vec![Jwk {
                kty: "OKP".into(),
                crv: "Ed25519".into(),
                x: x.into(),
                kid: KID.into(),
                alg: "EdDSA".into(),
                usage: "sig".into(),
            }],
        })
    }

    fn claims(lifetime: i64) -> Claims {
        let now = Time::now().as_millis() / 1_000;
        Claims {
            sub: UserId::new(),
            sid: SessionId::new(),
            role: Role::User,
            iss: TOKEN_ISSUER.into(),
            aud: TOKEN_AUDIENCE.into(),
            exp: u64::try_from(now + lifetime).unwrap(),
            iat: u64::try_from(now).unwrap(),
        }
    }

    fn sign(algorithm: Algorithm, claims: &Claims, key: &EncodingKey) -> String {
        let header = Header { kid: Some(KID.into()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }

    fn check(token: &str, x: &str) -> bool {
        decode(token, &keys(x).by_id[KID]).is_ok()
    }

    #[test]
    fn a_token_of_ours_is_whose_it_says() {
        let (key, x) = pair(1);
        let claims = claims(60);
        let verified = decode(&sign(Algorithm::EdDSA, &claims, &key), &keys(&x).by_id[KID]).unwrap();
        assert_eq!(verified.actor.user_id, claims.sub);
        assert_eq!(verified.actor.session_id, claims.sid);
        assert_eq!(verified.expires_at.as_millis(), i64::try_from(claims.exp).unwrap() * 1_000);
    }

    #[test]
    fn forged_expired_and_misdirected_tokens_are_refused() {
        let ((key, x), (other, _)) = (pair(1), pair(2));
        assert!(!check(&sign(Algorithm::EdDSA, &claims(60), &other), &x), "signed with another key");
        assert!(!check(&sign(Algorithm::EdDSA, &claims(-1), &key), &x), "expired");
        let elsewhere = [Claims { iss: "x".into(), ..claims(60) }, Claims { aud: "x".into(), ..claims(60) }];
        for claims in elsewhere {
            assert!(!check(&sign(Algorithm::EdDSA, &claims, &key), &x), "{claims:?}");
        }
        let token = sign(Algorithm::EdDSA, &claims(60), &key);
        let (content, signature) = token.rsplit_once('.').unwrap();
        let (header, body) = content.split_once('.').unwrap();
        let mut flipped = BASE64.decode(body).unwrap();
        flipped[10] ^= 1;
        assert!(!check(&format!("{header}.{}.{signature}", BASE64.encode(flipped)), &x), "changed");
        for garbage in ["", ".", "..", "a.b.c", "Bearer", &token[..token.len() - 4], "\u{0}.é.x"] {
            assert!(!check(garbage, &x), "{garbage}");
        }
    }

    #[test]
    fn another_algorithm_is_refused() {
        let (_, x) = pair(1);
        // The public key used as an HMAC secret.
        for secret in [x.as_bytes(), &BASE64.decode(&x).unwrap()] {
            let token = sign(Algorithm::HS256, &claims(60), &EncodingKey::from_secret(secret));
            assert!(!check(&token, &x));
        }
        let body = BASE64.encode(serde_json::to_vec(&claims(60)).unwrap());
        for algorithm in ["none", "None", "NONE", ""] {
            let header = BASE64.encode(format!(r#"{{"typ":"JWT","alg":"{algorithm}","kid":"{KID}"}}"#));
            assert!(!check(&format!("{header}.{body}."), &x), "{algorithm}");
        }
    }
}
