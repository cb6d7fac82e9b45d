//! Accounts. An address belongs to whoever has proven it; until then its document is a note that expires.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use contract::{
    Refusal, Time, UserId,
    text::{AvatarUrl, Bio, Email, Name},
    user::{Account, ProfileChanges, Role, Status, User},
};
use futures::TryStreamExt;
use mongodb::{Collection, options::ReturnDocument};
use serde::{Deserialize, Serialize};
use service::{
    fault,
    mongo::{is_duplicate_key, refusal},
};

use super::{Store, date, text, time};

pub(super) const COLLECTION: &str = "users";
/// An address that was registered and never proven is forgotten after this.
const UNVERIFIED: Duration = Duration::from_hours(7 * 24);
/// Two who write the same address at once: the loser reads what the winner wrote, and needs no third round.
const ROUNDS: u32 = 5;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserDocument {
    #[serde(rename = "_id", with = "text")]
    id: UserId,
    email: Email,
    email_verified: bool,
    name: Name,
    pub(super) password_hash: Option<String>,
    pub(super) password_set_at: Option<DateTime>,
    role: Role,
    avatar_url: Option<AvatarUrl>,
    bio: Option<Bio>,
    status: Option<Status>,
    created_at: DateTime,
}

impl UserDocument {
    pub(super) fn account(self) -> Account {
        let now = Time::now();
        Account {
            user: User {
                id: self.id,
                name: self.name,
                avatar_url: self.avatar_url,
                bio: self.bio,
                status: self.status.filter(|status| status.until.is_none_or(|until| now < until)),
                created_at: time(self.created_at),
            },
            email: self.email,
            email_verified: self.email_verified,
            role: self.role,
        }
    }
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Noted,
    /// Somebody has proven this address.
    Taken,
}

/// What the owner of an address comes with when they have proven it for the first time.
#[derive(Debug)]
pub enum Proven {
    /// The code of a registration: this name and this password.
    Registration { name: Name, password_hash: Option<String> },
    /// A code to sign in, and no password: what others have registered meanwhile is void. The name is for a new account.
    SignIn { name: Name },
}

/// A place in the list of users by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCursor {
    /// In lower case.
    pub name: String,
    pub id: UserId,
}

impl Store {
    pub(super) fn users(&self) -> Result<Collection<UserDocument>, Refusal> {
        self.collection(COLLECTION)
    }

    pub async fn account(&self, user: UserId) -> Result<Option<Account>, Refusal> {
        let found = self.users()?.find_one(verified(user)).await;
        Ok(found.map_err(|error| refusal("looking up a user", &error))?.map(UserDocument::account))
    }

    pub async fn account_of(&self, email: &Email) -> Result<Option<Account>, Refusal> {
        let found = self.users()?.find_one(doc! { "email": &**email, "emailVerified": true }).await;
        Ok(found.map_err(|error| refusal("looking up an address", &error))?.map(UserDocument::account))
    }

    /// Notes that somebody wants this address, with this name and password; the last one to want it is noted.
    pub async fn register(&self, email: &Email, name: &Name, password_hash: &str) -> Result<Registration, Refusal> {
        let users = self.users()?;
        let now = Time::now();
        let mut change = new_user(now);
        change.insert(
            "$set",
            doc! {
                "name": &**name,
                "nameLower": name.to_lowercase(),
                "passwordHash": password_hash,
                "unverifiedUntil": date(now.plus(UNVERIFIED)),
            },
        );
        for _ in 0..ROUNDS {
            match users.update_one(unverified(email), change.clone()).upsert(true).await {
                Ok(_) => return Ok(Registration::Noted),
                Err(error) if is_duplicate_key(&error) => {}
                Err(error) => return Err(refusal("noting a registration", &error)),
            }
            // Either it is taken, or another registration of it was faster and this one comes on top.
            if self.account_of(email).await?.is_some() {
                return Ok(Registration::Taken);
            }
        }
        Err(Refusal::unavailable("This address is being registered; please try again."))
    }

    /// The account of an address that has been proven; makes it one, once, where it was none.
    pub async fn prove(&self, email: &Email, proven: &Proven) -> Result<Account, Refusal> {
        let users = self.users()?;
        let mut change = new_user(Time::now());
        let mut set = doc! { "emailVerified": true };
        match proven {
            Proven::Registration { name, password_hash } => {
                set.extend(doc! { "name": &**name, "nameLower": name.to_lowercase(), "passwordHash": password_hash.as_deref() });
            }
            Proven::SignIn { name } => {
                set.insert("passwordHash", bson::Bson::Null);
                if let Ok(new) = change.get_document_mut("$setOnInsert") {
                    new.extend(doc! { "name": &**name, "nameLower": name.to_lowercase() });
                }
            }
        }
        change.extend(doc! { "$set": set, "$unset": { "unverifiedUntil": "" } });
        for _ in 0..ROUNDS {
            if let Some(account) = self.account_of(email).await? {
                return Ok(account);
            }
            let updated = users.find_one_and_update(unverified(email), change.clone());
            match updated.upsert(true).return_document(ReturnDocument::After).await {
                Ok(Some(user)) => return Ok(user.account()),
                Ok(None) => {}
                Err(error) if is_duplicate_key(&error) => {}
                Err(error) => return Err(refusal("verifying an address", &error)),
            }
        }
        Err(Refusal::unavailable("This account is being made; please try again."))
    }

    /// The user as changed; `None` where there is no such user.
    pub async fn update(&self, user: UserId, changes: &ProfileChanges) -> Result<Option<Account>, Refusal> {
        let mut set = Document::new();
        if let Some(name) = &changes.name {
            set.extend(doc! { "name": &**name, "nameLower": name.to_lowercase() });
        }
        if let Some(bio) = &changes.bio {
            set.insert("bio", bio.as_deref());
        }
        if let Some(avatar_url) = &changes.avatar_url {
            set.insert("avatarUrl", avatar_url.as_deref());
        }
        self.set(user, set).await
    }

    pub async fn set_status(&self, user: UserId, status: Option<&Status>) -> Result<Option<Account>, Refusal> {
        let status = bson::serialize_to_bson(&status).map_err(|error| fault("writing a status", &error))?;
        self.set(user, doc! { "status": status }).await
    }

    async fn set(&self, user: UserId, set: Document) -> Result<Option<Account>, Refusal> {
        if set.is_empty() {
            return self.account(user).await;
        }
        let users = self.users()?;
        let updated = users.find_one_and_update(verified(user), doc! { "$set": set });
        let updated = updated.return_document(ReturnDocument::After).await;
        Ok(updated.map_err(|error| refusal("changing a user", &error))?.map(UserDocument::account))
    }

    /// Users by the beginning of their name, in the order of their names: at most `limit`, beginning after `after`.
    pub async fn by_name(&self, prefix: &str, after: Option<&UserCursor>, limit: u32) -> Result<Vec<User>, Refusal> {
        let prefix = prefix.to_lowercase();
        let from = after.map_or(&prefix, |after| (&after.name).max(&prefix));
        let to = format!("{prefix}\u{10FFFF}");
        // A bounded range of the index; within it, the place after the last one of the page before.
        let mut filter = doc! { "emailVerified": true, "nameLower": { "$gte": from, "$lt": to } };
        if let Some(after) = after {
            let same_name = doc! { "nameLower": &after.name, "_id": { "$gt": after.id.to_string() } };
            filter.insert("$or", vec![doc! { "nameLower": { "$gt": &after.name } }, same_name]);
        }
        let users = self.users()?.find(filter).sort(doc! { "nameLower": 1, "_id": 1 }).limit(limit.into()).await;
        let users = users.map_err(|error| refusal("searching users", &error))?;
        let users = users.map_ok(|user| user.account().user).try_collect().await;
        users.map_err(|error| refusal("searching users", &error))
    }
}

impl UserCursor {
    /// The place of this user.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self { name: user.name.to_lowercase(), id: user.id }
    }
}

pub(super) fn verified(user: UserId) -> Document {
    doc! { "_id": user.to_string(), "emailVerified": true }
}

/// As the filter of an upsert it finds the note of an address, makes a new one, or, where somebody has proven the
/// address, meets the unique index.
fn unverified(email: &Email) -> Document {
    doc! { "email": &**email, "emailVerified": false }
}

fn new_user(now: Time) -> Document {
    doc! { "$setOnInsert": {
        "_id": UserId::new().to_string(),
        "role": "user",
        "avatarUrl": null,
        "bio": null,
        "status": null,
        "createdAt": date(now),
    } }
}
