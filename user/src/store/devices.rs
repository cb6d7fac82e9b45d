//! Devices that an account was signed in to from. Sessions cannot tell: they go when they end.

use bson::doc;
use contract::{Refusal, UserId};
use serde::Deserialize;
use service::mongo::refusal;

use super::{Store, users::verified};

/// So many are remembered of an account, those used last.
const MOST: i32 = 50;

#[derive(Debug, Deserialize)]
struct DevicesDocument {
    #[serde(default)]
    devices: Vec<String>,
}

impl Store {
    /// The one used last is the last.
    pub async fn devices(&self, user: UserId) -> Result<Vec<String>, Refusal> {
        let users = self.users()?.clone_with_type::<DevicesDocument>();
        let found = users.find_one(verified(user)).projection(doc! { "_id": 0, "devices": 1 }).await;
        let found = found.map_err(|error| refusal("looking up devices", &error))?;
        Ok(found.map(|found| found.devices).unwrap_or_default())
    }

    /// Makes this one the last; in one step, so that of several at once none is lost.
    pub async fn remember_device(&self, user: UserId, device: &str) -> Result<(), Refusal> {
        let others = doc! { "$filter": {
            "input": { "$ifNull": ["$devices", []] },
            "cond": { "$ne": ["$$this", device] },
        } };
        let devices = doc! { "$slice": [{ "$concatArrays": [others, [device]] }, -MOST] };
        let updated = self.users()?.update_one(verified(user), vec![doc! { "$set": { "devices": devices } }]).await;
        updated.map(|_| ()).map_err(|error| refusal("remembering a device", &error))
    }
}
