//! A chat as one of its members sees it.

use contract::{
    Refusal, UserId,
    chat::{Chat, MemberEntry},
};

use crate::{App, members, state::ChatState};

/// What `user` sees of the chat, given their place in it.
#[must_use]
pub fn of(state: &ChatState, user: UserId, entry: Option<&MemberEntry>) -> Chat {
    Chat {
        id: state.id,
        chat_type: state.chat_type,
        name: state.name.clone(),
        avatar_url: state.avatar_url.clone(),
        members: state.members.values().cloned().collect(),
        last_seq: state.last_seq,
        last_message: state.last_message.clone(),
        unread: state.unread_since_last_word(user),
        receipts: Vec::new(),
        receipt_counts: Vec::new(),
        typing: Vec::new(),
        muted: entry.is_some_and(|entry| entry.muted),
        created_at: state.created_at,
        cursor: state.cursor,
    }
}

/// The same, with the place read from its bucket.
pub async fn read(app: &App, state: &ChatState, user: UserId) -> Result<Chat, Refusal> {
    let entry = members::entry(&app.reader.nats, user, state.id).await;
    let entry = entry.map_err(|error| service::absent("the bucket MEMBERS", &error))?;
    Ok(of(state, user, entry.as_ref()))
}
