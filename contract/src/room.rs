//! Rooms: the core NATS subjects a gateway subscribes to while somebody there wants them.

use crate::{ChatId, UserId};

/// Where the streams of chats republish a chat's log: destination of their RePublish.
pub const LOG_REPUBLISH: &str = "room.{{wildcard(1)}}.log";
/// Where the `MEMBERS` bucket republishes a member's entry: destination of the bucket's RePublish.
pub const MEMBER_REPUBLISH: &str = "person.{{wildcard(1)}}.member.{{wildcard(2)}}";

/// Where the `TYPING` bucket republishes who types: destination of the bucket's RePublish.
pub const TYPING_REPUBLISH: &str = "room.{{wildcard(1)}}.typing.{{wildcard(2)}}";
/// Where the `READS` bucket republishes receipts: destination of the bucket's RePublish.
pub const READ_REPUBLISH: &str = "room.{{wildcard(1)}}.read.{{wildcard(2)}}";
/// Where the `PRESENCE` bucket republishes what others see of a user: destination of the bucket's RePublish.
pub const PRESENCE_REPUBLISH: &str = "presence.{{wildcard(1)}}";
/// What everybody's presence comes on.
pub const PRESENCE: &str = "presence.*";

/// Everything that happens in a chat: its log, typing, receipts.
#[must_use]
pub fn of_chat(chat: ChatId) -> String {
    format!("room.{chat}.>")
}

/// Everything that concerns one user.
#[must_use]
pub fn of_person(user: UserId) -> String {
    format!("person.{user}.>")
}

/// What a subject under `room.` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomEvent {
    /// One log event.
    Log,
    /// This user types; without a body: has stopped.
    Typing(UserId),
    /// A [`ReceiptEntry`](crate::chat::ReceiptEntry): this user got or saw messages.
    Read(UserId),
}

/// Reads `room.<chatId>.<kind>...`.
#[must_use]
pub fn parse(subject: &str) -> Option<(ChatId, RoomEvent)> {
    let (chat, event) = subject.strip_prefix("room.")?.split_once('.')?;
    let event = match event.split_once('.') {
        None if event == "log" => RoomEvent::Log,
        Some(("typing", user)) => RoomEvent::Typing(user.parse().ok()?),
        Some(("read", user)) => RoomEvent::Read(user.parse().ok()?),
        _ => return None,
    };
    Some((chat.parse().ok()?, event))
}

/// Whose presence a subject `presence.<userId>` carries.
#[must_use]
pub fn parse_presence(subject: &str) -> Option<UserId> {
    subject.strip_prefix("presence.")?.parse().ok()
}

/// What a subject under `person.` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonEvent {
    /// A [`MemberEntry`](crate::chat::MemberEntry): the user's place in this chat changed.
    Member(ChatId),
    /// A [`Notification`](crate::notification::Notification), named by [`headers::EVENT`](crate::headers::EVENT).
    Notification,
}

/// Where a user's devices hear of notifications.
#[must_use]
pub fn notification(user: UserId) -> String {
    format!("person.{user}.notification")
}

/// Reads `person.<userId>.<event>...`.
#[must_use]
pub fn parse_person(subject: &str) -> Option<(UserId, PersonEvent)> {
    let (user, event) = subject.strip_prefix("person.")?.split_once('.')?;
    let event = match event.split_once('.') {
        None if event == "notification" => PersonEvent::Notification,
        Some(("member", chat)) => PersonEvent::Member(chat.parse().ok()?),
        _ => return None,
    };
    Some((user.parse().ok()?, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_read_as_they_are_written() {
        let (chat, user) = (ChatId::new(), UserId::new());
        assert_eq!(parse(&of_chat(chat).replace('>', "log")), Some((chat, RoomEvent::Log)));
        let of_room = |event: &str| parse(&of_chat(chat).replace('>', event));
        assert_eq!(of_room(&format!("typing.{user}")), Some((chat, RoomEvent::Typing(user))));
        assert_eq!(of_room(&format!("read.{user}")), Some((chat, RoomEvent::Read(user))));
        assert_eq!(of_room("read"), None);
        assert_eq!(parse_presence(&format!("presence.{user}")), Some(user));
        let subject = of_person(user).replace('>', &format!("member.{chat}"));
        assert_eq!(parse_person(&subject), Some((user, PersonEvent::Member(chat))));
        assert_eq!(parse_person(&notification(user)), Some((user, PersonEvent::Notification)));
        assert_eq!(parse("room.x.log"), None);
    }
}
