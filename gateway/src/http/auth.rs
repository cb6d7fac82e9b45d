//! `/api/auth`: accounts, sign-in, sessions. `/.well-known/jwks.json`.

use axum::{
    Json as Answer, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use contract::{
    Actor, Refusal, SessionId,
    user::{
        Account, Client, ForgotPassword, GetMe, Jwks, ListSessions, Login, LoginBody, Logout, Refresh, RefreshBody,
        Register, Registered, RequestOtp, ResetPassword, RevokeSession, Sessions, Tokens, Verify, VerifyBody,
    },
};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{
    extract::{Json, Path},
    problem::Problem,
};
use crate::app::App;

/// For those who have no access token.
pub fn open_router() -> Router<App> {
    Router::new()
        .route("/api/auth/register", post(register))
        .route("/api/auth/otp", post(otp))
        .route("/api/auth/verify", post(verify))
        .route("/api/auth/login", post(login))
        .route("/api/auth/password/forgot", post(forgot_password))
        .route("/api/auth/password/reset", post(reset_password))
        .route("/api/auth/refresh", post(refresh))
}

pub fn router() -> Router<App> {
    Router::new()
        .route("/api/auth/logout", post(logout))
        .route("/api/auth/me", get(me))
        .route("/api/auth/sessions", get(sessions))
        .route("/api/auth/sessions/{id}", delete(revoke_session))
        .route("/.well-known/jwks.json", get(jwks))
}

async fn register(
    State(app): State<App>,
    Json(body): Json<Register>,
) -> Result<(StatusCode, Answer<Registered>), Problem> {
    let _turn = app.limits.password().await?;
    Ok((StatusCode::ACCEPTED, Answer(app.calls.call(&body).await?)))
}

async fn otp(State(app): State<App>, Json(body): Json<RequestOtp>) -> Result<(StatusCode, Answer<Value>), Problem> {
    app.calls.call(&body).await?;
    Ok((StatusCode::ACCEPTED, Answer(json!({}))))
}

async fn verify(State(app): State<App>, client: Client, Json(body): Json<VerifyBody>) -> Result<Response, Problem> {
    Ok(secret(app.calls.call(&Verify { body, client }).await?))
}

async fn login(State(app): State<App>, client: Client, Json(body): Json<LoginBody>) -> Result<Response, Problem> {
    // Not before the body is here: nobody else waits for a client that is slow.
    let _turn = app.limits.password().await?;
    Ok(secret(app.calls.call(&Login { body, client }).await?))
}

async fn forgot_password(
    State(app): State<App>,
    Json(body): Json<ForgotPassword>,
) -> Result<(StatusCode, Answer<Value>), Problem> {
    app.calls.call(&body).await?;
    Ok((StatusCode::ACCEPTED, Answer(json!({}))))
}

/// The sessions that it ends leave through the bucket `REVOKED`, as on every gateway.
async fn reset_password(State(app): State<App>, Json(body): Json<ResetPassword>) -> Result<StatusCode, Problem> {
    let _turn = app.limits.password().await?;
    app.calls.call(&body).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn refresh(State(app): State<App>, client: Client, Json(body): Json<RefreshBody>) -> Result<Response, Problem> {
    Ok(secret(app.calls.call(&Refresh { body, client }).await?))
}

/// Tokens are kept by nobody on the way (RFC 6749, section 5.1).
fn secret(tokens: Tokens) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Answer(tokens)).into_response()
}

async fn logout(State(app): State<App>, actor: Actor) -> Result<StatusCode, Problem> {
    app.calls.call(&Logout { actor }).await?;
    app.revoke(actor.session_id);
    Ok(StatusCode::NO_CONTENT)
}

async fn me(State(app): State<App>, actor: Actor) -> Result<Answer<Account>, Problem> {
    Ok(Answer(app.calls.idempotent(&GetMe { actor }).await?))
}

async fn sessions(State(app): State<App>, actor: Actor) -> Result<Answer<Sessions>, Problem> {
    Ok(Answer(app.calls.idempotent(&ListSessions { actor }).await?))
}

async fn revoke_session(
    State(app): State<App>,
    actor: Actor,
    Path(session_id): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    app.calls.call(&RevokeSession { actor, session_id }).await?;
    app.revoke(session_id);
    Ok(StatusCode::NO_CONTENT)
}

async fn jwks(State(app): State<App>) -> Result<([(header::HeaderName, &'static str); 1], Answer<Jwks>), Problem> {
    let jwks = app.identity.jwks().ok_or_else(|| Refusal::unavailable("The keys are not known yet."))?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=60")], Answer(jwks)))
}
