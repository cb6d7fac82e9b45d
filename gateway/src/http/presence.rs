//! Who is there.

use axum::{
    Json as Answer, Router,
    extract::State,
    routing::{get, post},
};
use contract::{
    Actor, Code, Refusal, UserId,
    presence::{GetPresence, Presence},
    user::GetUser,
};
use serde::Deserialize;

use super::{
    extract::{Json, Path},
    problem::Problem,
};
use crate::{app::App, presence::check};

pub fn router() -> Router<App> {
    Router::new().route("/api/users/{id}/presence", get(one)).route("/api/presence", post(many))
}

async fn one(State(app): State<App>, actor: Actor, Path(user_id): Path<UserId>) -> Result<Answer<Presence>, Problem> {
    let answer = app.calls.idempotent(&GetPresence { actor, user_ids: vec![user_id] }).await?;
    let seen = answer.presence.into_iter().next().ok_or_else(Refusal::internal)?;
    if seen.presence.last_seen_at.is_none() && !seen.presence.online {
        // Never seen, or not there at all. While MongoDB is away nobody can tell.
        match app.calls.idempotent(&GetUser { actor, user_id }).await {
            Err(refusal) if refusal.code == Code::NotFound => return Err(refusal.into()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(Answer(seen.presence))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct People {
    user_ids: Vec<UserId>,
}

async fn many(
    State(app): State<App>,
    actor: Actor,
    Json(People { user_ids }): Json<People>,
) -> Result<Answer<Vec<Presence>>, Problem> {
    check(&user_ids)?;
    app.limits.items(actor.user_id, user_ids.len())?;
    let answer = app.calls.idempotent(&GetPresence { actor, user_ids }).await?;
    Ok(Answer(answer.presence.into_iter().map(|seen| seen.presence).collect()))
}
