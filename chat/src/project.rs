//! From log events to writes in MongoDB: pure. Every write is idempotent and they commute: what is immutable is set,
//! what changes is a register in which the highest cursor wins (`$max`), so events may be projected twice, in batches,
//! by several instances, in any order.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use contract::{
    ChatId, UserId,
    event::{Cursor, Event, Member, Message, Reaction, Seq},
};
use serde::Serialize;

use crate::{members, state::ChatState};

/// Collections of the archive.
pub const CHATS: &str = "chats";
pub const MEMBERS: &str = "members";
pub const MESSAGES: &str = "messages";

/// One upsert of the document with this `_id`.
#[derive(Debug, Clone, PartialEq)]
pub struct Upsert {
    pub id: String,
    pub update: Document,
}

/// A new document, which costs MongoDB a fraction of an upsert. Where it turns out to be there, what it says is `$set`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    pub id: String,
    pub fields: Document,
}

impl Insert {
    #[must_use]
    pub fn document(&self) -> Document {
        let mut document = doc! { "_id": &self.id };
        document.extend(self.fields.clone());
        document
    }

    /// The same where the document may be there.
    #[must_use]
    pub fn upsert(&self) -> Upsert {
        Upsert { id: self.id.clone(), update: doc! { "$set": self.fields.clone() } }
    }
}

/// Writes of a batch of events, by collection.
#[derive(Debug, Default, PartialEq)]
pub struct Writes {
    /// Messages as they were sent.
    pub sent: Vec<Insert>,
    /// What became of messages later.
    pub changes: Vec<Upsert>,
    pub members: Vec<Upsert>,
    chats: BTreeMap<ChatId, ChatWrite>,
}

/// Writes to one chat's document are collected.
#[derive(Debug, Default, PartialEq)]
struct ChatWrite {
    set: Document,
    max: Document,
}

/// An event that does not fit into BSON: numbers beyond 63 bits, which JetStream does not reach.
pub type ProjectError = bson::error::Error;

impl Writes {
    /// Adds what the event at `cursor` changes; `left` is the event's header.
    pub fn add(&mut self, chat: ChatId, cursor: Cursor, event: &Event, left: &[UserId]) -> Result<(), ProjectError> {
        match event {
            Event::MessageNew(message) | Event::ChatMembers(message) => self.message(message)?,
            Event::MessageEdited(edited) => {
                let edit = doc! {
                    "c": int(cursor), "text": &*edited.text, "mentions": bson(&edited.mentions)?,
                    "editedAt": bson(&edited.edited_at)?,
                };
                self.change(chat, edited.seq, doc! { "$max": { "edit": edit } });
            }
            Event::MessageDeleted(deleted) => {
                let gone = doc! { "at": bson(&deleted.deleted_at)?, "by": bson(&deleted.by)? };
                self.change(chat, deleted.seq, doc! { "$set": { "deleted": gone } });
            }
            Event::ReactionAdded(reaction) => self.reaction(cursor, reaction, true),
            Event::ReactionRemoved(reaction) => self.reaction(cursor, reaction, false),
            Event::ChatCreated(_) | Event::ChatUpdated(_) | Event::ChatDeleted(_) => {}
        }
        self.membership(chat, cursor, event, left)?;
        self.chat(chat, cursor, event)
    }

    /// Adds what a snapshot tells of a chat whose log no longer reaches back to its creation.
    pub fn add_snapshot(&mut self, state: &ChatState) -> Result<(), ProjectError> {
        for member in state.members.values() {
            self.member(state.id, state.cursor, member.user_id, Some(member))?;
        }
        let write = self.chats.entry(state.id).or_default();
        write.set.insert("type", bson(&state.chat_type)?);
        write.set.insert("createdAt", bson(&state.created_at)?);
        write.max.insert("name", doc! { "c": int(state.cursor), "value": bson(&state.name)? });
        write.max.insert("avatarUrl", doc! { "c": int(state.cursor), "value": bson(&state.avatar_url)? });
        Ok(())
    }

    /// The writes to the chats' documents, one each.
    #[must_use]
    pub fn chats(&self) -> Vec<Upsert> {
        let upsert = |(chat, write): (&ChatId, &ChatWrite)| {
            let mut update = Document::new();
            for (operator, fields) in [("$set", &write.set), ("$max", &write.max)] {
                if !fields.is_empty() {
                    update.insert(operator, fields.clone());
                }
            }
            Upsert { id: chat.to_string(), update }
        };
        self.chats.iter().map(upsert).collect()
    }

    fn message(&mut self, message: &Message) -> Result<(), ProjectError> {
        let fields = doc! {
            "chatId": bson(&message.chat_id)?,
            "seq": int(message.seq),
            "senderId": bson(&message.sender_id)?,
            "sentAt": bson(&message.sent_at)?,
            "message": bson(message)?,
        };
        self.sent.push(Insert { id: message_id(message.chat_id, message.seq), fields });
        Ok(())
    }

    fn change(&mut self, chat: ChatId, seq: Seq, mut update: Document) {
        // The message itself may come later, from another instance.
        update.insert("$setOnInsert", doc! { "chatId": chat.to_string(), "seq": int(seq) });
        self.changes.push(Upsert { id: message_id(chat, seq), update });
    }

    /// `reactions.<emoji>.<user>` is twice the cursor, plus one for added: the highest wins, and sorts by when.
    fn reaction(&mut self, cursor: Cursor, reaction: &Reaction, added: bool) {
        let field = format!("reactions.{}.{}", &*reaction.emoji, reaction.user_id);
        let at = int(cursor * 2 + u64::from(added));
        self.change(reaction.chat_id, reaction.seq, doc! { "$max": { field: at } });
    }

    fn membership(&mut self, chat: ChatId, cursor: Cursor, event: &Event, left: &[UserId]) -> Result<(), ProjectError> {
        let now: Vec<&Member> = match event {
            Event::ChatCreated(created) => created.members.iter().collect(),
            Event::ChatMembers(message) => {
                message.change.iter().flat_map(|change| change.added.iter().chain(&change.roles)).collect()
            }
            _ => Vec::new(),
        };
        for member in now {
            self.member(chat, cursor, member.user_id, Some(member))?;
        }
        for (user, _) in members::changes(event, left).into_iter().filter(|(_, joined)| !joined) {
            self.member(chat, cursor, user, None)?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        chat: ChatId,
        cursor: Cursor,
        user: UserId,
        member: Option<&Member>,
    ) -> Result<(), ProjectError> {
        let mut place = doc! { "c": int(cursor), "joined": member.is_some() };
        if let Some(member) = member {
            place.insert("role", bson(&member.role)?);
            place.insert("joinedAt", bson(&member.joined_at)?);
        }
        let update = doc! {
            "$max": { "place": place },
            "$setOnInsert": { "chatId": chat.to_string(), "userId": user.to_string() },
        };
        self.members.push(Upsert { id: format!("{chat}:{user}"), update });
        Ok(())
    }

    fn chat(&mut self, chat: ChatId, cursor: Cursor, event: &Event) -> Result<(), ProjectError> {
        let register = |value: Bson| doc! { "c": int(cursor), "value": value };
        match event {
            Event::ChatCreated(created) => {
                let write = self.chats.entry(chat).or_default();
                write.set.insert("type", bson(&created.chat_type)?);
                write.set.insert("createdAt", bson(&created.created_at)?);
                write.set.insert("createdBy", bson(&created.by)?);
                later(&mut write.max, "name", cursor, register(bson(&created.name)?));
                later(&mut write.max, "avatarUrl", cursor, register(bson(&created.avatar_url)?));
            }
            Event::ChatUpdated(updated) => {
                let write = self.chats.entry(chat).or_default();
                if updated.name.is_some() {
                    later(&mut write.max, "name", cursor, register(bson(&updated.name)?));
                }
                if updated.avatar_url.is_some() {
                    later(&mut write.max, "avatarUrl", cursor, register(bson(&updated.avatar_url)?));
                }
            }
            Event::ChatDeleted(deleted) => {
                self.chats.entry(chat).or_default().set.insert("deletedAt", bson(&deleted.at)?);
            }
            // How far a chat has come is what its messages say.
            _ => {}
        }
        Ok(())
    }
}

/// `_id` of a message's document: as text, too, a chat's messages are in order, so that no other index is needed.
#[must_use]
pub fn message_id(chat: ChatId, seq: Seq) -> String {
    format!("{chat}:{seq:020}")
}

/// BSON knows signed numbers only; JetStream's sequences never reach 2^63.
#[must_use]
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn bson<T: Serialize>(value: &T) -> Result<Bson, ProjectError> {
    bson::serialize_to_bson(value)
}

fn later(fields: &mut Document, name: &str, cursor: Cursor, register: Document) {
    let known = fields.get_document(name).ok().and_then(|known| known.get_i64("c").ok());
    if known.is_none_or(|known| known < int(cursor)) {
        fields.insert(name, register);
    }
}
