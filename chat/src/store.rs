//! The archive in MongoDB; BSON stops here and in `project`.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Document, doc};
use contract::{
    ChatId, Time, UserId,
    event::{Message, Seq},
    text::{Emoji, MessageText},
};
use futures::TryStreamExt;
use mongodb::{Database, IndexModel, error::Result};
use serde::Deserialize;
use service::mongo::bulk;

use crate::{
    fold::Messages,
    project::{CHATS, Insert, MEMBERS, MESSAGES, Upsert, Writes, message_id},
};

/// Writes of one command; its limit is 100,000 and 48 MB.
const CHUNK: usize = 1_000;

/// A message's document: the message as it was sent, and what came later as registers, see `project`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Archived {
    /// Absent while only a later event of it has been archived.
    message: Option<Message>,
    edit: Option<Edit>,
    deleted: Option<Gone>,
    #[serde(default)]
    reactions: BTreeMap<Emoji, BTreeMap<UserId, i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edit {
    text: MessageText,
    mentions: Vec<UserId>,
    edited_at: Time,
}

#[derive(Debug, Deserialize)]
struct Gone {
    at: Time,
}

impl Archived {
    fn into_message(self) -> Option<Message> {
        let mut message = self.message?;
        if let Some(edit) = self.edit {
            (message.text, message.mentions, message.edited_at) = (edit.text, edit.mentions, Some(edit.edited_at));
        }
        for (emoji, users) in self.reactions {
            let mut users: Vec<(i64, UserId)> =
                users.into_iter().filter(|(_, at)| at % 2 == 1).map(|(user, at)| (at, user)).collect();
            users.sort_unstable();
            if !users.is_empty() {
                message.reactions.insert(emoji, users.into_iter().map(|(_, user)| user).collect());
            }
        }
        if let Some(gone) = self.deleted {
            message.deleted_at = Some(gone.at);
            message.text = MessageText::empty();
            message.attachments.clear();
            message.mentions.clear();
            message.reactions.clear();
        }
        Some(message)
    }
}

/// The message a document is; `None` while only a later event of it has been archived.
pub fn message_of(document: Document) -> bson::error::Result<Option<Message>> {
    Ok(bson::deserialize_from_document::<Archived>(document)?.into_message())
}

/// Makes the indexes be there.
pub async fn ensure_indexes(database: &Database) -> Result<()> {
    let by_user = IndexModel::builder().keys(doc! { "userId": 1, "chatId": 1 }).build();
    database.collection::<Document>(MEMBERS).create_index(by_user).await?;
    let by_chat = IndexModel::builder().keys(doc! { "chatId": 1 }).build();
    database.collection::<Document>(MEMBERS).create_index(by_chat).await?;
    Ok(())
}

/// Messages `first..=last` of a chat: a bounded range of the only index that messages have, which is their `_id`.
fn range(chat: ChatId, first: Seq, last: Seq) -> Document {
    doc! { "$gte": message_id(chat, first), "$lte": message_id(chat, last) }
}

/// Messages `first..=last` of a chat, as far as they are archived.
pub async fn messages(database: &Database, chat: ChatId, first: Seq, last: Seq) -> Result<Messages> {
    let filter = doc! { "_id": range(chat, first, last) };
    let mut found = database.collection::<Document>(MESSAGES).find(filter).await?;
    let mut messages = Messages::new();
    while let Some(document) = found.try_next().await? {
        if let Some(message) = message_of(document)? {
            messages.insert(message.seq, message);
        }
    }
    Ok(messages)
}

/// Numbers of the messages of others among `first..=last` that are not deleted, as far as they are archived.
pub async fn unread(database: &Database, chat: ChatId, user: UserId, first: Seq, last: Seq) -> Result<BTreeSet<Seq>> {
    let filter = doc! {
        "_id": range(chat, first, last), "senderId": { "$ne": user.to_string() }, "message.kind": "user",
        "deleted": { "$exists": false },
    };
    let mut found = database.collection::<Document>(MESSAGES).find(filter).projection(doc! { "seq": 1 }).await?;
    let mut unread = BTreeSet::new();
    while let Some(document) = found.try_next().await? {
        unread.extend(document.get_i64("seq").ok().and_then(|seq| Seq::try_from(seq).ok()));
    }
    Ok(unread)
}

/// Writes a batch: all of it, or an error, after which it may be written again.
pub async fn write(database: &Database, writes: &Writes) -> Result<()> {
    insert(database, MESSAGES, &writes.sent).await?;
    upsert(database, MESSAGES, &writes.changes).await?;
    upsert(database, MEMBERS, &writes.members).await?;
    upsert(database, CHATS, &writes.chats()).await
}

/// Removes what the archive holds; the log tells it again.
pub async fn drop_all(database: &Database) -> Result<()> {
    for collection in [MESSAGES, MEMBERS, CHATS] {
        database.collection::<Document>(collection).drop().await?;
    }
    Ok(())
}

async fn insert(database: &Database, collection: &str, inserts: &[Insert]) -> Result<()> {
    for chunk in inserts.chunks(CHUNK) {
        let documents = chunk.iter().map(Insert::document).collect();
        // Archived before, or something that happened to it was.
        let there = bulk::insert(database, collection, documents).await?;
        let there: Vec<Upsert> = there.into_iter().filter_map(|index| chunk.get(index)).map(Insert::upsert).collect();
        upsert(database, collection, &there).await?;
    }
    Ok(())
}

/// Two instances that upsert one new document at the same time: one of them is told 11000 and tries again.
async fn upsert(database: &Database, collection: &str, upserts: &[Upsert]) -> Result<()> {
    for chunk in upserts.chunks(CHUNK) {
        let statement = |one: &Upsert| doc! { "q": { "_id": &one.id }, "u": &one.update, "upsert": true };
        bulk::update(database, collection, chunk.iter().map(statement).collect()).await?;
    }
    Ok(())
}
