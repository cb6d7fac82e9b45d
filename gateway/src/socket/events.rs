//! Events from clients. Each is acknowledged, whatever it carries.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use contract::{Code, Refusal, chat::ReceiptKind};
use futures::FutureExt;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use service::Trace;
use socketioxide::{
    ParserError, SendError, SocketError,
    extract::{AckSender, Event, SocketRef, TryData},
};
use tokio::time::Instant;

use super::{
    ack::{Ack, Nack},
    auth,
    connection::Connection,
    messages, presence, signals,
};
use crate::{app::App, parse::parse};

/// An event that has waited for longer behind those before it is refused: what is worked on is still waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SendMessage,
    EditMessage,
    DeleteMessage,
    AddReaction,
    RemoveReaction,
    Mark(ReceiptKind),
    Typing(bool),
    WatchPresence,
    UnwatchPresence,
    SetPresence,
    Sync,
    RefreshToken,
}

impl Kind {
    fn of(event: &str) -> Option<Self> {
        Some(match event {
            "message:send" => Self::SendMessage,
            "message:edit" => Self::EditMessage,
            "message:delete" => Self::DeleteMessage,
            "reaction:add" => Self::AddReaction,
            "reaction:remove" => Self::RemoveReaction,
            "message:delivered" => Self::Mark(ReceiptKind::Delivered),
            "message:read" => Self::Mark(ReceiptKind::Read),
            "typing:start" => Self::Typing(true),
            "typing:stop" => Self::Typing(false),
            "presence:subscribe" => Self::WatchPresence,
            "presence:unsubscribe" => Self::UnwatchPresence,
            "presence:set" => Self::SetPresence,
            "sync" => Self::Sync,
            "auth:refresh" => Self::RefreshToken,
            _ => return None,
        })
    }

    /// Whether it waits for those that the client sent before.
    fn in_order(self) -> bool {
        match self {
            Self::SendMessage
            | Self::EditMessage
            | Self::DeleteMessage
            | Self::AddReaction
            | Self::RemoveReaction
            | Self::Typing(_)
            | Self::WatchPresence
            | Self::UnwatchPresence
            | Self::SetPresence => true,
            // Receipts only move forward, in whatever order they come.
            Self::Mark(_) | Self::Sync | Self::RefreshToken => false,
        }
    }
}

/// Takes the events of a socket.
pub fn listen(socket: &SocketRef, app: App) {
    // `Box<RawValue>` takes the packet's whole array, `["event", payload, ...]`, unparsed.
    type Packet = TryData<Box<RawValue>>;
    let take = move |socket: SocketRef, Event(event): Event, TryData(packet): Packet, ack: AckSender| {
        let app = app.clone();
        // This much happens in the order in which packets come in; what is returned runs as a task of its own.
        let kind = Kind::of(&event);
        let connection = socket.extensions.get::<Arc<Connection>>();
        let admitted = match (&connection, &packet) {
            (None, _) => Err(Refusal::unauthenticated("This connection has ended.")),
            (Some(connection), packet) => {
                connection.admit(&app.limits, packet.as_ref().map_or(0, |json| json.get().len()))
            }
        };
        let turn = connection.as_ref().filter(|_| admitted.is_ok() && kind.is_some_and(Kind::in_order));
        let turn = turn.map(|connection| connection.line.turn());
        let work = app.work.clone();
        work.track_future(Trace::start().scope(async move {
            let outcome = match (kind, connection, admitted) {
                (None, ..) => Err(Refusal::new(Code::NotFound, "There is no such event.")),
                (_, _, Err(refusal)) => Err(refusal),
                (_, None, _) => Err(Refusal::internal()),
                (Some(kind), Some(connection), Ok(admitted)) => {
                    let (mut turn, came) = (turn, Instant::now());
                    if let Some(turn) = &mut turn {
                        turn.come().await;
                    }
                    let outcome = if came.elapsed() < PATIENCE {
                        guarded(&app, &socket, &connection, kind, packet).await
                    } else {
                        metrics::counter!("natter_limited_total", "limit" => "line").increment(1);
                        Err(Refusal::unavailable("Natter is busy; please try again in a moment."))
                    };
                    drop((turn, admitted));
                    outcome
                }
            };
            if answer(kind.map_or("none", |_| event.as_str()), &outcome, ack).is_err() {
                // Who does not take answers would wait for them for ever.
                app.rooms.part_with(socket);
                return;
            }
            if let Ok(Ack::Presence(answered)) = &outcome {
                app.watchers.catch_up(&socket, answered);
            }
        }))
    };
    socket.on_fallback(take);
}

/// A panic is a lost event, not a lost acknowledgement.
async fn guarded(
    app: &App,
    socket: &SocketRef,
    connection: &Connection,
    kind: Kind,
    packet: Result<Box<RawValue>, ParserError>,
) -> Result<Ack, Refusal> {
    let work = AssertUnwindSafe(carry_out(app, socket, connection, kind, packet));
    work.catch_unwind().await.unwrap_or_else(|_panic| {
        tracing::error!(event = ?kind, trace_id = Trace::current().id(), "an event's handler panicked");
        Err(Refusal::internal())
    })
}

/// The error is that the answer does not fit into the socket's buffer.
fn answer(event: &str, outcome: &Result<Ack, Refusal>, ack: AckSender) -> Result<(), ()> {
    let code = outcome.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
    metrics::counter!("natter_gateway_client_events_total", "event" => event.to_owned(), "code" => code).increment(1);
    let sent = match outcome {
        Ok(done) => ack.send(done),
        Err(refusal) => ack.send(&Nack::from(refusal.clone())),
    };
    match sent {
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(()),
        // A client that went away meanwhile needs no answer.
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn carry_out(
    app: &App,
    socket: &SocketRef,
    connection: &Connection,
    kind: Kind,
    packet: Result<Box<RawValue>, ParserError>,
) -> Result<Ack, Refusal> {
    // Also while the gateway stops: who is still connected is served until they are not.
    let actor = connection.actor();
    if app.revoked.contains(actor.session_id) {
        return Err(Refusal::unauthenticated("This session has ended; please sign in again."));
    }
    let packet = packet.map_err(|_| Refusal::new(Code::Invalid, "This is not JSON."))?;
    match kind {
        Kind::SendMessage => messages::send(app, actor, payload(&packet)?).await,
        Kind::EditMessage => messages::edit(app, actor, payload(&packet)?).await,
        Kind::DeleteMessage => messages::delete(app, actor, payload(&packet)?).await,
        Kind::AddReaction => messages::add_reaction(app, actor, payload(&packet)?).await,
        Kind::RemoveReaction => messages::remove_reaction(app, actor, payload(&packet)?).await,
        Kind::Mark(kind) => signals::mark(app, actor, kind, payload(&packet)?).await,
        Kind::Typing(typing) => signals::typing(app, actor, typing, payload(&packet)?).await,
        Kind::Sync => signals::sync(app, actor, payload(&packet)?).await,
        Kind::WatchPresence => presence::watch(app, socket.id, actor, payload(&packet)?).await,
        Kind::UnwatchPresence => Ok(presence::unwatch(app, socket.id, &payload(&packet)?)),
        Kind::SetPresence => Ok(presence::set(connection, &payload(&packet)?)),
        Kind::RefreshToken => auth::refresh_token(app, socket, connection, payload(&packet)?).await,
    }
}

/// The first argument of the event; more are ignored.
fn payload<T: DeserializeOwned>(packet: &RawValue) -> Result<T, Refusal> {
    let arguments: Vec<&RawValue> =
        serde_json::from_str(packet.get()).map_err(|_| Refusal::new(Code::Invalid, "This is not JSON."))?;
    let payload = arguments.get(1).ok_or_else(|| Refusal::new(Code::Invalid, "The event needs a payload."))?;
    Ok(parse(payload.get().as_bytes())?)
}
