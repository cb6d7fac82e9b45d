//! Calls of the `chat` service: conversations, messages, history and catch-up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Actor, ChatId, Done, Time, UserId, calls,
    event::{ChatType, Cursor, Member, MemberRole, Message, Seq},
    text::{AvatarUrl, ClientId, Emoji, MessageText, Name},
};

/// Most members of a group.
pub const MAX_MEMBERS: usize = 1_000;
/// Most items of one page, and how many unless told.
pub const MAX_PAGE: u32 = 200;
pub const DEFAULT_PAGE: u32 = 50;

/// In chats of more members than this nobody is told who in particular got and saw what, only how many.
pub const MAX_NAMED_RECEIPTS: usize = 100;

/// A chat as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    pub id: ChatId,
    #[serde(rename = "type")]
    pub chat_type: ChatType,
    /// `None` in a direct chat: it is called by the other one's name.
    pub name: Option<Name>,
    pub avatar_url: Option<AvatarUrl>,
    pub members: Vec<Member>,
    pub last_seq: Seq,
    pub last_message: Option<Message>,
    /// Messages of others that this member has not seen: without deleted ones and those of the system, and without what
    /// was written before they joined.
    pub unread: u64,
    /// How far each member has got and seen the chat, with more than [`MAX_NAMED_RECEIPTS`] members only this member's.
    /// Who has done neither yet is absent.
    #[serde(default)]
    pub receipts: Vec<Receipt>,
    /// With more than [`MAX_NAMED_RECEIPTS`] members: how many of them got and saw each of the newest messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipt_counts: Vec<ReceiptCount>,
    /// Who else is typing.
    #[serde(default)]
    pub typing: Vec<UserId>,
    pub muted: bool,
    pub created_at: Time,
    /// Position in the log this view stands at; events after it come by socket, `sync` or `GET events`.
    pub cursor: Cursor,
}

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
    /// Of all members; none with more than [`MAX_NAMED_RECEIPTS`].
    pub receipts: Vec<Receipt>,
    pub typing: Vec<UserId>,
}

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

/// `POST /api/chats`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum NewChat {
    Direct {
        user_id: UserId,
    },
    Group {
        name: Name,
        #[serde(default)]
        member_ids: Vec<UserId>,
    },
}

/// `PATCH /api/chats/:id`; absent fields stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatChanges {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<AvatarUrl>,
    /// One's own setting; no event of the chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<bool>,
}

/// `POST /api/messages` and the socket's `message:send`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage {
    pub chat_id: ChatId,
    pub client_id: ClientId,
    #[serde(default)]
    pub text: MessageText,
    #[serde(default)]
    pub reply_to: Option<Seq>,
    /// Ids of files the sender has uploaded.
    #[serde(default)]
    pub attachments: Vec<String>,
    #[serde(default)]
    pub mentions: Vec<UserId>,
}

/// One's place in a chat: what a user's devices learn when it changes, and what a connecting client's rooms are read
/// from. Key `<userId>.<chatId>` in the bucket `MEMBERS`, republished to `person.<userId>.member.<chatId>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberEntry {
    /// Cursor of the membership event this entry stands at; a later one wins.
    pub cursor: Cursor,
    pub joined: bool,
    #[serde(default)]
    pub muted: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateChat {
    pub actor: Actor,
    pub chat: NewChat,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreatedChat {
    /// False where the direct chat was there before.
    pub created: bool,
    pub chat: Chat,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetChat {
    pub actor: Actor,
    pub chat_id: ChatId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListChats {
    pub actor: Actor,
    #[serde(default)]
    pub cursor: Option<String>,
    pub limit: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatPage {
    /// Last active first.
    pub chats: Vec<Chat>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateChat {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub changes: ChatChanges,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteChat {
    pub actor: Actor,
    pub chat_id: ChatId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddMembers {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub user_ids: Vec<UserId>,
}

/// Removes a member; removing oneself is leaving.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveMember {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub user_id: UserId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetRole {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub user_id: UserId,
    pub role: MemberRole,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendMessage {
    pub actor: Actor,
    pub message: NewMessage,
}

/// A [`Message`] as the JSON it is stored as, to be passed on untouched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SentMessage {
    /// False for a repeated `clientId`: the message is the original.
    pub created: bool,
    pub message: Box<RawValue>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EditMessage {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub text: MessageText,
    #[serde(default)]
    pub mentions: Vec<UserId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteMessage {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub seq: Seq,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddReaction {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub emoji: Emoji,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveReaction {
    pub actor: Actor,
    pub chat_id: ChatId,
    pub seq: Seq,
    pub emoji: Emoji,
}

/// Messages with `after < seq < before`: the newest `limit` of them, or with `after` alone the oldest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetHistory {
    pub actor: Actor,
    pub chat_id: ChatId,
    #[serde(default)]
    pub before: Option<Seq>,
    #[serde(default)]
    pub after: Option<Seq>,
    pub limit: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Ascending by `seq`.
    pub messages: Vec<Message>,
    /// Whether there is more in the direction that was asked for.
    pub has_more: bool,
}

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

/// The chats a user is in; answered without MongoDB.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetRooms {
    pub user_id: UserId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rooms {
    pub chat_ids: Vec<ChatId>,
}

calls! {
    "call.chat.create": CreateChat => CreatedChat;
    "call.chat.get": GetChat => Chat;
    "call.chat.list": ListChats => ChatPage;
    "call.chat.update": UpdateChat => Chat;
    "call.chat.delete": DeleteChat => Done;
    "call.chat.add_members": AddMembers => Chat;
    "call.chat.remove_member": RemoveMember => Done;
    "call.chat.set_role": SetRole => Chat;
    "call.chat.send": SendMessage => SentMessage;
    "call.chat.edit": EditMessage => Message;
    "call.chat.delete_message": DeleteMessage => Message;
    "call.chat.add_reaction": AddReaction => Message;
    "call.chat.remove_reaction": RemoveReaction => Message;
    "call.chat.history": GetHistory => History;
    "call.chat.events": GetEvents => Events;
    "call.chat.read_log": ReadLog => Events;
    "call.chat.sync": Sync => Synced;
    "call.chat.rooms": GetRooms => Rooms;
    "call.chat.mark": Mark => Done;
    "call.chat.typing": SetTyping => Done;
    "call.chat.room_state": GetRoomState => RoomState;
    "call.chat.audiences": GetAudiences => Audiences;
}
