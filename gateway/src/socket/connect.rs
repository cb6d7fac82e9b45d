//! A client connects: its token is verified, and it is in all of its chats before it hears that it is connected.

use std::sync::Arc;

use contract::{Code, Refusal, presence::Availability};
use serde_json::{Map, Value};
use service::Trace;
use socketioxide::{
    SocketIo,
    extract::{SocketRef, TryData},
    handler::ConnectHandler,
    socket::Sid,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{connection::Connection, events, farewell};
use crate::app::App;

/// The client's `auth`; a map, because serde would also take an array for a struct.
struct Auth {
    token: String,
    /// What the person wants to be seen as from the first moment on.
    status: Availability,
}

impl TryFrom<Map<String, Value>> for Auth {
    type Error = Code;

    fn try_from(mut auth: Map<String, Value>) -> Result<Self, Code> {
        let Some(Value::String(token)) = auth.remove("token") else { return Err(Code::Unauthenticated) };
        let status = auth.remove("status").filter(|status| !status.is_null()).map(serde_json::from_value);
        Ok(Self { token, status: status.transpose().map_err(|_| Code::Invalid)?.unwrap_or_default() })
    }
}

/// Opens the namespace `/`.
pub fn open(io: &SocketIo, app: App) {
    let (at_the_door, sockets) = (app.clone(), io.clone());
    let connected = async move |socket: SocketRef| connected(socket, app, sockets).await;
    // The message of a `connect_error` is the refusal's code.
    let admit = async move |socket: SocketRef, TryData(auth): TryData<Map<String, Value>>| -> Result<(), Code> {
        let auth = Auth::try_from(auth.map_err(|_| Code::Unauthenticated)?)?;
        let outcome = Trace::start().scope(admit(&at_the_door, socket, auth)).await;
        let code = outcome.as_ref().map_or_else(|refusal| refusal.code.as_str(), |()| "ok");
        metrics::counter!("natter_gateway_connections_total", "code" => code).increment(1);
        outcome.map_err(|refusal| refusal.code)
    };
    io.ns("/", connected.with(admit));
}

async fn admit(app: &App, socket: SocketRef, auth: Auth) -> Result<(), Refusal> {
    if app.soft.is_cancelled() {
        return Err(Refusal::unavailable("This gateway stops; please connect again."));
    }
    let verified = app.identity.verify(&auth.token).await?;
    let seat = app.limits.seat(app.rooms.sockets_of(verified.actor.user_id))?;
    let turn = app.limits.catch_up().await?;
    let place = app.rooms.admit(socket.id, verified.actor.user_id, verified.actor.session_id).await?;
    drop(turn);
    app.rooms.settle(&socket);
    let device = app.presence.arrive(verified.actor.user_id, auth.status);
    socket.extensions.insert(Connection::new(verified, app, socket.id, device, place, seat));
    events::listen(&socket, app.clone());
    Ok(())
}

/// Lives as long as the socket does, without keeping it alive.
async fn connected(socket: SocketRef, app: App, io: SocketIo) {
    let Some(connection) = socket.extensions.get::<Arc<Connection>>() else { return };
    app.rooms.settle(&socket);
    if app.revoked.contains(connection.actor().session_id) {
        return farewell(socket, "session:revoked");
    }
    let (sid, expires) = (socket.id, connection.expires());
    drop((socket, connection));
    expire(&io, sid, expires).await;
}

/// Disconnects the socket when its token has expired, unless it was prolonged.
async fn expire(io: &SocketIo, sid: Sid, mut expires: watch::Receiver<Instant>) {
    loop {
        let deadline = *expires.borrow_and_update();
        tokio::select! {
            changed = expires.changed() => if changed.is_err() { return },
            () = sleep_until(deadline) => break,
        }
    }
    if let Some(socket) = io.of("/").and_then(|sockets| sockets.get_socket(sid)) {
        farewell(socket, "session:expired");
    }
}
