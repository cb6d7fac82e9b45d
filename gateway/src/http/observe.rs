//! Around every request: its trace and its place in the metrics.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use contract::headers::TRACEPARENT;
use service::Trace;

use crate::socket;

/// Takes the client's trace over (W3C Trace Context) or starts one, and counts the request by route and status.
pub async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let sent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = sent.and_then(|text| text.parse().ok()).map_or_else(Trace::start, Trace::child);
    let method = request.method().as_str().to_owned();
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None if request.uri().path().starts_with(socket::PATH) => socket::PATH.to_owned(),
        // Not the path itself: anybody could make up new ones.
        None => "none".to_owned(),
    };
    let response = trace.scope(next.run(request)).await;
    let status = response.status().as_str().to_owned();
    metrics::histogram!("natter_http_request_seconds", "route" => route.clone()).record(started.elapsed());
    metrics::counter!("natter_http_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}
