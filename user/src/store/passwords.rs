//! Passwords of accounts, as hashes.

use bson::{DateTime, doc};
use contract::{Refusal, Time, UserId, text::Email, user::Account};
use serde::Deserialize;
use service::mongo::refusal;

use super::{Store, date, time, users::verified};

/// An account with what proves it.
#[derive(Debug)]
pub struct Credentials {
    pub account: Account,
    /// `None` where its owner signs in by code only.
    pub password_hash: Option<String>,
    /// When it was last reset.
    pub password_set_at: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetAtDocument {
    password_set_at: Option<DateTime>,
}

impl Store {
    /// Also where the address is not proven yet.
    pub async fn credentials(&self, email: &Email) -> Result<Option<Credentials>, Refusal> {
        let found = self.users()?.find_one(doc! { "email": &**email }).await;
        let found = found.map_err(|error| refusal("looking up an address", &error))?;
        Ok(found.map(|mut user| Credentials {
            password_hash: user.password_hash.take(),
            password_set_at: user.password_set_at.map(time),
            account: user.account(),
        }))
    }

    /// Replaces a hash by one of the same password, unless the password was changed meanwhile.
    pub async fn replace_hash(&self, user: UserId, old: &str, new: &str) -> Result<(), Refusal> {
        let filter = doc! { "_id": user.to_string(), "passwordHash": old };
        let updated = self.users()?.update_one(filter, doc! { "$set": { "passwordHash": new } }).await;
        updated.map(|_| ()).map_err(|error| refusal("replacing a password hash", &error))
    }

    /// A new password, for whoever has proven their address again.
    pub async fn set_password(&self, user: UserId, hash: &str) -> Result<(), Refusal> {
        let set = doc! { "passwordHash": hash, "passwordSetAt": date(Time::now()) };
        let updated = self.users()?.update_one(verified(user), doc! { "$set": set }).await;
        updated.map(|_| ()).map_err(|error| refusal("setting a password", &error))
    }

    /// When the password was last reset.
    pub async fn password_set_at(&self, user: UserId) -> Result<Option<Time>, Refusal> {
        let users = self.users()?.clone_with_type::<SetAtDocument>();
        let found = users.find_one(verified(user)).projection(doc! { "_id": 0, "passwordSetAt": 1 }).await;
        let found = found.map_err(|error| refusal("looking up when a password was set", &error))?;
        Ok(found.and_then(|found| found.password_set_at).map(time))
    }
}
