//! A message as `chat` stores and delivers it, for those limits that carry one.

use serde_json::{json, value::RawValue};

/// As long as a real one with this text.
pub fn message(chat_id: &str, seq: u64, client_id: &str, text: &str) -> serde_json::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(&json!({
        "chatId": chat_id, "seq": seq, "kind": "user", "senderId": "01900000-0000-7000-8000-000000000000",
        "clientId": client_id, "text": text, "replyTo": null, "attachments": [], "mentions": [], "reactions": {},
        "sentAt": "2026-01-01T00:00:00.000Z", "editedAt": null, "deletedAt": null,
    }))
}
