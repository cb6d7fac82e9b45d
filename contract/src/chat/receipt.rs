//! How far members got and saw a chat, who types, and what a room has beside its log.

use serde::{Deserialize, Serialize};

use crate::{Actor, ChatId, Time, UserId, event::Seq};

/// How far a member has got and seen a chat: everything up to these numbers. What was seen was also delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub user_id: UserId,
    #[serde(flatten)]
    pub entry: ReceiptEntry,
}

/// The same as it is stored: key `<chatId>.<userId>` in the bucket `READS`, republished to `room.<chatId>.read.<userId>`.
/// Only ever forward; 0 for nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptEntry {
    pub delivered: Seq,
    pub seen: Seq,
    /// When `delivered` came to be what it is.
    pub delivered_at: Option<Time>,
    pub seen_at: Option<Time>,
}

/// How many members other than its sender got and saw a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptCount {
    pub seq: Seq,
    pub delivered: u64,
    pub seen: u64,
}

/// What a receipt says about messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptKind {
    /// A device has them.
    Delivered,
    /// The user has seen them.
    Read,
}

impl ReceiptKind {
    /// What the event is called on the socket and in [`headers::EVENT`](crate::headers::EVENT).
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Delivered => "message:delivered",
            Self::Read => "message:read",
        }
    }
}

/// The actor got or saw all messages up to `seq`. Less than before changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub kind: ReceiptKind,
}

/// The actor types, or stops; typing ends by itself [`TYPING_SECONDS`] after it was last said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetTyping {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub typing: bool,
}

/// How long somebody types who does not say so again.
pub const TYPING_SECONDS: u64 = 6;

/// What a gateway that was away may have missed of a room, beside its log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetRoomState {
    pub chat_id: ChatId,
    /// Leaves the receipts out.
    #[serde(default)]
    pub typing_only: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomState {
    /// Of all members; none with more than [`MAX_NAMED_RECEIPTS`](super::MAX_NAMED_RECEIPTS).
    pub receipts: Vec<Receipt>,
    pub typing: Vec<UserId>,
}
