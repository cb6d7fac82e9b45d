//! Messages: send, edit, delete, react.

use contract::{
    Actor, ChatId, Refusal, UserId,
    chat::{AddReaction, DeleteMessage, EditMessage, NewMessage, RemoveReaction, SendMessage},
    event::Seq,
    text::{Emoji, MessageText},
};
use serde::Deserialize;

use super::ack::Ack;
use crate::app::App;

pub(super) async fn send(app: &App, actor: Actor, message: NewMessage) -> Result<Ack, Refusal> {
    Ok(Ack::Sent(app.send(SendMessage { actor, message }).await?.message))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edit {
    chat_id: ChatId,
    seq: Seq,
    text: MessageText,
    #[serde(default)]
    mentions: Vec<UserId>,
}

pub(super) async fn edit(app: &App, actor: Actor, edit: Edit) -> Result<Ack, Refusal> {
    let Edit { chat_id, seq, text, mentions } = edit;
    Ok(Ack::Message(Box::new(app.change(chat_id, &EditMessage { actor, chat_id, seq, text, mentions }).await?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfMessage {
    chat_id: ChatId,
    seq: Seq,
}

pub(super) async fn delete(app: &App, actor: Actor, OfMessage { chat_id, seq }: OfMessage) -> Result<Ack, Refusal> {
    Ok(Ack::Message(Box::new(app.change(chat_id, &DeleteMessage { actor, chat_id, seq }).await?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct React {
    chat_id: ChatId,
    seq: Seq,
    emoji: Emoji,
}

pub(super) async fn add_reaction(
    app: &App,
    actor: Actor,
    React { chat_id, seq, emoji }: React,
) -> Result<Ack, Refusal> {
    Ok(Ack::Message(Box::new(app.change(chat_id, &AddReaction { actor, chat_id, seq, emoji }).await?)))
}

pub(super) async fn remove_reaction(
    app: &App,
    actor: Actor,
    React { chat_id, seq, emoji }: React,
) -> Result<Ack, Refusal> {
    Ok(Ack::Message(Box::new(app.change(chat_id, &RemoveReaction { actor, chat_id, seq, emoji }).await?)))
}
