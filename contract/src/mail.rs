//! Letters: what services put on the `MAIL` work queue. A letter is published to [`Letter::subject`] through JetStream
//! with a `Nats-Msg-Id`, so that asking twice sends once.

use serde::{Deserialize, Serialize};

use crate::{
    Time,
    text::{Device, Email, MessageText, Name, Secret},
};

/// Where one-time codes are queued; a lane of their own, so that no number of other letters delays a code.
pub const OTP_SUBJECT: &str = "mail.send.otp";
/// Where all other letters are queued.
pub const NOTICE_SUBJECT: &str = "mail.send.notice";

/// Where digests that have fallen due are delivered.
pub const DIGEST_SUBJECT: &str = "mail.send.digest";
/// Where steps of announcements are queued.
pub const ANNOUNCE_SUBJECT: &str = "mail.send.announce";

/// One letter to one person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    pub to: Email,
    /// How to greet them; `None` where nobody has told us.
    pub name: Option<Name>,
    pub content: Content,
    /// After this it is worthless and is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// What a letter says; one folder of templates each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Content {
    /// A one-time code. Subject: `<code> is your Natter code`.
    Otp { code: Secret, minutes: u32 },
    /// Somebody tried to register this address, which has an account.
    AlreadyRegistered {},
    /// A code that allows to set a new password. Subject: `<code> is your Natter code`.
    PasswordReset { code: Secret, minutes: u32 },
    /// The account was signed in to from a device it had not been used on before.
    NewSignIn { device: Option<Device>, ip: Option<String>, at: Time },
    /// What is unread since a while.
    Digest(Digest),
    /// Natter itself has something to say.
    Alert { title: Name, text: MessageText },
}

/// One letter for all that somebody has not read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Digest {
    /// The latest first.
    pub items: Vec<DigestItem>,
    /// Further chats that there was no room for.
    pub more: u64,
    /// Ends digests without a sign-in, on `GET` by asking and on `POST` at once (RFC 8058).
    pub unsubscribe_url: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestItem {
    /// The group's name; `None` for a direct chat.
    pub chat: Option<String>,
    /// Who wrote last.
    pub from: String,
    pub preview: String,
    /// Messages.
    pub count: u64,
}

impl Letter {
    /// Where it is queued: `mail.send.<lane>`. One-time codes have their own lane.
    #[must_use]
    pub const fn subject(&self) -> &'static str {
        match self.content {
            Content::Otp { .. } | Content::PasswordReset { .. } => OTP_SUBJECT,
            Content::AlreadyRegistered {} | Content::NewSignIn { .. } | Content::Digest(_) | Content::Alert { .. } => {
                NOTICE_SUBJECT
            }
        }
    }
}
