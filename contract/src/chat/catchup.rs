//! The events of chats after a cursor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Actor, ChatId, event::Cursor};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetEvents {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub after: Cursor,
    pub limit: u32,
}

/// One event as a socket would have got it: `emit(event, data, {cursor, prev})`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedEvent {
    pub event: String,
    pub data: Box<RawValue>,
    pub cursor: Cursor,
    /// Cursor of the chat's event before this one.
    pub prev: Cursor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    pub events: Vec<LoggedEvent>,
    /// Where this page ends: ask again from here, until no events come.
    pub cursor: Cursor,
    /// The log no longer reaches back to where was asked from: fetch chat and history afresh, go on from `cursor`.
    pub reset: bool,
    /// There are more events after `cursor` that did not fit into this answer.
    #[serde(default)]
    pub has_more: bool,
}

/// A chat's log as a gateway reads it for everybody in the room, to fill a gap. Without an actor: only gateways ask, for
/// rooms they have.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadLog {
    pub chat_id: ChatId,
    /// Events after this; `None` for no events, only the `cursor` at which the log ends.
    #[serde(default)]
    pub after: Option<Cursor>,
    pub limit: u32,
}

/// The socket's `sync`: catch-up of many chats at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sync {
    pub actor: Actor,
    pub chats: BTreeMap<ChatId, Cursor>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Synced {
    /// A chat one is no longer in is absent.
    pub chats: BTreeMap<ChatId, Events>,
}

/// Most chats of one `sync`.
pub const MAX_SYNC: usize = 1_000;
