//! What is said beside messages: receipts and typing; and catching up.

use std::collections::BTreeMap;

use contract::{
    Actor, ChatId, Refusal,
    chat::{MAX_SYNC, Mark, ReceiptKind, SetTyping, Sync},
    event::{Cursor, Seq},
};
use serde::Deserialize;

use super::ack::Ack;
use crate::app::App;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpTo {
    chat_id: ChatId,
    seq: Seq,
}

pub(super) async fn mark(app: &App, actor: Actor, kind: ReceiptKind, up_to: UpTo) -> Result<Ack, Refusal> {
    let UpTo { chat_id, seq } = up_to;
    app.calls.idempotent(&Mark { actor, chat_id, seq, kind }).await?;
    Ok(Ack::Done)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InChat {
    chat_id: ChatId,
}

pub(super) async fn typing(app: &App, actor: Actor, typing: bool, InChat { chat_id }: InChat) -> Result<Ack, Refusal> {
    app.calls.idempotent(&SetTyping { actor, chat_id, typing }).await?;
    Ok(Ack::Done)
}

#[derive(Deserialize)]
pub(super) struct Cursors {
    chats: BTreeMap<ChatId, Cursor>,
}

pub(super) async fn sync(app: &App, actor: Actor, Cursors { chats }: Cursors) -> Result<Ack, Refusal> {
    if chats.len() > MAX_SYNC {
        return Err(Refusal::field("chats", format!("must be at most {MAX_SYNC}")));
    }
    app.limits.items(actor.user_id, chats.len())?;
    let turn = app.limits.catch_up().await?;
    let chats = app.calls.idempotent(&Sync { actor, chats }).await?.chats;
    drop(turn);
    let bytes = chats.values().flat_map(|missed| &missed.events).map(|event| event.data.get().len()).sum();
    app.limits.answer(actor.user_id, bytes)?;
    Ok(Ack::Synced(chats))
}
