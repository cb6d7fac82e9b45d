//! REST: the routes of `api.md`.

mod auth;
mod chats;
mod extract;
mod messages;
mod notifications;
mod observe;
mod presence;
mod problem;
mod push;
mod users;

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;
use socketioxide::layer::SocketIoLayer;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
};

use crate::{app::App, config::HttpConfig, tcp::Wires};
use problem::Problem;

/// Browsers may remember for this long what they may send us.
const PREFLIGHT: Duration = Duration::from_hours(1);

/// All that is served on the public port.
pub fn router(app: App, sockets: SocketIoLayer, wires: Wires) -> Router {
    let cors = cors(&app.http);
    Router::new()
        .merge(auth::router())
        .merge(users::router())
        .merge(presence::router())
        .merge(chats::router())
        .merge(messages::router())
        .merge(notifications::router())
        .merge(push::router())
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::no_method())
        .with_state(app)
        .layer(sockets)
        .layer(axum::middleware::from_fn_with_state(wires, only_living_sessions))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            Problem::of_panic(panic.as_ref()).into_response()
        }))
        .layer(axum::middleware::from_fn(observe::observe))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(cors)
}

/// Engine.IO's own refusal of a session it does not know; the client then opens a new one.
async fn only_living_sessions(State(wires): State<Wires>, request: Request, next: Next) -> Response {
    if wires.admit(&request) {
        return next.run(request).await;
    }
    (StatusCode::BAD_REQUEST, axum::Json(json!({ "code": 1, "message": "Session ID unknown" }))).into_response()
}

fn cors(config: &HttpConfig) -> CorsLayer {
    let origins = config.allowed_origins.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let origins = if config.allowed_origins.trim() == "*" {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // `*` would not include Authorization.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(PREFLIGHT)
}
