//! Subscriptions in MongoDB: BSON stops here.

use std::time::Duration;

use bson::{DateTime, doc};
use contract::{
    Refusal, Time, UserId,
    push::{About, MAX_SUBSCRIPTIONS, PushKeys, PushSubscription},
};
use futures::TryStreamExt;
use mongodb::{Collection, IndexModel};
use serde::{Deserialize, Serialize};
use service::{Service, mongo::Mongo};

use super::subscription;
use crate::notify;

const COLLECTION: &str = "push_subscriptions";
/// `lastUsedAt` is for people who look, who need not know it better than this.
const USED: Duration = Duration::from_hours(24);

/// The collection; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    mongo: Mongo,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    /// Hash of the endpoint: of one browser there is one subscription, whoever uses it.
    #[serde(rename = "_id")]
    id: String,
    user_id: String,
    endpoint: String,
    keys: PushKeys,
    created_at: DateTime,
    last_used_at: DateTime,
}

/// A subscription as it is stored.
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) subscription: PushSubscription,
    last_used: Time,
}

impl Store {
    /// Makes the index be there in the background. It is for speed only, so nothing waits for it.
    pub(crate) fn open(service: &Service, mongo: Mongo) -> Self {
        mongo.ensure(service.lifecycle(), async |database| {
            let index = IndexModel::builder().keys(doc! { "userId": 1, "createdAt": 1 }).build();
            database.collection::<Document>(COLLECTION).create_index(index).await.map(|_| ())
        });
        Self { mongo }
    }

    /// Somebody's from now on, whoever had it before: two people sign in on one browser, one after the other. The oldest
    /// ones make way.
    pub(crate) async fn put(&self, user: UserId, subscription: PushSubscription) -> Result<(), Refusal> {
        let collection = self.collection()?;
        let (id, now) = (subscription::id(&subscription.endpoint), DateTime::now());
        let user_id = user.to_string();
        let PushSubscription { endpoint, keys } = subscription;
        // A browser that subscribes again, as it does at every start, stays as old as it is.
        let known = collection.find_one(doc! { "_id": &id, "userId": &user_id }).await.map_err(failed)?;
        let created_at = known.map_or(now, |known| known.created_at);
        let document = Document { id: id.clone(), user_id, endpoint, keys, created_at, last_used_at: now };
        collection.replace_one(doc! { "_id": &id }, &document).upsert(true).await.map_err(failed)?;
        let others = doc! { "userId": &document.user_id, "_id": { "$ne": &id } };
        let too_many = collection
            .find(others)
            .sort(doc! { "createdAt": -1, "_id": 1 })
            .skip(MAX_SUBSCRIPTIONS as u64 - 1)
            .await
            .map_err(failed)?;
        let too_many: Vec<String> = too_many.map_ok(|other| other.id).try_collect().await.map_err(failed)?;
        if !too_many.is_empty() {
            collection.delete_many(doc! { "_id": { "$in": too_many } }).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Ends somebody's own; it may be gone already.
    pub(crate) async fn end(&self, user: UserId, endpoint: &str) -> Result<(), Refusal> {
        let own = doc! { "_id": subscription::id(endpoint), "userId": user.to_string() };
        self.collection()?.delete_one(own).await.map_err(failed)?;
        Ok(())
    }

    /// All of somebody, or one.
    pub(crate) async fn of(&self, user: UserId, only: Option<&str>) -> Result<Vec<Stored>, Refusal> {
        let mut filter = doc! { "userId": user.to_string() };
        if let Some(id) = only {
            filter.insert("_id", id);
        }
        let found = self.collection()?.find(filter).await.map_err(failed)?;
        let stored = |Document { id, endpoint, keys, last_used_at, .. }: Document| Stored {
            id,
            subscription: PushSubscription { endpoint, keys },
            last_used: Time::from_millis(last_used_at.timestamp_millis()),
        };
        found.map_ok(stored).try_collect().await.map_err(failed)
    }

    /// Whether there is nothing to tell any more of what was to be told.
    pub(crate) async fn is_over(&self, told: About) -> Result<bool, Refusal> {
        notify::is_over(self.mongo.database()?, told).await.map_err(failed)
    }

    /// A push service has said that there is no such subscription.
    pub(crate) async fn forget(&self, user: UserId, id: &str) -> Result<(), Refusal> {
        let gone = doc! { "_id": id, "userId": user.to_string() };
        self.collection()?.delete_one(gone).await.map_err(failed)?;
        Ok(())
    }

    /// Notes that a push service took something for it.
    pub(crate) async fn used(&self, stored: &Stored) -> Result<(), Refusal> {
        if Time::now().since(stored.last_used) < USED {
            return Ok(());
        }
        let now = doc! { "$set": { "lastUsedAt": DateTime::now() } };
        self.collection()?.update_one(doc! { "_id": &stored.id }, now).await.map_err(failed)?;
        Ok(())
    }

    fn collection(&self) -> Result<Collection<Document>, Refusal> {
        Ok(self.mongo.database()?.collection(COLLECTION))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: mongodb::error::Error) -> Refusal {
    service::mongo::refusal("a query of push subscriptions", &error)
}
