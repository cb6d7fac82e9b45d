//! Names of streams, consumers and buckets, and of the subjects and keys in them.

use crate::{ChatId, SessionId, UserId};

/// Stream of every conversation: one subject per chat.
pub const CHAT_STREAM: &str = "CHAT";
/// All subjects of [`CHAT_STREAM`].
pub const CHAT_SUBJECTS: &str = "chat.log.*";
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

/// One-time codes.
pub const OTP_BUCKET: &str = "OTP";
/// Sessions revoked within the lifetime of an access token.
pub const REVOKED_BUCKET: &str = "REVOKED";
/// Snapshots of chats, so that a cold one loads without MongoDB.
pub const CHATS_BUCKET: &str = "CHATS";
/// Who is in which chat, and each one's own settings there.
pub const MEMBERS_BUCKET: &str = "MEMBERS";

/// Subject in [`MAIL_DEAD_STREAM`] of a letter that failed for good: `mail.dead.<lane>` for `mail.send.<lane>`.
#[must_use]
pub fn dead_subject(subject: &str) -> String {
    format!("mail.dead.{}", subject.strip_prefix("mail.send.").unwrap_or(subject))
}

/// Subject of a chat's log in [`CHAT_STREAM`].
#[must_use]
pub fn log_subject(chat: ChatId) -> String {
    format!("chat.log.{chat}")
}

/// The chat whose log a subject of [`CHAT_STREAM`] is.
#[must_use]
pub fn chat_of_log(subject: &str) -> Option<ChatId> {
    subject.strip_prefix("chat.log.")?.parse().ok()
}

/// Key of a member in [`MEMBERS_BUCKET`].
#[must_use]
pub fn member_key(user: UserId, chat: ChatId) -> String {
    format!("{user}.{chat}")
}

/// Key of a session in [`REVOKED_BUCKET`].
#[must_use]
pub fn revoked_key(session: SessionId) -> String {
    session.to_string()
}
