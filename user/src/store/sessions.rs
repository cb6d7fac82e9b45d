//! Sessions: which refresh token of each is the living one.

use bson::{DateTime, doc};
use contract::{Refusal, SessionId, Time, UserId, text::Device};
use futures::TryStreamExt;
use mongodb::{Collection, options::ReturnDocument};
use serde::{Deserialize, Serialize};
use service::mongo::refusal;

use super::{Store, date, text, time};

pub(super) const COLLECTION: &str = "sessions";
/// Most sessions of a list.
const MOST: i64 = 200;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionDocument {
    #[serde(rename = "_id", with = "text")]
    id: SessionId,
    #[serde(with = "text")]
    user_id: UserId,
    generation: i64,
    device: Option<Device>,
    ip: Option<String>,
    created_at: DateTime,
    last_used_at: DateTime,
    /// A TTL index removes it some time after this.
    expires_at: DateTime,
    /// Its end has begun: it cannot be refreshed any more, and is removed once all gateways can know.
    revoked_at: Option<DateTime>,
}

/// Only what a list of ids needs.
#[derive(Debug, Deserialize)]
struct IdDocument {
    #[serde(rename = "_id", with = "text")]
    id: SessionId,
}

/// A sign-in.
#[derive(Debug)]
pub struct NewSession {
    pub user: UserId,
    pub device: Option<Device>,
    pub ip: Option<String>,
    pub now: Time,
    pub expires_at: Time,
}

#[derive(Debug)]
pub struct StoredSession {
    pub id: SessionId,
    pub user: UserId,
    /// Of its living refresh token.
    pub generation: i64,
    pub device: Option<Device>,
    pub ip: Option<String>,
    pub created_at: Time,
    pub last_used_at: Time,
}

impl SessionDocument {
    fn session(self) -> StoredSession {
        StoredSession {
            id: self.id,
            user: self.user_id,
            generation: self.generation,
            device: self.device,
            ip: self.ip,
            created_at: time(self.created_at),
            last_used_at: time(self.last_used_at),
        }
    }
}

impl Store {
    fn sessions(&self) -> Result<Collection<SessionDocument>, Refusal> {
        self.collection(COLLECTION)
    }

    pub async fn add_session(&self, new: NewSession) -> Result<StoredSession, Refusal> {
        let session = SessionDocument {
            id: SessionId::new(),
            user_id: new.user,
            generation: 1,
            device: new.device,
            ip: new.ip,
            created_at: date(new.now),
            last_used_at: date(new.now),
            expires_at: date(new.expires_at),
            revoked_at: None,
        };
        self.sessions()?.insert_one(&session).await.map_err(|error| refusal("starting a session", &error))?;
        Ok(session.session())
    }

    /// Makes the next refresh token the living one, if `generation` is. Of several at once one succeeds.
    pub async fn advance_session(
        &self,
        session: SessionId,
        generation: i64,
        ip: Option<&str>,
        now: Time,
        expires_at: Time,
    ) -> Result<Option<StoredSession>, Refusal> {
        let living = doc! {
            "_id": session.to_string(),
            "generation": generation,
            "revokedAt": null,
            "expiresAt": { "$gt": date(now) },
        };
        let change = doc! {
            "$inc": { "generation": 1_i64 },
            "$set": { "lastUsedAt": date(now), "expiresAt": date(expires_at), "ip": ip },
        };
        let sessions = self.sessions()?;
        let advanced = sessions.find_one_and_update(living, change).return_document(ReturnDocument::After).await;
        Ok(advanced.map_err(|error| refusal("refreshing a session", &error))?.map(SessionDocument::session))
    }

    pub async fn session(&self, session: SessionId) -> Result<Option<StoredSession>, Refusal> {
        let found = self.sessions()?.find_one(doc! { "_id": session.to_string() }).await;
        Ok(found.map_err(|error| refusal("looking up a session", &error))?.map(SessionDocument::session))
    }

    /// A user's sessions, last used first.
    pub async fn sessions_of(&self, user: UserId, now: Time) -> Result<Vec<StoredSession>, Refusal> {
        let filter = doc! { "userId": user.to_string(), "expiresAt": { "$gt": date(now) } };
        let found = self.sessions()?.find(filter).sort(doc! { "lastUsedAt": -1, "_id": -1 }).limit(MOST).await;
        let found = found.map_err(|error| refusal("listing sessions", &error))?;
        let found = found.map_ok(SessionDocument::session).try_collect().await;
        found.map_err(|error| refusal("listing sessions", &error))
    }

    /// From here on it cannot be refreshed; it is still listed.
    pub async fn end_session(&self, session: SessionId, now: Time) -> Result<(), Refusal> {
        let filter = doc! { "_id": session.to_string(), "revokedAt": null };
        let ended = self.sessions()?.update_one(filter, doc! { "$set": { "revokedAt": date(now) } }).await;
        ended.map(|_| ()).map_err(|error| refusal("ending a session", &error))
    }

    /// The same for all of a user; answers those that are still listed.
    pub async fn end_sessions_of(&self, user: UserId, now: Time) -> Result<Vec<SessionId>, Refusal> {
        let sessions = self.sessions()?;
        let living = doc! { "userId": user.to_string(), "revokedAt": null };
        let ended = sessions.update_many(living, doc! { "$set": { "revokedAt": date(now) } }).await;
        ended.map_err(|error| refusal("ending sessions", &error))?;
        let ended = doc! { "userId": user.to_string(), "revokedAt": { "$ne": null } };
        let ended = sessions.clone_with_type::<IdDocument>().find(ended).projection(doc! { "_id": 1 }).await;
        let ended = ended.map_err(|error| refusal("listing sessions that end", &error))?;
        let ended = ended.map_ok(|session| session.id).try_collect().await;
        ended.map_err(|error| refusal("listing sessions that end", &error))
    }

    pub async fn remove_sessions(&self, sessions: &[SessionId]) -> Result<(), Refusal> {
        let ids: Vec<String> = sessions.iter().map(SessionId::to_string).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let removed = self.sessions()?.delete_many(doc! { "_id": { "$in": ids } }).await;
        removed.map(|_| ()).map_err(|error| refusal("removing sessions", &error))
    }
}
