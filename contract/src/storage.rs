//! Names of streams, consumers and buckets, and of the subjects and keys in them.

use crate::{ChatId, GatewayId, SessionId, UserId};

/// Streams of every conversation, of which each chat is in one: a stream appends one event at a time and waits for the disk
/// before the next. How many there are stays as it is, since a chat is looked for where it was begun.
pub const CHAT_STREAMS: [&str; 4] = ["CHAT_0", "CHAT_1", "CHAT_2", "CHAT_3"];
/// Projects the log into MongoDB.
pub const ARCHIVE_CONSUMER: &str = "archive";

/// Work queue of letters.
pub const MAIL_STREAM: &str = "MAIL";
pub const MAIL_SUBJECTS: [&str; 2] = ["mail.send.>", "mail.schedule.>"];
/// Letters that failed for good, to be looked at.
pub const MAIL_DEAD_STREAM: &str = "MAIL_DEAD";
pub const MAIL_DEAD_SUBJECTS: &str = "mail.dead.>";
/// Sends one-time codes.
pub const SEND_OTP_CONSUMER: &str = "send-otp";
/// Sends all other letters.
pub const SEND_CONSUMER: &str = "send";
/// Pushes to browsers.
pub const PUSH_CONSUMER: &str = "push";
/// Says announcements to everybody, a batch at a time.
pub const ANNOUNCE_CONSUMER: &str = "announce";
/// Writes digests that have fallen due.
pub const DIGEST_CONSUMER: &str = "digest";
/// Makes notifications of what is in [`CHAT_STREAMS`].
pub const NOTIFY_CONSUMER: &str = "notify";
/// Reads notifications by what was seen, in the stream of [`READS_BUCKET`].
pub const NOTIFY_READ_CONSUMER: &str = "notify-read";

/// One-time codes.
pub const OTP_BUCKET: &str = "OTP";
/// Sessions revoked within the lifetime of an access token.
pub const REVOKED_BUCKET: &str = "REVOKED";
/// Snapshots of chats, so that a cold one loads without MongoDB.
pub const CHATS_BUCKET: &str = "CHATS";
/// Who is in which chat, and each one's own settings there.
pub const MEMBERS_BUCKET: &str = "MEMBERS";
/// How far each member has got and seen a chat.
pub const READS_BUCKET: &str = "READS";
/// Who is typing where.
pub const TYPING_BUCKET: &str = "TYPING";
/// Gateways, who is connected to them, and what others see of it.
pub const PRESENCE_BUCKET: &str = "PRESENCE";
/// Turns what happens to gateways and their sessions into what others see.
pub const PRESENCE_CONSUMER: &str = "presence";
/// When a user was last seen.
pub const LAST_SEEN_BUCKET: &str = "LAST_SEEN";

/// Subject in [`MAIL_DEAD_STREAM`] of a letter that failed for good: `mail.dead.<lane>` for `mail.send.<lane>`.
#[must_use]
pub fn dead_subject(subject: &str) -> String {
    format!("mail.dead.{}", subject.strip_prefix("mail.send.").unwrap_or(subject))
}

/// Which of [`CHAT_STREAMS`] has a chat's log.
#[must_use]
pub fn log_partition(chat: ChatId) -> usize {
    chat.spread() % CHAT_STREAMS.len()
}

/// The one of [`CHAT_STREAMS`] that has a chat's log.
#[must_use]
pub fn log_stream(chat: ChatId) -> &'static str {
    CHAT_STREAMS[log_partition(chat)]
}

/// All subjects of one of [`CHAT_STREAMS`].
#[must_use]
pub fn log_subjects(partition: usize) -> String {
    format!("chat.log.{partition}.*")
}

/// Subject of a chat's log.
#[must_use]
pub fn log_subject(chat: ChatId) -> String {
    format!("chat.log.{}.{chat}", log_partition(chat))
}

/// The chat whose log a subject is.
#[must_use]
pub fn chat_of_log(subject: &str) -> Option<ChatId> {
    subject.strip_prefix("chat.log.")?.split_once('.')?.1.parse().ok()
}

/// Key of a member in [`MEMBERS_BUCKET`].
#[must_use]
pub fn member_key(user: UserId, chat: ChatId) -> String {
    format!("{user}.{chat}")
}

/// Key of a member in [`READS_BUCKET`] and [`TYPING_BUCKET`].
#[must_use]
pub fn chat_user_key(chat: ChatId, user: UserId) -> String {
    format!("{chat}.{user}")
}

/// The member whose key in [`READS_BUCKET`] or [`TYPING_BUCKET`] a subject `$KV.<bucket>.<chatId>.<userId>` is.
#[must_use]
pub fn chat_user_of(subject: &str) -> Option<(ChatId, UserId)> {
    let mut tokens = subject.rsplit('.');
    let user = tokens.next()?.parse().ok()?;
    Some((tokens.next()?.parse().ok()?, user))
}

/// A key of [`PRESENCE_BUCKET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceKey {
    /// `gateway.<gatewayId>`: the [`Lease`](crate::presence::Lease) of a gateway that is alive.
    Lease(GatewayId),
    /// `user.<userId>.<gatewayId>`: a [`Session`](crate::presence::Session), somebody's connections to one gateway.
    Session(UserId, GatewayId),
    /// `view.<userId>`: the [`Presence`](crate::presence::Presence) that others see.
    View(UserId),
}

impl PresenceKey {
    /// Reads a key, or the subject `$KV.PRESENCE.<key>` of one.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let key = key.strip_prefix("$KV.PRESENCE.").unwrap_or(key);
        Some(match key.split_once('.')? {
            ("gateway", id) => Self::Lease(id.parse().ok()?),
            ("view", id) => Self::View(id.parse().ok()?),
            ("user", ids) => {
                let (user, gateway) = ids.split_once('.')?;
                Self::Session(user.parse().ok()?, gateway.parse().ok()?)
            }
            _ => return None,
        })
    }
}

impl std::fmt::Display for PresenceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lease(gateway) => write!(f, "gateway.{gateway}"),
            Self::Session(user, gateway) => write!(f, "user.{user}.{gateway}"),
            Self::View(user) => write!(f, "view.{user}"),
        }
    }
}

/// Key of a session in [`REVOKED_BUCKET`].
#[must_use]
pub fn revoked_key(session: SessionId) -> String {
    session.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_are_spread_over_the_streams_and_found_again() {
        let chats: Vec<ChatId> = (0..400).map(|_| ChatId::new()).collect();
        for partition in 0..CHAT_STREAMS.len() {
            let here = chats.iter().filter(|chat| log_partition(**chat) == partition).count();
            assert!((50..150).contains(&here), "{here} of 400 chats in stream {partition}");
        }
        for chat in chats {
            assert_eq!(chat_of_log(&log_subject(chat)), Some(chat));
        }
        assert_eq!(chat_of_log(&format!("chat.log.{}", ChatId::new())), None);
    }

    #[test]
    fn keys_read_as_they_are_written() {
        let (chat, user, gateway) = (ChatId::new(), UserId::new(), GatewayId::new());
        for key in [PresenceKey::Lease(gateway), PresenceKey::Session(user, gateway), PresenceKey::View(user)] {
            assert_eq!(PresenceKey::parse(&key.to_string()), Some(key));
            assert_eq!(PresenceKey::parse(&format!("$KV.PRESENCE.{key}")), Some(key));
        }
        assert_eq!(PresenceKey::parse("user.x"), None);
        assert_eq!(chat_user_of(&format!("$KV.READS.{}", chat_user_key(chat, user))), Some((chat, user)));
    }
}
