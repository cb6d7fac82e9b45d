//! Who is to be told of what is written.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    ChatId, UserId,
    event::{ChatType, Cursor, Seq},
    text::Name,
};

/// Chats of one [`GetAudiences`]: with 1,000 members each, the answer fits into a message of NATS.
pub const MAX_AUDIENCES: usize = 8;

/// Who is to be told of what is written in chats, at most [`MAX_AUDIENCES`]: for `mail`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetAudiences {
    pub chats: Vec<AudienceOf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AudienceOf {
    pub chat_id: ChatId,
    /// Members are those after this event, or a later one.
    pub cursor: Cursor,
    /// Messages whose senders are asked for: those that others reply to.
    #[serde(default)]
    pub senders_of: Vec<Seq>,
    /// Messages of which it is asked whether they were deleted.
    #[serde(default)]
    pub messages: Vec<Seq>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Audiences {
    /// `None` where there is no such chat; without those that cannot be told now.
    pub chats: BTreeMap<ChatId, Option<Audience>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audience {
    /// `None` in a direct chat.
    pub name: Option<Name>,
    #[serde(rename = "type")]
    pub chat_type: ChatType,
    /// Empty where the chat is no more.
    pub members: Vec<Listener>,
    /// In the order of `senders_of`, as far as they can be told.
    pub senders: BTreeMap<Seq, UserId>,
    /// Of `messages`, those that were deleted.
    #[serde(default)]
    pub erased: BTreeSet<Seq>,
}

/// A member as far as telling them goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub user_id: UserId,
    pub muted: bool,
    /// Messages up to here are seen, or from before they joined.
    pub seen: Seq,
}
