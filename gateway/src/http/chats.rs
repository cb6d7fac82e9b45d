//! `/api/chats`: conversations, their members and their events.

use axum::{
    Json as Answer, Router,
    extract::State,
    routing::{delete, get, post},
};
use contract::{
    Actor, ChatId, UserId,
    chat::{
        AddMembers, Chat, ChatChanges, ChatPage, CreateChat, DeleteChat, Events, GetChat, GetEvents, ListChats,
        NewChat, RemoveMember, SetRole, UpdateChat,
    },
    event::{ChatType, MemberRole},
    text::Name,
};
use http::StatusCode;
use serde::Deserialize;

use super::{
    extract::{Body, Json, Path, Query},
    problem::Problem,
};
use crate::{
    app::App,
    parse::{Unfit, parse},
};

pub fn router() -> Router<App> {
    Router::new()
        .route("/api/chats", post(create).get(list))
        .route("/api/chats/{id}", get(chat).patch(update).delete(remove))
        .route("/api/chats/{id}/members", post(add_members))
        .route("/api/chats/{id}/members/{user_id}", delete(remove_member).patch(set_role))
        .route("/api/chats/{id}/leave", post(leave))
        .route("/api/chats/{id}/events", get(events))
}

async fn create(State(app): State<App>, actor: Actor, Body(body): Body) -> Result<(StatusCode, Answer<Chat>), Problem> {
    let created = app.calls.call(&CreateChat { actor, chat: new_chat(&body)? }).await?;
    let status = if created.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(created.chat)))
}

/// Reads the type first and then the fields of that type: of a tagged enum serde cannot say which field is wrong.
fn new_chat(body: &[u8]) -> Result<NewChat, Unfit> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        chat_type: ChatType,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Direct {
        user_id: UserId,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Group {
        name: Name,
        #[serde(default)]
        member_ids: Vec<UserId>,
    }
    Ok(match parse::<Kind>(body)?.chat_type {
        ChatType::Direct => {
            let Direct { user_id } = parse(body)?;
            NewChat::Direct { user_id }
        }
        ChatType::Group => {
            let Group { name, member_ids } = parse(body)?;
            NewChat::Group { name, member_ids }
        }
    })
}

async fn list(State(app): State<App>, actor: Actor, params: Query) -> Result<Answer<ChatPage>, Problem> {
    let list = ListChats { actor, cursor: params.optional("cursor")?, limit: params.limit()? };
    Ok(Answer(app.calls.idempotent(&list).await?))
}

async fn chat(State(app): State<App>, actor: Actor, Path(chat_id): Path<ChatId>) -> Result<Answer<Chat>, Problem> {
    Ok(Answer(app.calls.idempotent(&GetChat { actor, chat_id }).await?))
}

async fn update(
    State(app): State<App>,
    actor: Actor,
    Path(chat_id): Path<ChatId>,
    Json(changes): Json<ChatChanges>,
) -> Result<Answer<Chat>, Problem> {
    Ok(Answer(app.calls.call(&UpdateChat { actor, chat_id, changes }).await?))
}

async fn remove(State(app): State<App>, actor: Actor, Path(chat_id): Path<ChatId>) -> Result<StatusCode, Problem> {
    app.calls.call(&DeleteChat { actor, chat_id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMembers {
    user_ids: Vec<UserId>,
}

async fn add_members(
    State(app): State<App>,
    actor: Actor,
    Path(chat_id): Path<ChatId>,
    Json(NewMembers { user_ids }): Json<NewMembers>,
) -> Result<Answer<Chat>, Problem> {
    Ok(Answer(app.calls.call(&AddMembers { actor, chat_id, user_ids }).await?))
}

async fn remove_member(
    State(app): State<App>,
    actor: Actor,
    Path((chat_id, user_id)): Path<(ChatId, UserId)>,
) -> Result<StatusCode, Problem> {
    app.calls.call(&RemoveMember { actor, chat_id, user_id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn leave(State(app): State<App>, actor: Actor, Path(chat_id): Path<ChatId>) -> Result<StatusCode, Problem> {
    app.calls.call(&RemoveMember { actor, chat_id, user_id: actor.user_id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct NewRole {
    role: MemberRole,
}

async fn set_role(
    State(app): State<App>,
    actor: Actor,
    Path((chat_id, user_id)): Path<(ChatId, UserId)>,
    Json(NewRole { role }): Json<NewRole>,
) -> Result<Answer<Chat>, Problem> {
    Ok(Answer(app.calls.call(&SetRole { actor, chat_id, user_id, role }).await?))
}

async fn events(
    State(app): State<App>,
    actor: Actor,
    Path(chat_id): Path<ChatId>,
    params: Query,
) -> Result<Answer<Events>, Problem> {
    let after = params.optional("after")?.unwrap_or(0);
    Ok(Answer(app.calls.idempotent(&GetEvents { actor, chat_id, after, limit: params.limit()? }).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_of_chat_names_its_own_fields() {
        let field = |body: &str| match new_chat(body.as_bytes()) {
            Err(Unfit::Invalid(refusal)) => refusal.errors[0].field.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(field("{}"), "type");
        assert_eq!(field(r#"{"type":"channel"}"#), "type");
        assert_eq!(field(r#"{"type":"direct","userId":[]}"#), "userId");
        assert_eq!(field(r#"{"type":"group","memberIds":[]}"#), "name");
        assert_eq!(field(r#"{"type":"group","name":"n","memberIds":["x"]}"#), "memberIds[0]");
        assert!(matches!(new_chat(br#"{"type":"group","name":"n"}"#), Ok(NewChat::Group { .. })));
    }
}
