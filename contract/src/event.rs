//! Events of a chat's log: what is appended, archived and emitted to sockets is one and the same JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ChatId, Time, UserId,
    text::{AvatarUrl, ClientId, Emoji, MessageText, Name},
};

/// Position of an event in the log, given by JetStream: grows from event to event of a chat, but not by one. 0 is
/// before the first.
pub type Cursor = u64;

/// Number of a message in its chat: 1, 2, 3 ... without gaps.
pub type Seq = u64;

/// A chat has two people for ever, or a changing group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatType {
    Direct,
    Group,
}

/// What a member of a group may do. Sorts by power. Both members of a direct chat are `member`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Writes; edits and deletes what is their own; leaves.
    Member,
    /// Also renames, adds, removes members, deletes messages.
    Admin,
    /// Also gives roles, deletes the group.
    Owner,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub user_id: UserId,
    pub role: MemberRole,
    pub joined_at: Time,
}

/// Whether a person or the chat itself speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    User,
    System,
}

/// What a system message says happened to the membership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersChange {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<UserId>,
    /// Members whose role changed, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Member>,
}

/// A file sent with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: String,
    pub name: String,
    #[serde(rename = "type")]
    pub media_type: String,
    /// Bytes.
    pub size: u64,
}

/// A message, as it is stored, delivered and fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub chat_id: ChatId,
    pub seq: Seq,
    pub kind: MessageKind,
    pub sender_id: UserId,
    pub client_id: ClientId,
    /// Empty where deleted, with attachments only, or of the system.
    pub text: MessageText,
    pub reply_to: Option<Seq>,
    pub attachments: Vec<Attachment>,
    pub mentions: Vec<UserId>,
    /// Who reacted with what, in the order they did.
    pub reactions: BTreeMap<Emoji, Vec<UserId>>,
    pub sent_at: Time,
    pub edited_at: Option<Time>,
    pub deleted_at: Option<Time>,
    /// Only of `kind: "system"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<MembersChange>,
}

/// `chat:created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    pub chat_id: ChatId,
    #[serde(rename = "type")]
    pub chat_type: ChatType,
    pub name: Option<Name>,
    pub avatar_url: Option<AvatarUrl>,
    pub members: Vec<Member>,
    pub by: UserId,
    pub created_at: Time,
}

/// `chat:updated`: what changed, and only that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Updated {
    pub chat_id: ChatId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<AvatarUrl>,
    pub by: UserId,
    pub at: Time,
}

/// `chat:deleted`: the last event of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    pub chat_id: ChatId,
    pub by: UserId,
    pub at: Time,
}

/// `message:edited`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageEdited {
    pub chat_id: ChatId,
    pub seq: Seq,
    pub text: MessageText,
    pub mentions: Vec<UserId>,
    pub edited_at: Time,
    pub by: UserId,
}

/// `message:deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageDeleted {
    pub chat_id: ChatId,
    pub seq: Seq,
    pub deleted_at: Time,
    pub by: UserId,
}

/// `reaction:added`, `reaction:removed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    pub chat_id: ChatId,
    pub seq: Seq,
    pub emoji: Emoji,
    pub user_id: UserId,
}

/// One event of a chat's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    ChatCreated(Created),
    ChatUpdated(Updated),
    ChatDeleted(Deleted),
    /// A membership change: a message of the system with a `change`.
    ChatMembers(Message),
    MessageNew(Message),
    MessageEdited(MessageEdited),
    MessageDeleted(MessageDeleted),
    ReactionAdded(Reaction),
    ReactionRemoved(Reaction),
}

impl Event {
    /// What it is called in [`headers::EVENT`](crate::headers::EVENT) and on the socket.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ChatCreated(_) => "chat:created",
            Self::ChatUpdated(_) => "chat:updated",
            Self::ChatDeleted(_) => "chat:deleted",
            Self::ChatMembers(_) => "chat:members",
            Self::MessageNew(_) => "message:new",
            Self::MessageEdited(_) => "message:edited",
            Self::MessageDeleted(_) => "message:deleted",
            Self::ReactionAdded(_) => "reaction:added",
            Self::ReactionRemoved(_) => "reaction:removed",
        }
    }

    /// The JSON body.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::ChatCreated(body) => serde_json::to_vec(body),
            Self::ChatUpdated(body) => serde_json::to_vec(body),
            Self::ChatDeleted(body) => serde_json::to_vec(body),
            Self::ChatMembers(body) | Self::MessageNew(body) => serde_json::to_vec(body),
            Self::MessageEdited(body) => serde_json::to_vec(body),
            Self::MessageDeleted(body) => serde_json::to_vec(body),
            Self::ReactionAdded(body) | Self::ReactionRemoved(body) => serde_json::to_vec(body),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote under this name; `None` for a name this version does not know.
    pub fn decode(name: &str, body: &[u8]) -> serde_json::Result<Option<Self>> {
        Ok(Some(match name {
            "chat:created" => Self::ChatCreated(serde_json::from_slice(body)?),
            "chat:updated" => Self::ChatUpdated(serde_json::from_slice(body)?),
            "chat:deleted" => Self::ChatDeleted(serde_json::from_slice(body)?),
            "chat:members" => Self::ChatMembers(serde_json::from_slice(body)?),
            "message:new" => Self::MessageNew(serde_json::from_slice(body)?),
            "message:edited" => Self::MessageEdited(serde_json::from_slice(body)?),
            "message:deleted" => Self::MessageDeleted(serde_json::from_slice(body)?),
            "reaction:added" => Self::ReactionAdded(serde_json::from_slice(body)?),
            "reaction:removed" => Self::ReactionRemoved(serde_json::from_slice(body)?),
            _ => return Ok(None),
        }))
    }
}
