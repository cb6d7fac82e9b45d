//! Notifications and settings in MongoDB; BSON stops here.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use bson::{DateTime, Document, doc};
use contract::{
    ChatId, NotificationId, Refusal, Time, UserId,
    event::Seq,
    notification::{Notification, NotificationType, Settings},
    push::About,
};
use futures::TryStreamExt;
use mongodb::{Database, IndexModel, error::Result, options::IndexOptions};
use serde::{Deserialize, Serialize};
use service::mongo::{self, Mongo, bulk};
use tokio::time::{Instant, sleep};

use super::counted::Counted;

const NOTIFICATIONS: &str = "notifications";
const SETTINGS: &str = "notification_settings";
/// Notifications that nothing happened to for this long go.
const KEPT: Duration = Duration::from_hours(90 * 24);
/// Chats of one question.
const CHUNK: usize = 1_000;
/// Statements of one command, after which MongoDB gets a pause as long as they took: it waits for the disk with each, and what
/// else needs the disk, above all the log, must not wait for all of them.
const AT_ONCE: usize = 16;
/// Documents of a statement that changes all of them alike, or that are inserted by one command, which costs a quarter each
/// and less: in a large group most notifications are the same but for whose they are.
const ALIKE: usize = 64;
/// More users than this for each chat are not looked for one by one.
const MANY: usize = 64;
/// Unread notifications that one digest can be about.
const DIGEST: i64 = 500;

/// A notification as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    #[serde(rename = "_id")]
    pub id: NotificationId,
    pub user_id: UserId,
    #[serde(rename = "type")]
    pub kind: NotificationType,
    pub chat_id: Option<ChatId>,
    /// What the chat is called, for letters; `None` in a direct chat.
    pub chat_name: Option<String>,
    pub seq: Option<Seq>,
    pub from: Option<UserId>,
    pub preview: String,
    pub count: u64,
    pub created_at: Time,
    #[serde(default)]
    pub counted: Counted,
    /// When something was last added: what lists are ordered by. Milliseconds.
    pub at: i64,
    pub read_at: Option<Time>,
    /// What is new in its chat is added to it. Not any more once it has been read, also where its reader says later that it
    /// is unread.
    #[serde(default)]
    pub open: bool,
    /// A digest has told of it.
    #[serde(default)]
    pub mailed: bool,
    /// Grows with each [`change`](Store::change), which must find the one it was made for.
    #[serde(default)]
    pub version: i64,
}

impl Stored {
    #[must_use]
    pub fn shown(&self) -> Notification {
        Notification {
            id: self.id,
            kind: self.kind,
            chat_id: self.chat_id,
            seq: self.seq,
            from: self.from,
            preview: self.preview.clone(),
            count: self.count,
            created_at: self.created_at,
            read_at: self.read_at,
        }
    }
}

/// What is known of a chat's notifications of its messages.
#[derive(Debug, Default)]
pub struct Known {
    /// The unread one of each user that is added to.
    pub unread: HashMap<UserId, Stored>,
    /// Messages, as far as it was asked, that have been told of and read.
    pub read: HashMap<UserId, Counted>,
}

impl Known {
    pub fn add(&mut self, one: Stored) {
        if one.read_at.is_some() {
            self.read.entry(one.user_id).or_default().insert_all(&one.counted);
        } else if self.unread.get(&one.user_id).is_none_or(|known| (known.open, known.seq) < (one.open, one.seq)) {
            self.unread.insert(one.user_id, one);
        }
    }
}

/// Where a page of a list goes on: `at` and id of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub at: i64,
    pub id: NotificationId,
}

/// Makes the indexes be there.
pub async fn ensure_indexes(database: &Database) -> Result<()> {
    let notifications = database.collection::<Document>(NOTIFICATIONS);
    let index = |keys: Document| IndexModel::builder().keys(keys).build();
    notifications.create_index(index(doc! { "userId": 1, "at": -1, "_id": -1 })).await?;
    notifications.create_index(index(doc! { "userId": 1, "readAt": 1, "at": -1 })).await?;
    notifications.create_index(index(doc! { "chatId": 1, "readAt": 1, "seq": 1 })).await?;
    let old = IndexOptions::builder().expire_after(KEPT).build();
    let by_age = IndexModel::builder().keys(doc! { "touched": 1 }).options(old).build();
    notifications.create_index(by_age).await?;
    Ok(())
}

/// Whether a notification has been read, or told anew, since it was told.
pub async fn is_over(database: &Database, told: About) -> Result<bool> {
    let About { notification, at } = told;
    let still = doc! { "_id": notification.to_string(), "readAt": null, "at": { "$lte": at } };
    Ok(database.collection::<Document>(NOTIFICATIONS).find_one(still).await?.is_none())
}

/// The collections of notifications; cheap to clone.
#[derive(Clone)]
pub struct Store {
    mongo: Mongo,
}

impl Store {
    pub fn new(mongo: Mongo) -> Self {
        Self { mongo }
    }

    /// The database for work that waits and tries again.
    pub fn anyway(&self) -> &Database {
        self.mongo.database_anyway()
    }

    fn database(&self) -> std::result::Result<&Database, Refusal> {
        self.mongo.database()
    }

    /// The notifications of these chats that are unread, or about messages from the one named on.
    pub async fn of_chats(&self, chats: &[(ChatId, Option<Seq>)]) -> Result<HashMap<ChatId, Known>> {
        let mut known: HashMap<ChatId, Known> = HashMap::new();
        for chats in chats.chunks(CHUNK) {
            let ids: Vec<ChatId> = chats.iter().map(|(chat, _)| *chat).collect();
            let from = |(chat, seq): &(ChatId, Option<Seq>)| {
                Some(doc! { "chatId": chat.to_string(), "seq": { "$gte": int((*seq)?) } })
            };
            let later: Vec<Document> = chats.iter().filter_map(from).collect();
            let later = (!later.is_empty()).then(|| doc! { "$or": later });
            let unread = doc! { "chatId": { "$in": texts(&ids) }, "readAt": null };
            for filter in [Some(unread), later].into_iter().flatten() {
                let mut found = self.notifications().find(filter).await?;
                while let Some(one) = found.try_next().await? {
                    if let Some(chat) = one.chat_id.filter(|_| one.kind != NotificationType::Added) {
                        known.entry(chat).or_default().add(one);
                    }
                }
            }
        }
        Ok(known)
    }

    /// Adds notifications; one that is there already stays as it is. Answers the chats of which somebody else has added one
    /// of the same messages meanwhile: what is new may not all be in it.
    pub async fn add(&self, new: &[Stored]) -> Result<HashSet<ChatId>> {
        let mut raced = HashSet::new();
        let mut pause = Duration::ZERO;
        for chunk in new.chunks(ALIKE) {
            sleep(pause).await;
            let began = Instant::now();
            let documents = chunk.iter().map(document).collect::<Result<Vec<Document>>>()?;
            let there = bulk::insert(self.anyway(), NOTIFICATIONS, documents).await?;
            let there = there.into_iter().filter_map(|index| chunk.get(index));
            raced.extend(there.filter(|one| one.open).filter_map(|one| one.chat_id));
            pause = began.elapsed();
        }
        Ok(raced)
    }

    /// Changes unread notifications that are still as they had been read; answers the chats of those that are not, and maybe
    /// of others that were changed by this.
    pub async fn change(&self, changed: &[Stored]) -> Result<HashSet<ChatId>> {
        let mut alike: HashMap<Vec<u8>, Alike> = HashMap::new();
        for one in changed {
            let mut document = document(one)?;
            for own in ["_id", "userId", "createdAt"] {
                document.remove(own);
            }
            document.insert("version", one.version + 1);
            let key = bson::serialize_to_vec(&document).map_err(mongodb::error::Error::custom)?;
            let unchanged = || doc! { "readAt": null, "version": one.version };
            let alike = alike.entry(key).or_insert_with(|| Alike::new(unchanged(), document));
            alike.ids.push(one.id);
        }
        if self.update(alike.into_values()).await? == changed.len() {
            return Ok(HashSet::new());
        }
        // Which ones, is not said. A version that is the next one may be somebody else's: then it is tried again for nothing.
        let ids: Vec<_> = changed.iter().map(|one| one.id).collect();
        let found: Vec<Stored> =
            self.notifications().find(doc! { "_id": { "$in": texts(&ids) } }).await?.try_collect().await?;
        let found: HashMap<_, _> = found.into_iter().map(|one| (one.id, one)).collect();
        let is_written = |one: &&Stored| {
            let now = found.get(&one.id);
            now.is_some_and(|now| now.read_at.is_none() && now.version == one.version + 1 && now.counted == one.counted)
        };
        Ok(changed.iter().filter(|one| !is_written(one)).filter_map(|one| one.chat_id).collect())
    }

    /// Changes what still is as it was; answers how many documents that were.
    async fn update(&self, changes: impl IntoIterator<Item = Alike>) -> Result<usize> {
        let mut found = 0;
        let mut pause = Duration::ZERO;
        for statements in commands(changes) {
            sleep(pause).await;
            let began = Instant::now();
            found += bulk::update(self.anyway(), NOTIFICATIONS, statements).await?;
            pause = began.elapsed();
        }
        Ok(found)
    }

    /// Unread notifications of these users in these chats. Those of a few users are looked for by user, those of most
    /// members of a large group by chat: one range of an index instead of a thousand.
    pub async fn unread_in(&self, users: &[UserId], chats: &[ChatId]) -> Result<Vec<Stored>> {
        let mut filter = doc! { "readAt": null, "chatId": { "$in": texts(chats) } };
        let by_user = users.len() <= MANY * chats.len();
        if by_user {
            filter.insert("userId", doc! { "$in": texts(users) });
        }
        let mut found: Vec<Stored> = self.notifications().find(filter).await?.try_collect().await?;
        if !by_user {
            let users: HashSet<&UserId> = users.iter().collect();
            found.retain(|one| users.contains(&one.user_id));
        }
        Ok(found)
    }

    /// A page of a user's notifications, the latest first.
    pub async fn page(
        &self,
        user: UserId,
        unread: bool,
        before: Option<Position>,
        limit: u32,
    ) -> std::result::Result<Vec<Stored>, Refusal> {
        // All that one was about may have been deleted.
        let mut filter = doc! { "userId": user.to_string(), "count": { "$gt": 0 } };
        if unread {
            filter.insert("readAt", bson::Bson::Null);
        }
        if let Some(Position { at, id }) = before {
            filter
                .insert("$or", vec![doc! { "at": { "$lt": at } }, doc! { "at": at, "_id": { "$lt": id.to_string() } }]);
        }
        let notifications = self.database()?.collection::<Stored>(NOTIFICATIONS);
        let found = notifications.find(filter).sort(doc! { "at": -1, "_id": -1 }).limit(limit.into());
        async { found.await?.try_collect().await }.await.map_err(|error| refusal(&error))
    }

    pub async fn count_unread(&self, user: UserId) -> std::result::Result<u64, Refusal> {
        let notifications = self.database()?.collection::<Stored>(NOTIFICATIONS);
        let unread = doc! { "userId": user.to_string(), "readAt": null };
        notifications.count_documents(unread).await.map_err(|error| refusal(&error))
    }

    /// What a digest is to tell of, the latest first: messages. An alert is a letter of its own.
    pub async fn to_mail(&self, user: UserId) -> Result<Vec<Stored>> {
        let messages = vec!["message", "mention", "reply"];
        let unread = doc! { "userId": user.to_string(), "readAt": null, "mailed": false, "type": { "$in": messages } };
        self.notifications().find(unread).sort(doc! { "at": -1 }).limit(DIGEST).await?.try_collect().await
    }

    pub async fn set_mailed(&self, user: UserId, up_to: i64) -> Result<()> {
        let told = doc! { "userId": user.to_string(), "readAt": null, "at": { "$lte": up_to } };
        let now = Time::now().as_millis();
        let set = doc! { "$set": { "mailed": true, "mailedAt": now } };
        self.notifications().update_many(told, set).await.map(|_| ())
    }

    /// Whether a digest has gone to a user after this.
    pub async fn mailed_since(&self, user: UserId, since: Option<Time>) -> Result<bool> {
        let since = since.map_or(0, Time::as_millis);
        let mailed = doc! { "userId": user.to_string(), "mailedAt": { "$gt": since } };
        Ok(self.anyway().collection::<Document>(NOTIFICATIONS).find_one(mailed).await?.is_some())
    }

    /// One of a user's own notifications, read or unread from now on; `None` where there is no such one.
    pub async fn set_read(
        &self,
        user: UserId,
        id: NotificationId,
        read_at: Option<Time>,
    ) -> std::result::Result<Option<Stored>, Refusal> {
        let notifications = self.database()?.collection::<Stored>(NOTIFICATIONS);
        let own = doc! { "_id": id.to_string(), "userId": user.to_string() };
        // Read again keeps when it was read first.
        let stale = match read_at {
            Some(_) => doc! { "_id": id.to_string(), "userId": user.to_string(), "readAt": null },
            None => own.clone(),
        };
        let mut set = doc! { "readAt": text(read_at) };
        if read_at.is_some() {
            set.insert("open", false);
        }
        let set = doc! { "$set": set };
        let outcome = async {
            notifications.update_one(stale, set).await?;
            notifications.find_one(own).await
        };
        outcome.await.map_err(|error| refusal(&error))
    }

    /// Reads notifications that are still about nothing later than they were; answers those that meanwhile are.
    pub async fn read(&self, unread: &[Stored], at: Time) -> Result<HashSet<NotificationId>> {
        let mut by_seq: BTreeMap<Option<Seq>, Alike> = BTreeMap::new();
        for one in unread {
            let same = || doc! { "readAt": null, "seq": one.seq.map(int) };
            let set = || doc! { "readAt": text(Some(at)), "open": false };
            by_seq.entry(one.seq).or_insert_with(|| Alike::new(same(), set())).ids.push(one.id);
        }
        if self.update(by_seq.into_values()).await? == unread.len() {
            return Ok(HashSet::new());
        }
        // Some have been read by somebody else, which is as good.
        let ids: Vec<_> = unread.iter().map(|one| one.id).collect();
        let still = doc! { "_id": { "$in": texts(&ids) }, "readAt": null };
        let still: Vec<Stored> = self.notifications().find(still).await?.try_collect().await?;
        Ok(still.into_iter().map(|one| one.id).collect())
    }

    pub async fn unread_of(&self, user: UserId) -> std::result::Result<Vec<Stored>, Refusal> {
        let notifications = self.database()?.collection::<Stored>(NOTIFICATIONS);
        let unread = doc! { "userId": user.to_string(), "readAt": null };
        async { notifications.find(unread).await?.try_collect().await }.await.map_err(|error| refusal(&error))
    }

    /// The settings of these users; who is absent has never changed anything.
    pub async fn settings(&self, users: &[UserId]) -> Result<HashMap<UserId, Settings>> {
        let collection = self.anyway().collection::<Document>(SETTINGS);
        let mut found = collection.find(doc! { "_id": { "$in": texts(users) } }).await?;
        let mut settings = HashMap::new();
        while let Some(one) = found.try_next().await? {
            let user = one.get_str("_id").ok().and_then(|id| id.parse().ok());
            if let (Some(user), Ok(one)) = (user, bson::deserialize_from_document::<Settings>(one)) {
                settings.insert(user, one);
            }
        }
        Ok(settings)
    }

    pub async fn set_settings(&self, user: UserId, settings: &Settings) -> std::result::Result<(), Refusal> {
        let document = bson::serialize_to_document(settings).map_err(|error| service::fault("settings", &error))?;
        let collection = self.database()?.collection::<Document>(SETTINGS);
        let replaced = collection.replace_one(doc! { "_id": user.to_string() }, document).upsert(true).await;
        replaced.map(|_| ()).map_err(|error| refusal(&error))
    }

    fn notifications(&self) -> mongodb::Collection<Stored> {
        self.anyway().collection(NOTIFICATIONS)
    }
}

/// Notifications that are changed alike.
struct Alike {
    ids: Vec<NotificationId>,
    /// What they must still be.
    unchanged: Document,
    set: Document,
}

impl Alike {
    fn new(unchanged: Document, set: Document) -> Self {
        Self { ids: Vec::new(), unchanged, set }
    }

    /// A statement for each few of them, with how many that are.
    fn statements(self) -> Vec<(usize, Document)> {
        let statement = |ids: &[NotificationId]| {
            let mut filter = doc! { "_id": { "$in": texts(ids) } };
            filter.extend(self.unchanged.clone());
            (ids.len(), doc! { "q": filter, "u": { "$set": self.set.clone() }, "multi": true })
        };
        self.ids.chunks(ALIKE).map(statement).collect()
    }
}

/// Statements, as many in a command as MongoDB takes in a few milliseconds.
fn commands(changes: impl IntoIterator<Item = Alike>) -> Vec<Vec<Document>> {
    let (mut commands, mut room) = (Vec::<Vec<Document>>::new(), 0);
    for (documents, statement) in changes.into_iter().flat_map(Alike::statements) {
        let weight = documents.div_ceil(ALIKE / AT_ONCE);
        if let Some(command) = commands.last_mut().filter(|_| weight <= room) {
            command.push(statement);
        } else {
            commands.push(vec![statement]);
            room = AT_ONCE;
        }
        room -= weight;
    }
    commands
}

/// With the date that its age is counted from.
fn document(one: &Stored) -> Result<Document> {
    let mut document = bson::serialize_to_document(one).map_err(mongodb::error::Error::custom)?;
    document.insert("touched", DateTime::from_millis(one.at));
    Ok(document)
}

fn texts<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// As serde writes it into the document.
fn text(time: Option<Time>) -> bson::Bson {
    time.and_then(|time| bson::serialize_to_bson(&time).ok()).unwrap_or(bson::Bson::Null)
}

/// Numbers in BSON are signed; JetStream does not reach beyond.
fn int(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn refusal(error: &mongodb::error::Error) -> Refusal {
    mongo::refusal("notifications", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many statements each command has for groups of so many notifications.
    fn lengths(groups: &[usize]) -> Vec<usize> {
        let alike = |size: &usize| Alike { ids: vec![NotificationId::new(); *size], ..Alike::new(doc! {}, doc! {}) };
        commands(groups.iter().map(alike)).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_command_does_not_keep_the_disk_for_long() {
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1; 40]), [16, 16, 8]);
        assert_eq!(lengths(&[200]), [1, 1, 1, 1]);
        assert_eq!(lengths(&[64, 1, 32, 8, 32]), [1, 3, 1]);
    }
}
