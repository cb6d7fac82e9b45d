//! Texts that carry their limits: what deserializes is within them, so no handler checks lengths. Lengths are counted
//! in Unicode scalar values, as `[...string].length` does in JavaScript.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, de};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the limits; the error is a sentence about the field.
            pub fn new(text: impl Into<String>) -> Result<Self, String> {
                let parse: fn(String) -> Result<String, String> = $parse;
                parse(text.into()).map(Self)
            }

            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

text!(
    /// Name of a person or of a group: 1 to 100 characters, trimmed, no control characters.
    Name,
    |text| {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".into());
        }
        within(text, 1, 100).map(|()| text.to_owned())
    }
);
text!(
    /// Text of a message: at most 8,000 characters. Whether it may be empty is the chat's rule: only with an attachment.
    MessageText,
    |text| within(&text, 0, 8_000).map(|()| text)
);
text!(
    /// What the sender's device calls its message, so that a retry is known as one: 1 to 100 visible ASCII characters.
    /// It becomes part of the `Nats-Msg-Id` header.
    ClientId,
    |text| {
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err("must be visible ASCII characters".into());
        }
        within(&text, 1, 100).map(|()| text)
    }
);
text!(
    /// About a person: at most 500 characters.
    Bio,
    |text| within(&text, 0, 500).map(|()| text)
);
text!(
    /// Where a picture is: an absolute `https:` or `http:` URL, or a path on this server, at most 2,000 characters.
    AvatarUrl,
    |text| {
        let known = text.starts_with("https://") || text.starts_with("http://") || text.starts_with('/');
        if !known || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must be an http(s) URL".into());
        }
        within(&text, 1, 2_000).map(|()| text)
    }
);
text!(
    /// One emoji of a reaction, of those that Unicode recommends (UTS #51), fully qualified: `❤` becomes `❤️`.
    /// Neither `.` nor `$` occur, which have a meaning in MongoDB's field names.
    Emoji,
    |text| emojis::get(&text).map(|emoji| emoji.as_str().to_owned()).ok_or_else(|| "must be an emoji".into())
);
text!(
    /// What a device is called in the list of sessions: at most 200 characters.
    Device,
    |text| within(&text, 0, 200).map(|()| text)
);
text!(
    /// An e-mail address, trimmed and lower-cased: what two addresses are compared by. At most 254 characters
    /// (RFC 5321, section 4.5.3.1.3); the mail server has the last word on what is deliverable.
    Email,
    |text| {
        let email = text.trim().to_lowercase();
        let (local, domain) = email.rsplit_once('@').ok_or("must be an e-mail address")?;
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[]\\,;:\"".contains(c);
        let labels = domain.split('.').all(|l| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-'));
        let fits = (1..=64).contains(&local.len()) && email.len() <= 254 && labels;
        let atom = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..") && !local.contains('@');
        let host = domain.chars().all(|c| c == '.' || c == '-' || c.is_alphanumeric());
        if fits && atom && host && email.chars().all(plain) { Ok(email) } else { Err("must be an e-mail address".into()) }
    }
);

impl MessageText {
    /// No text: of a deleted message, or of one with attachments only.
    #[must_use]
    pub const fn empty() -> Self {
        Self(String::new())
    }
}

impl Default for MessageText {
    fn default() -> Self {
        Self::empty()
    }
}

impl ClientId {
    /// What a message of the system is called, which no device named.
    #[must_use]
    pub fn of_system(seq: u64) -> Self {
        Self(format!("system-{seq}"))
    }
}

/// A password as it is chosen: 8 to 128 characters. Shown nowhere, also not in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NewPassword(String);

impl<'de> Deserialize<'de> for NewPassword {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        within(&text, 8, 128).map_err(de::Error::custom)?;
        Ok(Self(text))
    }
}

/// A secret as it is presented (a password, a code, a token): at most 4,096 bytes. Shown nowhere, also not in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > 4_096 {
            return Err(de::Error::custom("must be at most 4096 bytes"));
        }
        Ok(Self(text))
    }
}

macro_rules! hidden {
    ($($name:ident)+) => {$(
        impl $name {
            /// The secret itself; the name makes a place that uses it stand out.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("***")
            }
        }
    )+};
}
hidden!(NewPassword Secret);

fn within(text: &str, least: usize, most: usize) -> Result<(), String> {
    match text.chars().count() {
        n if n < least && least == 1 => Err("must not be empty".into()),
        n if n < least => Err(format!("must be at least {least} characters")),
        n if n > most => Err(format!("must be at most {most} characters")),
        _ => Ok(()),
    }
}

/// Tells `null` from absent.
pub fn present<'de, D: serde::Deserializer<'de>, T: serde::Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_compared_trimmed_and_lower_cased() {
        assert_eq!(&*Email::new("  Anna.B+x@Example.ORG ").unwrap(), "anna.b+x@example.org");
        for text in [
            "",
            "anna",
            "@x.org",
            "anna@",
            "a b@x.org",
            "a@x..org",
            "a@-x.org",
            "a\n@x.org",
            "a,b@x.org",
            "a@b@x.org",
            "<a@x.org>",
        ] {
            assert!(Email::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn limits_count_characters_not_bytes() {
        assert!(Name::new("ä".repeat(100)).is_ok());
        assert!(Name::new("ä".repeat(101)).is_err());
        assert!(Name::new("   ").is_err());
        assert!(MessageText::new("x".repeat(8_001)).is_err());
    }

    #[test]
    fn an_emoji_is_no_field_path() {
        for text in ["👍", "👩‍👩‍👧‍👦", "❤️", "🇩🇪", "1️⃣"] {
            assert!(Emoji::new(text).is_ok(), "{text}");
        }
        assert_eq!(*Emoji::new("❤").unwrap(), *"❤️", "one way to write it");
        for text in ["", "$set", "a.b", ".", "ok", " ", "👍 ", "👍👍", "1", "#", "\u{200d}", "\u{fe0f}"] {
            assert!(Emoji::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter22")), "***");
    }
}
