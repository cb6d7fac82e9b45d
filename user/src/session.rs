//! Sessions: a sign-in on one device, held by a refresh token of which only the newest is alive.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use contract::{
    Refusal, SessionId, Time, UserId,
    storage::{REVOKED_BUCKET, revoked_key},
    text::Device,
    user::{Account, Client, Jwks, Tokens},
};
use futures::{StreamExt, TryStreamExt, stream};
use service::{Nats, StartError, absent};

use crate::{
    config::AuthConfig,
    device,
    keys::HmacKey,
    store::{NewSession, Store, StoredSession},
    token::AccessTokens,
};

/// Gateways may take an access token for this long after its time, for clocks that differ.
const LEEWAY: Duration = Duration::from_mins(1);
/// So many of a user's sessions end at the same time.
const AT_ONCE: usize = 16;

/// Starts, refreshes and ends sessions.
pub struct Sessions {
    store: Store,
    nats: Nats,
    key: HmacKey,
    lifetime: Duration,
    access: AccessTokens,
}

/// What somebody signs in with.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// A one-time code.
    Code,
    /// The password that was set then; `None` is the one that the account was registered with.
    Password { set_at: Option<Time> },
}

/// What a refresh token says: `<sid>.<generation>.<mac>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RefreshToken {
    session: SessionId,
    generation: i64,
}

impl RefreshToken {
    fn of(session: &StoredSession) -> Self {
        Self { session: session.id, generation: session.generation }
    }

    fn body(self) -> String {
        format!("{}.{}", self.session, self.generation)
    }

    fn write(self, key: &HmacKey) -> String {
        let body = self.body();
        let mac = BASE64URL.encode(key.mac(&[body.as_bytes()]));
        format!("{body}.{mac}")
    }

    /// `None` for what we have not written.
    fn read(token: &str, key: &HmacKey) -> Option<Self> {
        let (body, mac) = token.rsplit_once('.')?;
        if !key.verifies(&[body.as_bytes()], &BASE64URL.decode(mac).ok()?) {
            return None;
        }
        let (session, generation) = body.split_once('.')?;
        Some(Self { session: session.parse().ok()?, generation: generation.parse().ok()? })
    }
}

impl Sessions {
    pub fn new(store: Store, nats: Nats, config: &AuthConfig) -> Result<Self, StartError> {
        Ok(Self {
            store,
            nats,
            key: config.pepper.derive("refresh tokens"),
            lifetime: config.session_lifetime(),
            access: AccessTokens::new(config)?,
        })
    }

    pub fn jwks(&self) -> &Jwks {
        self.access.jwks()
    }

    /// Signs a user in on a device. Refused where the password was reset since it was looked at: a reset ends the
    /// sessions that it finds, so one that begins has to see the reset.
    pub async fn start(
        &self,
        account: Account,
        device: Option<Device>,
        client: Client,
        proof: Proof,
    ) -> Result<(StoredSession, Tokens), Refusal> {
        let now = Time::now();
        let new = NewSession {
            user: account.user.id,
            device: device::name(device, &client),
            ip: client.ip,
            now,
            expires_at: now.plus(self.lifetime),
        };
        let session = self.store.add_session(new).await?;
        if let Proof::Password { set_at } = proof
            && self.store.password_set_at(session.user).await? != set_at
        {
            self.revoke(session.id).await?;
            return Err(signed_out());
        }
        let tokens = self.tokens(&session, account, now)?;
        Ok((session, tokens))
    }

    /// Takes a refresh token and gives the next one. A dead one that comes again was stolen, or its successor was:
    /// then the session ends.
    pub async fn refresh(&self, token: &str, client: &Client) -> Result<Tokens, Refusal> {
        let token = RefreshToken::read(token, &self.key).ok_or_else(signed_out)?;
        // The access token counts from before the session is asked for, so that it never outlives the note of a
        // revocation that happens meanwhile.
        let now = Time::now();
        let (id, generation, until) = (token.session, token.generation, now.plus(self.lifetime));
        let Some(session) = self.store.advance_session(id, generation, client.ip.as_deref(), now, until).await? else {
            if let Some(session) = self.store.session(id).await?
                && generation < session.generation
            {
                tracing::warn!(session = %session.id, user = %session.user, "a dead refresh token was used again; the session ends");
                metrics::counter!("natter_user_refresh_reuse_total").increment(1);
                self.revoke(session.id).await?;
            }
            return Err(signed_out());
        };
        match self.store.account(session.user).await? {
            Some(account) => self.tokens(&session, account, now),
            None => Err(signed_out()),
        }
    }

    /// A user's sessions, last used first.
    pub async fn of(&self, user: UserId) -> Result<Vec<StoredSession>, Refusal> {
        self.store.sessions_of(user, Time::now()).await
    }

    /// Ends a session, for whoever may: refused where the user has no such session.
    pub async fn revoke_own(&self, user: UserId, session: SessionId) -> Result<(), Refusal> {
        match self.store.session(session).await? {
            Some(found) if found.user == user => self.revoke(session).await,
            _ => Err(Refusal::not_found("session")),
        }
    }

    /// Ends a session in three steps, each of which may be repeated: it cannot be refreshed, all gateways drop it, it is
    /// no longer listed. Whatever happens in between, a session that is not listed is dead, and one that lives on for a
    /// while is listed and can be revoked again.
    pub async fn revoke(&self, session: SessionId) -> Result<(), Refusal> {
        let now = Time::now();
        self.store.end_session(session, now).await?;
        self.tell_gateways(session, now).await?;
        self.store.remove_sessions(&[session]).await
    }

    /// Ends all sessions that a user has now, in the same three steps.
    pub async fn revoke_all(&self, user: UserId) -> Result<(), Refusal> {
        let now = Time::now();
        let sessions = self.store.end_sessions_of(user, now).await?;
        let told: Vec<_> = sessions.iter().map(|session| self.tell_gateways(*session, now)).collect();
        stream::iter(told).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.store.remove_sessions(&sessions).await
    }

    /// Noted for as long as an access token of it may live.
    async fn tell_gateways(&self, session: SessionId, now: Time) -> Result<(), Refusal> {
        let noted_for = self.access.lifetime() + LEEWAY;
        let noted = self.nats.put(REVOKED_BUCKET, &revoked_key(session), now.to_string().into(), Some(noted_for)).await;
        noted.map(|_| ()).map_err(|error| absent(REVOKED_BUCKET, &error))
    }

    fn tokens(&self, session: &StoredSession, account: Account, now: Time) -> Result<Tokens, Refusal> {
        Ok(Tokens {
            access_token: self.access.sign(account.user.id, session.id, account.role, now)?,
            refresh_token: RefreshToken::of(session).write(&self.key),
            token_type: "Bearer".to_owned(),
            expires_in: self.access.lifetime().as_secs(),
            user: account,
        })
    }
}

fn signed_out() -> Refusal {
    Refusal::unauthenticated("This session has ended; please sign in again.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Pepper;

    #[test]
    fn a_refresh_token_reads_as_written_and_not_otherwise() {
        let pepper: Pepper = "ab".repeat(32).parse().unwrap();
        let (key, other) = (pepper.derive("refresh tokens"), pepper.derive("something else"));
        let token = RefreshToken { session: SessionId::new(), generation: 7 };
        let text = token.write(&key);
        assert_eq!(RefreshToken::read(&text, &key), Some(token));
        assert_eq!(RefreshToken::read(&text, &other), None);
        let forged = RefreshToken { generation: 8, ..token }.body() + &text[text.rfind('.').unwrap()..];
        for text in
            [forged.as_str(), "", "..", &text[..text.len() - 1], &text.replace(".7.", ".+7."), &format!("{text}.x")]
        {
            assert_eq!(RefreshToken::read(text, &key), None, "{text}");
        }
    }
}
