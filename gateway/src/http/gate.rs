//! Before a request is handled: whether its client may ask that much, and whether there is room for it.

use std::net::IpAddr;

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, StatusCode};
use serde_json::json;

use super::problem::Problem;
use crate::{
    app::App,
    socket,
    tcp::{Peer, Wires},
};

/// Somebody who has no token yet.
pub async fn sign_in(State(app): State<App>, request: Request, next: Next) -> Result<Response, Problem> {
    app.limits.sign_in(address(request.headers(), request.extensions(), app.http.trusted_proxies))?;
    Ok(next.run(request).await)
}

/// Any request: it takes its place among all that are worked on, which grows with its body.
pub async fn work(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let work = app.limits.work(0)?;
    request.extensions_mut().insert(work.clone());
    let response = next.run(request).await;
    drop(work);
    Ok(response)
}

/// Socket.IO: new connections are counted, and sessions that have been ended are refused as Engine.IO refuses those that
/// it does not know, whereupon the client opens a new one.
pub async fn sockets(State((app, wires)): State<(App, Wires)>, request: Request, next: Next) -> Response {
    if !wires.admit(&request) {
        let refusal = json!({ "code": 1, "message": "Session ID unknown" });
        return (StatusCode::BAD_REQUEST, axum::Json(refusal)).into_response();
    }
    let new = request.uri().path().starts_with(socket::PATH)
        && !request.uri().query().unwrap_or_default().split('&').any(|pair| pair.starts_with("sid="));
    let address = address(request.headers(), request.extensions(), app.http.trusted_proxies);
    if new && let Err(refusal) = app.limits.connect(address) {
        return Problem::from(refusal).into_response();
    }
    next.run(request).await
}

/// The client's address.
pub fn address(headers: &HeaderMap, extensions: &Extensions, trusted_proxies: usize) -> Option<IpAddr> {
    let peer = || extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.addr.ip());
    forwarded_for(headers, trusted_proxies).or_else(peer)
}

/// The address that the outermost of our own proxies saw. What stands before it, anybody may have written.
fn forwarded_for(headers: &HeaderMap, trusted_proxies: usize) -> Option<IpAddr> {
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    let hops: Vec<_> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    let hop = hops.len().checked_sub(trusted_proxies).filter(|_| trusted_proxies > 0)?;
    hops[hop].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_proxies_are_believed() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "1.1.1.1, 2.2.2.2".parse().unwrap());
        headers.append("x-forwarded-for", "3.3.3.3".parse().unwrap());
        let seen = |proxies| forwarded_for(&headers, proxies).map(|address| address.to_string());
        assert_eq!(seen(0), None);
        assert_eq!(seen(1).as_deref(), Some("3.3.3.3"));
        assert_eq!(seen(2).as_deref(), Some("2.2.2.2"));
        assert_eq!(seen(4), None);
    }
}
