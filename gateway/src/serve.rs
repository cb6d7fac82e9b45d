//! The public port: HTTP/1.1 connections with a deadline for each request's head, until the stop.

use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use service::{Lifecycle, StartError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::tcp::{Listener, Peer, Stream};

/// At the stop, requests have this long to be answered: less than the lifecycle's deadline, for a client that never ends
/// its request is no fault of ours.
const ANSWER: Duration = Duration::from_secs(7);
/// TCP connections for each socket that there is room for: a client may poll, or ask REST beside its socket.
const CONNECTIONS_PER_SOCKET: usize = 2;

/// What connections are served with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub listen: SocketAddr,
    /// Sockets that there is room for.
    pub sockets: usize,
    /// From the end of a request to that of the next one's head.
    pub head_timeout: Duration,
}

/// Serves in the background until the soft stop; answers where.
pub async fn serve(options: Options, router: Router, lifecycle: &Lifecycle) -> Result<SocketAddr, StartError> {
    let connections = options.sockets.saturating_mul(CONNECTIONS_PER_SOCKET);
    let listener = Listener::bind(options.listen, connections).await;
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (addr, listener) = bound.map_err(|error| StartError::Listen(options.listen, error))?;
    let soft = lifecycle.soft().clone();
    lifecycle.keep("http", async move {
        let connections = TaskTracker::new();
        while let Some((stream, peer)) = soft.run_until_cancelled(listener.accept()).await {
            connections.spawn(converse(stream, peer, router.clone(), options.head_timeout, soft.clone()));
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(ANSWER, connections.wait()).await.is_err() {
            tracing::warn!("some requests were not answered before the stop");
        }
    });
    Ok(addr)
}

/// One connection, until it becomes a WebSocket, its client leaves, or the stop: then after what has been asked is answered.
async fn converse(stream: Stream, peer: Peer, router: Router, head_timeout: Duration, soft: CancellationToken) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle");
    }
}
