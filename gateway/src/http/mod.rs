//! REST: the routes of `api.md`.

mod auth;
mod chats;
mod extract;
mod gate;
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
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse,
};
use http::{HeaderValue, Method, header};
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
    let open = auth::open_router().merge(notifications::open_router()).merge(push::open_router());
    Router::new()
        .merge(open.route_layer(from_fn_with_state(app.clone(), gate::sign_in)))
        .merge(auth::router())
        .merge(users::router())
        .merge(presence::router())
        .merge(chats::router())
        .merge(messages::router())
        .merge(notifications::router())
        .merge(push::router())
        .route_layer(from_fn_with_state(app.clone(), gate::work))
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::no_method())
        .with_state(app.clone())
        .layer(sockets)
        .layer(from_fn_with_state((app, wires), gate::sockets))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            Problem::of_panic(panic.as_ref()).into_response()
        }))
        .layer(from_fn(observe::observe))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(cors)
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
