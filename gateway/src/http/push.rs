//! Web Push: what a browser needs to subscribe, and where it says that it has.

use axum::{
    Json as Answer, Router,
    extract::State,
    routing::{get, post},
};
use contract::{
    Actor,
    push::{EndSubscription, GetPushKey, PushKey, PushSubscription, Subscribe},
};
use http::StatusCode;
use serde::Deserialize;

use super::{extract::Json, problem::Problem};
use crate::app::App;

/// A public key in every sense: nobody need sign in for it.
pub fn open_router() -> Router<App> {
    Router::new().route("/api/push/key", get(key))
}

pub fn router() -> Router<App> {
    Router::new().route("/api/push/subscriptions", post(subscribe).delete(end))
}

async fn key(State(app): State<App>) -> Result<Answer<PushKey>, Problem> {
    Ok(Answer(app.calls.idempotent(&GetPushKey {}).await?))
}

async fn subscribe(
    State(app): State<App>,
    actor: Actor,
    Json(subscription): Json<PushSubscription>,
) -> Result<StatusCode, Problem> {
    app.calls.idempotent(&Subscribe { actor, subscription }).await?;
    Ok(StatusCode::CREATED)
}

/// Which one; it is named in the body, because an endpoint in the path would end up in the logs of proxies.
#[derive(Deserialize)]
struct Ended {
    endpoint: String,
}

async fn end(
    State(app): State<App>,
    actor: Actor,
    Json(Ended { endpoint }): Json<Ended>,
) -> Result<StatusCode, Problem> {
    app.calls.idempotent(&EndSubscription { actor, endpoint }).await?;
    Ok(StatusCode::NO_CONTENT)
}
