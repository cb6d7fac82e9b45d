//! Users and sessions in MongoDB: BSON stops here.

mod contacts;
mod devices;
mod passwords;
mod sessions;
mod users;

use std::time::Duration;

use bson::{DateTime, Document, doc};
use contract::{Refusal, Time};
use mongodb::{Collection, Database, IndexModel, options::IndexOptions};
use service::{Readiness, Service, chain, mongo::Mongo};

pub use passwords::Credentials;
pub use sessions::{NewSession, StoredSession};
pub use users::{Proven, Registration, UserCursor};

/// Name of the readiness part.
const INDEXES: &str = "indexes";
/// Indexes that could not be made are tried again after this; MongoDB's coming and going is looked at as often.
const AGAIN: Duration = Duration::from_millis(500);

/// The collections of this service; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    mongo: Mongo,
    readiness: Readiness,
}

impl Store {
    /// Makes the indexes be there in the background, and again whenever MongoDB was away; readiness `indexes` follows.
    pub fn open(service: &Service, mongo: Mongo) -> Self {
        let store = Self { mongo, readiness: service.readiness().clone() };
        store.readiness.set(INDEXES, false);
        let (indexing, soft) = (store.clone(), service.lifecycle().soft().clone());
        service.lifecycle().keep(INDEXES, async move {
            tokio::select! { () = soft.cancelled() => {}, () = indexing.keep_indexes() => {} }
        });
        store
    }

    async fn keep_indexes(&self) {
        loop {
            self.mongo.there().await;
            match self.ensure_indexes().await {
                Ok(()) => {
                    self.readiness.set(INDEXES, true);
                    while self.mongo.database().is_ok() {
                        tokio::time::sleep(AGAIN).await;
                    }
                    self.readiness.set(INDEXES, false);
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot have indexes; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn ensure_indexes(&self) -> Result<(), mongodb::error::Error> {
        let database = self.mongo.database_anyway();
        let users = database.collection::<Document>(users::COLLECTION);
        users.create_index(unique(doc! { "email": 1 })).await?;
        users.create_index(plain(doc! { "emailVerified": 1, "nameLower": 1, "_id": 1 })).await?;
        users.create_index(expiring("unverifiedUntil")).await?;
        let sessions = database.collection::<Document>(sessions::COLLECTION);
        sessions.create_index(plain(doc! { "userId": 1 })).await?;
        sessions.create_index(expiring("expiresAt")).await?;
        Ok(())
    }

    /// Refuses as `unavailable`, at once, while MongoDB is away.
    pub fn there(&self) -> Result<(), Refusal> {
        self.database().map(|_| ())
    }

    /// Also refuses while the indexes are missing: without them an address is not unique.
    fn database(&self) -> Result<&Database, Refusal> {
        let database = self.mongo.database()?;
        if !self.readiness.has(INDEXES) {
            return Err(Refusal::unavailable("The database is being set up; please try again."));
        }
        Ok(database)
    }

    fn collection<T: Send + Sync>(&self, name: &str) -> Result<Collection<T>, Refusal> {
        Ok(self.database()?.collection(name))
    }
}

fn plain(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

fn unique(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().unique(true).build()).build()
}

/// Documents go some time after the point in time in `field`; those without it stay.
fn expiring(field: &str) -> IndexModel {
    let options = IndexOptions::builder().expire_after(Duration::ZERO).build();
    IndexModel::builder().keys(doc! { field: 1 }).options(options).build()
}

fn date(time: Time) -> DateTime {
    DateTime::from_millis(time.as_millis())
}

fn time(date: DateTime) -> Time {
    Time::from_millis(date.timestamp_millis())
}

/// Ids as text: `uuid` would become binary, which nobody can read in a shell.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>
    where
        T::Err: Display,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
