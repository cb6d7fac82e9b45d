//! Ids: opaque strings to a frontend, UUIDs inside. UUIDv7 (RFC 9562) sorts by creation time, which keeps indexes
//! compact; none of its characters has a meaning in a NATS subject.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, unique and sorting after those made before it.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        /// Only the canonical hyphenated lower-case form is an id, so that one thing has one name in subjects and keys.
        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let id = Uuid::try_parse(text).map_err(|_| NotAnId)?;
                let mut canonical = Uuid::encode_buffer();
                (id.as_hyphenated().encode_lower(&mut canonical) == text).then_some(Self(id)).ok_or(NotAnId)
            }
        }

        /// As text in every format: in BSON, too, where a UUID would be bytes that nobody can read in a shell.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(|_| E::custom("is not an id"))
                    }
                }

                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

id!(
    /// A person with an account.
    UserId
);
id!(
    /// A conversation. A direct chat's id is derived from its two members, see [`ChatId::direct`].
    ChatId
);
id!(
    /// One sign-in of one user on one device; the `sid` claim of an access token.
    SessionId
);
id!(
    /// A notification.
    NotificationId
);
id!(
    /// One run of a gateway.
    GatewayId
);

/// The text is no id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id")
    }
}

impl std::error::Error for NotAnId {}

/// Namespace of direct chats (RFC 9562, section 6.6). Changing it would split every direct chat in two.
const DIRECT: Uuid = Uuid::from_u128(0x9f3a_4c52_7d1e_5b8a_b6c4_2e10_d5a7_f083);

impl ChatId {
    /// The one chat that two people have with each other, whoever asks: UUIDv5 of both ids, the smaller one first.
    #[must_use]
    pub fn direct(one: UserId, other: UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let mut pair = [0; 32];
        pair[..16].copy_from_slice(low.0.as_bytes());
        pair[16..].copy_from_slice(high.0.as_bytes());
        Self(Uuid::new_v5(&DIRECT, &pair))
    }

    /// The same number for the same chat, evenly spread: of its last bits, which are random or a hash.
    #[must_use]
    pub fn spread(self) -> usize {
        usize::from(self.0.as_bytes()[15])
    }
}

/// Namespace of notifications.
const NOTIFIED: Uuid = Uuid::from_u128(0x2d8f_61b4_9c07_4a35_8e91_57c3_0f64_ab12);

impl NotificationId {
    /// The same for the same thing said to the same user, so that saying it twice is saying it once (UUIDv5).
    #[must_use]
    pub fn of(user: UserId, what: &str) -> Self {
        Self(Uuid::new_v5(&NOTIFIED, format!("{user}.{what}").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_chat_is_the_same_from_both_sides_and_differs_between_pairs() {
        let (anna, ben, carl) = (UserId::new(), UserId::new(), UserId::new());
        assert_eq!(ChatId::direct(anna, ben), ChatId::direct(ben, anna));
        assert_ne!(ChatId::direct(anna, ben), ChatId::direct(anna, carl));
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let id = ChatId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
        assert_eq!(serde_json::from_value::<ChatId>(id.to_string().into()).unwrap(), id);
        for text in
            ["", "*", ">", "a.b", "{0190163d-8694-739b-aea5-966c26f8ad91}", "0190163D-8694-739B-AEA5-966C26F8AD91"]
        {
            assert_eq!(text.parse::<ChatId>(), Err(NotAnId), "{text}");
            assert!(serde_json::from_value::<ChatId>(text.into()).is_err(), "{text}");
        }
    }
}
