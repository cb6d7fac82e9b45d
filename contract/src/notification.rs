//! Notifications: what somebody should know of although they were not looking, and how they want to be told. Calls of the
//! `mail` service.

use serde::{Deserialize, Serialize};

use crate::{Actor, ChatId, Done, NotificationId, Time, UserId, calls, event::Seq};

/// Characters of a preview.
pub const PREVIEW: usize = 140;
/// Most users of one announcement that names them.
pub const MAX_ANNOUNCED: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationType {
    /// Somebody wrote in a chat. Messages of one chat coalesce in one unread notification; the following two say that
    /// at least one of them is for this user in particular.
    Message,
    /// Somebody answered a message of this user.
    Reply,
    /// Somebody mentioned this user.
    Mention,
    /// Somebody added this user to a group.
    Added,
    /// Natter itself has something to say.
    System,
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    pub id: NotificationId,
    #[serde(rename = "type")]
    pub kind: NotificationType,
    /// `None` for `system`.
    pub chat_id: Option<ChatId>,
    /// The latest message it is about.
    pub seq: Option<Seq>,
    /// Who wrote that, or added; `None` for `system`.
    pub from: Option<UserId>,
    /// How it begins, at most [`PREVIEW`] characters; empty where it is deleted or has no text.
    pub preview: String,
    /// Messages it is about.
    pub count: u64,
    /// When the first of them came.
    pub created_at: Time,
    pub read_at: Option<Time>,
}

/// How a notification reaches its user's devices, on `person.<userId>.notification`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationEvent {
    New,
    /// Read, unread again, or about more or fewer messages.
    Updated,
}

impl NotificationEvent {
    /// What it is called on the socket and in [`headers::EVENT`](crate::headers::EVENT).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "notification:new",
            Self::Updated => "notification:updated",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListNotifications {
    pub actor: Actor,
    /// Somebody else's are for admins.
    pub user_id: UserId,
    #[serde(default)]
    pub unread: bool,
    #[serde(default)]
    pub cursor: Option<String>,
    pub limit: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationPage {
    /// The latest first.
    pub notifications: Vec<Notification>,
    pub next_cursor: Option<String>,
    /// How many are unread altogether.
    pub unread: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetRead {
    pub actor: Actor,
    pub id: NotificationId,
    pub read: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadAll {
    pub actor: Actor,
}

/// Whether unread notifications come by mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailSetting {
    Off,
    /// One letter for all that is unread, after a while.
    #[default]
    Digest,
}

/// Hours in which nothing is pushed or mailed; what comes in them is there in the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuietHours {
    /// `HH:MM`; through midnight where `from` is after `to`.
    pub from: TimeOfDay,
    pub to: TimeOfDay,
    /// Name in the IANA time zone database, such as `Europe/Berlin`.
    pub time_zone: String,
}

/// Minutes since midnight, written as `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "must be a time of day such as 22:00";
        let (hours, minutes) = text.split_once(':').filter(|_| text.len() == 5).ok_or(wrong)?;
        let number =
            |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok());
        match (number(hours).flatten(), number(minutes).flatten()) {
            (Some(hours @ 0..24), Some(minutes @ 0..60)) => Ok(Self(hours * 60 + minutes)),
            _ => Err(wrong),
        }
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        format!("{:02}:{:02}", time.0 / 60, time.0 % 60)
    }
}

/// How somebody wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub email: EmailSetting,
    pub push: bool,
    pub quiet_hours: Option<QuietHours>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { email: EmailSetting::Digest, push: true, quiet_hours: None }
    }
}

/// `PATCH /api/notifications/settings`: absent fields stay, `null` ends quiet hours.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsChanges {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailSetting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::text::present")]
    pub quiet_hours: Option<Option<QuietHours>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetSettings {
    pub actor: Actor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateSettings {
    pub actor: Actor,
    pub changes: SettingsChanges,
}

/// The link in a digest: ends digests without a sign-in (RFC 8058).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unsubscribe {
    pub token: String,
}

/// `POST /api/admin/announce`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// 1 to 100 characters: the letter's subject.
    pub title: crate::text::Name,
    pub text: crate::text::MessageText,
    /// To these people, at most [`MAX_ANNOUNCED`]; to everybody where it is absent.
    #[serde(default)]
    pub user_ids: Option<Vec<UserId>>,
    /// Also as a letter, to those who want letters; so it is unless told.
    #[serde(default = "yes")]
    pub mail: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Announce {
    pub actor: Actor,
    pub announcement: Announcement,
}

calls! {
    "call.mail.notifications": ListNotifications => NotificationPage;
    "call.mail.set_read": SetRead => Notification;
    "call.mail.read_all": ReadAll => Done;
    "call.mail.settings": GetSettings => Settings;
    "call.mail.update_settings": UpdateSettings => Settings;
    "call.mail.unsubscribe": Unsubscribe => Done;
    "call.mail.announce": Announce => Done;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_read_as_they_are_written() {
        for (text, minutes) in [("00:00", 0), ("07:30", 450), ("23:59", 1_439)] {
            let time = TimeOfDay::try_from(text.to_owned()).unwrap();
            assert_eq!((time.minutes(), String::from(time).as_str()), (minutes, text));
        }
        for text in ["", "24:00", "7:30", "07:60", "07-30", "-1:30", "+1:30", "07:300"] {
            assert!(TimeOfDay::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
