//! `/api/messages`: sending, history, edits, reactions.

use axum::{
    Json as Answer, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use contract::{
    Actor, ChatId, Refusal, UserId,
    chat::{
        AddReaction, DeleteMessage, EditMessage, GetHistory, History, Mark, NewMessage, ReceiptKind, RemoveReaction,
        SendMessage, SentMessage,
    },
    event::{Message, Seq},
    text::{Emoji, MessageText},
};
use http::{StatusCode, header};
use serde::Deserialize;

use super::{
    extract::{Json, Path, Query},
    problem::Problem,
};
use crate::app::App;

pub fn router() -> Router<App> {
    Router::new()
        .route("/api/messages", post(send))
        .route("/api/messages/{chat_id}", get(history))
        .route("/api/messages/{chat_id}/read", post(read))
        .route("/api/messages/{chat_id}/{seq}", patch(edit).delete(remove))
        .route("/api/messages/{chat_id}/{seq}/reactions/{emoji}", put(add_reaction).delete(remove_reaction))
}

async fn send(State(app): State<App>, actor: Actor, Json(message): Json<NewMessage>) -> Result<Response, Problem> {
    let SentMessage { created, message } = app.send(SendMessage { actor, message }).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let json = String::from(Box::<str>::from(message));
    Ok((status, [(header::CONTENT_TYPE, "application/json")], json).into_response())
}

async fn history(
    State(app): State<App>,
    actor: Actor,
    Path(chat_id): Path<ChatId>,
    params: Query,
) -> Result<Answer<History>, Problem> {
    let (before, after) = (params.optional("before")?, params.optional("after")?);
    let history = GetHistory { actor, chat_id, before, after, limit: params.limit()? };
    Ok(Answer(app.calls.idempotent(&history).await?))
}

#[derive(Deserialize)]
struct UpTo {
    seq: Seq,
}

async fn read(
    State(app): State<App>,
    actor: Actor,
    Path(chat_id): Path<ChatId>,
    Json(UpTo { seq }): Json<UpTo>,
) -> Result<StatusCode, Problem> {
    app.calls.idempotent(&Mark { actor, chat_id, seq, kind: ReceiptKind::Read }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Edit {
    text: MessageText,
    #[serde(default)]
    mentions: Vec<UserId>,
}

async fn edit(
    State(app): State<App>,
    actor: Actor,
    Path((chat_id, seq)): Path<(ChatId, Seq)>,
    Json(Edit { text, mentions }): Json<Edit>,
) -> Result<Answer<Message>, Problem> {
    Ok(Answer(app.change(chat_id, &EditMessage { actor, chat_id, seq, text, mentions }).await?))
}

async fn remove(
    State(app): State<App>,
    actor: Actor,
    Path((chat_id, seq)): Path<(ChatId, Seq)>,
) -> Result<Answer<Message>, Problem> {
    Ok(Answer(app.change(chat_id, &DeleteMessage { actor, chat_id, seq }).await?))
}

async fn add_reaction(
    State(app): State<App>,
    actor: Actor,
    Path((chat_id, seq, emoji)): Path<(ChatId, Seq, String)>,
) -> Result<Answer<Message>, Problem> {
    Ok(Answer(app.change(chat_id, &AddReaction { actor, chat_id, seq, emoji: parse_emoji(emoji)? }).await?))
}

async fn remove_reaction(
    State(app): State<App>,
    actor: Actor,
    Path((chat_id, seq, emoji)): Path<(ChatId, Seq, String)>,
) -> Result<Answer<Message>, Problem> {
    Ok(Answer(app.change(chat_id, &RemoveReaction { actor, chat_id, seq, emoji: parse_emoji(emoji)? }).await?))
}

fn parse_emoji(emoji: String) -> Result<Emoji, Refusal> {
    Emoji::new(emoji).map_err(|message| Refusal::field("emoji", message))
}
