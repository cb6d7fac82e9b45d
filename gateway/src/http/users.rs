//! `/api/users`: profiles.

use axum::{
    Json as Answer, Router,
    extract::State,
    routing::{get, patch},
};
use contract::{
    Actor, UserId,
    user::{GetUser, ProfileChanges, SearchUsers, SetStatus, Status, UpdateProfile, User, UserPage},
};

use super::{
    extract::{Json, Path, Query},
    problem::Problem,
};
use crate::app::App;

pub fn router() -> Router<App> {
    Router::new()
        .route("/api/users", get(search))
        .route("/api/users/update", patch(update))
        .route("/api/users/status", patch(status))
        .route("/api/users/{id}", get(user))
}

async fn search(State(app): State<App>, actor: Actor, params: Query) -> Result<Answer<UserPage>, Problem> {
    let search = SearchUsers {
        actor,
        query: params.required("query")?,
        cursor: params.optional("cursor")?,
        limit: params.limit()?,
    };
    Ok(Answer(app.calls.idempotent(&search).await?))
}

async fn user(State(app): State<App>, actor: Actor, Path(user_id): Path<UserId>) -> Result<Answer<User>, Problem> {
    Ok(Answer(app.calls.idempotent(&GetUser { actor, user_id }).await?))
}

async fn update(
    State(app): State<App>,
    actor: Actor,
    Json(changes): Json<ProfileChanges>,
) -> Result<Answer<User>, Problem> {
    Ok(Answer(app.calls.idempotent(&UpdateProfile { actor, changes }).await?))
}

async fn status(
    State(app): State<App>,
    actor: Actor,
    Json(status): Json<Option<Status>>,
) -> Result<Answer<User>, Problem> {
    Ok(Answer(app.calls.idempotent(&SetStatus { actor, status }).await?))
}
