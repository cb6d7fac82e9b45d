//! What an event is acknowledged with: `{ok: true, ...}` or `{ok: false, error}`.

use std::collections::BTreeMap;

use contract::{ChatId, Code, FieldError, Refusal, chat::Events, event::Message, presence::Seen};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// What there is to say about an event that was carried out.
#[derive(Debug)]
pub enum Ack {
    Done,
    /// As it is stored, untouched.
    Sent(Box<RawValue>),
    Message(Box<Message>),
    Synced(BTreeMap<ChatId, Events>),
    Presence(Vec<Seen>),
}

impl Serialize for Ack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ok", &true)?;
        match self {
            Self::Done => {}
            Self::Sent(message) => map.serialize_entry("message", message)?,
            Self::Message(message) => map.serialize_entry("message", message)?,
            Self::Synced(chats) => map.serialize_entry("chats", chats)?,
            Self::Presence(seen) => {
                let presence: Vec<_> = seen.iter().map(|seen| &seen.presence).collect();
                map.serialize_entry("presence", &presence)?;
            }
        }
        map.end()
    }
}

/// What there is to say about one that was not.
#[derive(Debug, Serialize)]
pub struct Nack {
    ok: bool,
    error: Error,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Error {
    code: Code,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl From<Refusal> for Nack {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, errors, retry_after } = refusal;
        Self { ok: false, error: Error { code, message, errors, retry_after } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_as_the_frontend_reads_them() {
        let raw = RawValue::from_string(r#"{"seq": 1}"#.into()).unwrap();
        assert_eq!(serde_json::to_string(&Ack::Done).unwrap(), r#"{"ok":true}"#);
        assert_eq!(serde_json::to_string(&Ack::Sent(raw)).unwrap(), r#"{"ok":true,"message":{"seq": 1}}"#);
        let nack = Nack::from(Refusal::field("seq", "must be a number"));
        assert_eq!(
            serde_json::to_value(nack).unwrap(),
            serde_json::json!({ "ok": false, "error": {
                "code": "invalid", "message": "seq: must be a number",
                "errors": [{ "field": "seq", "message": "must be a number" }],
            } })
        );
    }
}
