//! Lists of people by id: who there is, and where they get letters.

use bson::{Document, doc};
use contract::{
    Refusal, UserId,
    text::{Email, Name},
    user::Contact,
};
use futures::TryStreamExt;
use serde::Deserialize;
use service::mongo::refusal;

use super::{Store, text};

#[derive(Debug, Deserialize)]
struct IdDocument {
    #[serde(rename = "_id", with = "text")]
    id: UserId,
}

#[derive(Debug, Deserialize)]
struct ContactDocument {
    #[serde(rename = "_id", with = "text")]
    id: UserId,
    name: Name,
    email: Email,
}

impl Store {
    /// Which of these there are.
    pub async fn known(&self, users: &[UserId]) -> Result<Vec<UserId>, Refusal> {
        let ids: Vec<String> = users.iter().map(UserId::to_string).collect();
        let collection = self.users()?.clone_with_type::<IdDocument>();
        let found =
            collection.find(doc! { "_id": { "$in": ids }, "emailVerified": true }).projection(doc! { "_id": 1 });
        let found = found.await.map_err(|error| refusal("looking up users", &error))?;
        let found = found.map_ok(|user| user.id).try_collect().await;
        found.map_err(|error| refusal("looking up users", &error))
    }

    /// Where these get letters.
    pub async fn contacts(&self, users: &[UserId]) -> Result<Vec<Contact>, Refusal> {
        let ids: Vec<String> = users.iter().map(UserId::to_string).collect();
        self.find_contacts(doc! { "_id": { "$in": ids }, "emailVerified": true }, users.len()).await
    }

    /// Where people get letters, in the order of their ids: a range of the index that every collection has.
    pub async fn contacts_after(&self, after: Option<UserId>, limit: usize) -> Result<Vec<Contact>, Refusal> {
        let mut filter = doc! { "emailVerified": true };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after.to_string() });
        }
        self.find_contacts(filter, limit).await
    }

    async fn find_contacts(&self, filter: Document, limit: usize) -> Result<Vec<Contact>, Refusal> {
        // To MongoDB, no limit is what 0 means.
        let Some(limit) = i64::try_from(limit).ok().filter(|limit| *limit > 0) else { return Ok(Vec::new()) };
        let users = self.users()?.clone_with_type::<ContactDocument>();
        // The sort would do, but another index begins with `emailVerified`, and the planner likes it.
        let found = users.find(filter).hint(mongodb::options::Hint::Keys(doc! { "_id": 1 })).sort(doc! { "_id": 1 });
        let found = found.limit(limit).projection(doc! { "name": 1, "email": 1 }).await;
        let found = found.map_err(|error| refusal("looking up addresses", &error))?;
        let contact = |user: ContactDocument| Contact { id: user.id, name: user.name, email: user.email };
        found.map_ok(contact).try_collect().await.map_err(|error| refusal("looking up addresses", &error))
    }
}
