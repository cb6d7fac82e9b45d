//! The edge: REST and Socket.IO for frontends, calls over NATS behind it, and the bridge between rooms and sockets.

mod app;
mod calls;
mod config;
mod http;
mod identity;
mod limits;
mod parse;
mod presence;
mod revoked;
mod rooms;
mod serve;
mod socket;
mod tcp;

use std::{net::SocketAddr, time::Duration};

use contract::storage::CHAT_STREAMS;
use service::{Lifecycle, Service, StartError, StopError};
use socketioxide::SocketIo;
use tokio_util::task::TaskTracker;

use crate::{
    app::{App, Parts},
    calls::Calls,
    identity::Identity,
    limits::Limits,
    presence::{Presence, Watchers},
    revoked::Revoked,
    rooms::Rooms,
    tcp::Wires,
};
pub use config::{Config, HttpConfig, LimitsConfig, SocketConfig};

/// When the gateway stops, events of sockets that are being worked on have this long to be acknowledged.
const FINISH: Duration = Duration::from_secs(5);

/// The streams that republish what rooms, people and those who watch presence are told, besides those of chats.
const REPUBLISHING: [&str; 4] = ["KV_MEMBERS", "KV_READS", "KV_TYPING", "KV_PRESENCE"];

/// A running gateway.
pub struct Gateway {
    service: Service,
    addr: SocketAddr,
}

impl Gateway {
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let service = Service::start("gateway", &config.common).await?;
        let (lifecycle, readiness) = (service.lifecycle().clone(), service.readiness().clone());
        service.nats().follow_leaders(CHAT_STREAMS.into_iter().chain(REPUBLISHING), &lifecycle);
        let calls = Calls::new(service.caller());
        let (layer, io) = socket::build(&config.socket);
        let wires = Wires::default();
        let rooms = Rooms::new(service.nats().clone(), calls.clone(), io.clone(), wires.clone());
        let presence = Presence::default();
        presence.keep(service.nats(), &lifecycle, &readiness);
        let watchers = Watchers::new(io.clone(), calls.clone(), rooms.clone());
        watchers.follow(service.nats(), &lifecycle);

        let revoked = Revoked::default();
        let expel = rooms.clone();
        revoked.follow(service.nats(), &lifecycle, &readiness, move |session| expel.expel(session));
        let identity = Identity::new(calls.clone(), revoked.clone());
        identity.keep_keys(&lifecycle, &readiness);

        let limits = Limits::new(&config.limits);
        limits.keep(&lifecycle);
        let options = serve::Options {
            listen: config.http.listen,
            sockets: config.limits.sockets,
            head_timeout: Duration::from_secs(config.http.head_timeout),
        };
        let app = App::new(Parts {
            calls,
            identity,
            revoked,
            rooms,
            presence,
            watchers,
            limits,
            http: config.http,
            socket: config.socket,
            work: TaskTracker::new(),
            soft: lifecycle.soft().clone(),
        });
        socket::open(&io, app.clone());
        let (work, presence) = (app.work.clone(), app.presence.clone());
        let addr = serve::serve(options, http::router(app, layer, wires), &lifecycle).await?;
        close_sockets_at_stop(io, work, presence, &lifecycle);
        service.endpoints(()).open().await?;
        service.started();
        tracing::info!(%addr, "REST and Socket.IO are served");
        Ok(Self { service, addr })
    }

    /// Where REST and Socket.IO are served.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.service.admin_addr()
    }

    /// To stop it, or to wait until it is ready.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    pub async fn run_until_stopped(self) -> Result<(), StopError> {
        self.service.run_until_stopped().await
    }
}

/// At the stop, what clients are waiting for is finished, then their connections are closed, so that they go elsewhere.
fn close_sockets_at_stop(io: SocketIo, work: TaskTracker, presence: Presence, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft().clone();
    lifecycle.keep("sockets", async move {
        soft.cancelled().await;
        work.close();
        let _ = tokio::time::timeout(FINISH, work.wait()).await;
        // A client that reads nothing any more is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), io.close()).await;
        presence.all_closed();
    });
}
