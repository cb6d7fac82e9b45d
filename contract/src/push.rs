//! Web Push (RFC 8030, RFC 8291, RFC 8292): subscriptions of browsers. Calls of the `mail` service.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Actor, ChatId, Done, NotificationId, Time, UserId, calls};

/// Where pushes are queued, in the stream of letters; a lane of their own.
pub const PUSH_SUBJECT: &str = "mail.send.push";
/// Most bytes of a payload. Push services must take 4,096 bytes of a message (RFC 8030, section 7.2), encrypted; some take
/// little more than 3,000 unencrypted.
pub const MAX_PUSH_PAYLOAD: usize = 3_000;

/// Most subscriptions of one user; the oldest makes way.
pub const MAX_SUBSCRIPTIONS: usize = 20;

/// What a browser's `PushSubscription.toJSON()` gives. What else it has, such as `expirationTime`, is ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// Where to push: whoever knows it may, so it is shown nowhere.
    pub endpoint: String,
    pub keys: PushKeys,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushKeys {
    /// The browser's public key, an uncompressed point on P-256 in base64url.
    pub p256dh: String,
    /// 16 bytes in base64url.
    pub auth: String,
}

impl std::fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushSubscription").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetPushKey {}

/// The server's public key, what `pushManager.subscribe({applicationServerKey})` wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushKey {
    /// An uncompressed point on P-256 in base64url.
    pub public_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscribe {
    pub actor: Actor,
    pub subscription: PushSubscription,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndSubscription {
    pub actor: Actor,
    pub endpoint: String,
}

/// One message to all browsers of one user: what [`PUSH_SUBJECT`] carries.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushJob {
    pub user_id: UserId,
    /// A message replaces an earlier one of the same topic that its browser has not had yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
    /// So long the push service keeps it for a browser that is not there.
    pub ttl_seconds: u32,
    pub urgency: Urgency,
    /// What the service worker gets; at most [`MAX_PUSH_PAYLOAD`] bytes.
    pub payload: Box<RawValue>,
    /// After this it is not handed to push services any more.
    pub expires_at: Time,
    /// What it tells of: it is not tried again once that has been read, or told anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// Only to this subscription, where others have had it already; not to be set by who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<OnlyOne>,
}

/// A notification as it was when it was told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    pub notification: NotificationId,
    /// When something had last been added to it; milliseconds.
    pub at: i64,
}

/// One subscription that is tried again by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnlyOne {
    /// As it is stored.
    pub subscription: String,
    pub not_before: Time,
}

impl std::fmt::Debug for PushJob {
    /// Without the payload, which quotes messages.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushJob").field("user_id", &self.user_id).field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// What messages replace each other by: 1 to 32 characters of base64url (RFC 8030, section 5.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);

impl Topic {
    /// The topic of a chat: its id without the dashes, which is just short enough.
    #[must_use]
    pub fn of_chat(chat: ChatId) -> Self {
        Self(chat.to_string().replace('-', ""))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Topic {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if fits { Ok(Self(text)) } else { Err("must be 1 to 32 characters of base64url") }
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

/// What a device that saves energy may wait with (RFC 8030, section 5.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    VeryLow,
    Low,
    #[default]
    Normal,
    High,
}

impl Urgency {
    /// As it stands in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

calls! {
    "call.mail.push_key": GetPushKey => PushKey;
    "call.mail.subscribe": Subscribe => Done;
    "call.mail.end_subscription": EndSubscription => Done;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_short_base64url() {
        assert_eq!(Topic::of_chat(ChatId::new()).as_str().len(), 32);
        assert!(Topic::try_from("a-B_9".to_owned()).is_ok());
        for wrong in [String::new(), "a".repeat(33), "a b".to_owned(), "a.b".to_owned(), "a\nb".to_owned()] {
            assert!(Topic::try_from(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
