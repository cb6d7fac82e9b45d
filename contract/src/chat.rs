//! Calls of the `chat` service: conversations, messages, history and catch-up.

mod audience;
mod catchup;
mod receipt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Actor, ChatId, Done, Time, UserId, calls,
    event::{ChatType, Cursor, Member, MemberRole, Message, Seq},
    text::{AvatarUrl, ClientId, Emoji, MessageText, Name},
};
pub use audience::{Audience, AudienceOf, Audiences, GetAudiences, Listener, MAX_AUDIENCES};
pub use catchup::{Events, GetEvents, LoggedEvent, MAX_SYNC, ReadLog, Sync, Synced};
pub use receipt::{
    GetRoomState, Mark, Receipt, ReceiptCount, ReceiptEntry, ReceiptKind, RoomState, SetTyping, TYPING_SECONDS,
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
