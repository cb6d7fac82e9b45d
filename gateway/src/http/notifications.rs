//! `/api/notifications`: what somebody should know of, and how they want to be told. `/api/admin/announce`.

use axum::{
    Json as Answer, Router,
    extract::State,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use contract::{
    Actor, NotificationId, Refusal, UserId,
    notification::{
        Announce, Announcement, GetSettings, ListNotifications, Notification, NotificationPage, ReadAll, SetRead,
        Settings, SettingsChanges, Unsubscribe, UpdateSettings,
    },
    user::Role,
};
use http::StatusCode;
use serde::Deserialize;

use super::{
    extract::{Json, Path, Query},
    problem::Problem,
};
use crate::app::App;

/// For the link in a letter, which knows whose it is.
pub fn open_router() -> Router<App> {
    Router::new().route("/api/notifications/unsubscribe", get(ask_to_unsubscribe).post(unsubscribe))
}

pub fn router() -> Router<App> {
    Router::new()
        .route("/api/notifications", get(list))
        // A user's id to read, a notification's to change.
        .route("/api/notifications/{id}", get(list_of).patch(set_read))
        .route("/api/notifications/read-all", post(read_all))
        .route("/api/notifications/settings", get(settings).patch(update_settings))
        .route("/api/admin/announce", post(announce))
}

async fn list(State(app): State<App>, actor: Actor, params: Query) -> Result<Answer<NotificationPage>, Problem> {
    page(&app, actor, actor.user_id, &params).await
}

async fn list_of(
    State(app): State<App>,
    actor: Actor,
    Path(user_id): Path<UserId>,
    params: Query,
) -> Result<Answer<NotificationPage>, Problem> {
    page(&app, actor, user_id, &params).await
}

async fn page(app: &App, actor: Actor, user_id: UserId, params: &Query) -> Result<Answer<NotificationPage>, Problem> {
    let unread = params.optional("unread")?.unwrap_or(false);
    let list = ListNotifications { actor, user_id, unread, cursor: params.optional("cursor")?, limit: params.limit()? };
    Ok(Answer(app.calls.idempotent(&list).await?))
}

#[derive(Deserialize)]
struct Read {
    read: bool,
}

async fn set_read(
    State(app): State<App>,
    actor: Actor,
    Path(id): Path<NotificationId>,
    Json(Read { read }): Json<Read>,
) -> Result<Answer<Notification>, Problem> {
    Ok(Answer(app.calls.idempotent(&SetRead { actor, id, read }).await?))
}

async fn read_all(State(app): State<App>, actor: Actor) -> Result<StatusCode, Problem> {
    app.calls.idempotent(&ReadAll { actor }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn settings(State(app): State<App>, actor: Actor) -> Result<Answer<Settings>, Problem> {
    Ok(Answer(app.calls.idempotent(&GetSettings { actor }).await?))
}

async fn update_settings(
    State(app): State<App>,
    actor: Actor,
    Json(changes): Json<SettingsChanges>,
) -> Result<Answer<Settings>, Problem> {
    Ok(Answer(app.calls.idempotent(&UpdateSettings { actor, changes }).await?))
}

/// Mail programs open links by themselves, so this changes nothing (RFC 8058, section 3.1): the page has a button.
async fn ask_to_unsubscribe() -> Response {
    const PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Natter</title>\
        <body style=\"font-family:sans-serif; max-width:30em; margin:4em auto; padding:0 1em\">\
        <h1>No more letters?</h1><p>Natter will no longer write to you about messages you have not read.</p>\
        <form method=\"post\"><button>Unsubscribe</button></form>";
    Html(PAGE).into_response()
}

/// By that button, or at once by the mail program (`List-Unsubscribe=One-Click`). Needs no sign-in, only the link.
async fn unsubscribe(State(app): State<App>, params: Query) -> Result<Html<&'static str>, Problem> {
    app.calls.idempotent(&Unsubscribe { token: params.required("token")? }).await?;
    Ok(Html("<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>Natter</title><p>Done: no more letters."))
}

async fn announce(
    State(app): State<App>,
    actor: Actor,
    Json(announcement): Json<Announcement>,
) -> Result<StatusCode, Problem> {
    if actor.role != Role::Admin {
        return Err(Refusal::forbidden("Only an admin may do this.").into());
    }
    app.calls.call(&Announce { actor, announcement }).await?;
    Ok(StatusCode::ACCEPTED)
}
