//! Events from clients. Each is acknowledged, whatever it carries.

use std::{panic::AssertUnwindSafe, sync::Arc};

use contract::{
    Actor, ChatId, Code, Refusal, UserId,
    chat::{AddReaction, DeleteMessage, EditMessage, MAX_SYNC, NewMessage, RemoveReaction, SendMessage, Sync},
    event::{Cursor, Seq},
    text::{Emoji, MessageText},
};
use futures::FutureExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use service::Trace;
use socketioxide::{
    ParserError,
    extract::{AckSender, Event, SocketRef, TryData},
};

use super::{
    ack::{Ack, Nack},
    connection::Connection,
};
use crate::{app::App, parse::parse};

/// What clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SendMessage,
    EditMessage,
    DeleteMessage,
    AddReaction,
    RemoveReaction,
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
            "sync" => Self::Sync,
            "auth:refresh" => Self::RefreshToken,
            _ => return None,
        })
    }

    /// Whether it waits for those that the client sent before.
    fn in_order(self) -> bool {
        match self {
            Self::SendMessage | Self::EditMessage | Self::DeleteMessage | Self::AddReaction | Self::RemoveReaction => {
                true
            }
            Self::Sync | Self::RefreshToken => false,
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
        let permit = connection.as_ref().and_then(|connection| connection.line.permit());
        let turn = connection.as_ref().filter(|_| permit.is_some() && kind.is_some_and(Kind::in_order));
        let turn = turn.map(|connection| connection.line.turn());
        let work = app.work.clone();
        work.track_future(Trace::start().scope(async move {
            let outcome = match (kind, connection, permit) {
                (None, ..) => Err(Refusal::new(Code::NotFound, "There is no such event.")),
                (_, None, _) => Err(Refusal::unauthenticated("This connection has ended.")),
                (_, _, None) => Err(Refusal::rate_limited(std::time::Duration::from_secs(1))),
                (Some(kind), Some(connection), Some(permit)) => {
                    let mut turn = turn;
                    if let Some(turn) = &mut turn {
                        turn.come().await;
                    }
                    let outcome = guarded(&app, &socket, &connection, kind, packet).await;
                    drop((turn, permit));
                    outcome
                }
            };
            answer(kind.map_or("none", |_| event.as_str()), outcome, ack);
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

fn answer(event: &str, outcome: Result<Ack, Refusal>, ack: AckSender) {
    let code = outcome.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
    metrics::counter!("natter_gateway_client_events_total", "event" => event.to_owned(), "code" => code).increment(1);
    // A client that went away meanwhile needs no answer.
    let _ = match outcome {
        Ok(done) => ack.send(&done),
        Err(refusal) => ack.send(&Nack::from(refusal)),
    };
}

async fn carry_out(
    app: &App,
    socket: &SocketRef,
    connection: &Connection,
    kind: Kind,
    packet: Result<Box<RawValue>, ParserError>,
) -> Result<Ack, Refusal> {
    if app.soft.is_cancelled() {
        return Err(Refusal::unavailable("This gateway stops; please try again."));
    }
    let actor = connection.actor();
    if app.revoked.contains(actor.session_id) {
        return Err(Refusal::unauthenticated("This session has ended; please sign in again."));
    }
    let packet = packet.map_err(|_| Refusal::new(Code::Invalid, "This is not JSON."))?;
    match kind {
        Kind::SendMessage => send(app, actor, payload(&packet)?).await,
        Kind::EditMessage => edit(app, actor, payload(&packet)?).await,
        Kind::DeleteMessage => delete(app, actor, payload(&packet)?).await,
        Kind::AddReaction => add_reaction(app, actor, payload(&packet)?).await,
        Kind::RemoveReaction => remove_reaction(app, actor, payload(&packet)?).await,
        Kind::Sync => sync(app, actor, payload(&packet)?).await,
        Kind::RefreshToken => refresh_token(app, socket, connection, payload(&packet)?).await,
    }
}

/// The first argument of the event; more are ignored.
fn payload<T: DeserializeOwned>(packet: &RawValue) -> Result<T, Refusal> {
    let arguments: Vec<&RawValue> =
        serde_json::from_str(packet.get()).map_err(|_| Refusal::new(Code::Invalid, "This is not JSON."))?;
    let payload = arguments.get(1).ok_or_else(|| Refusal::new(Code::Invalid, "The event needs a payload."))?;
    Ok(parse(payload.get().as_bytes())?)
}

async fn send(app: &App, actor: Actor, message: NewMessage) -> Result<Ack, Refusal> {
    Ok(Ack::Sent(app.calls.idempotent(&SendMessage { actor, message }).await?.message))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edit {
    chat_id: ChatId,
    seq: Seq,
    text: MessageText,
    #[serde(default)]
    mentions: Vec<UserId>,
}

async fn edit(app: &App, actor: Actor, edit: Edit) -> Result<Ack, Refusal> {
    let Edit { chat_id, seq, text, mentions } = edit;
    Ok(Ack::Message(Box::new(app.calls.call(&EditMessage { actor, chat_id, seq, text, mentions }).await?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfMessage {
    chat_id: ChatId,
    seq: Seq,
}

async fn delete(app: &App, actor: Actor, OfMessage { chat_id, seq }: OfMessage) -> Result<Ack, Refusal> {
    Ok(Ack::Message(Box::new(app.calls.call(&DeleteMessage { actor, chat_id, seq }).await?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct React {
    chat_id: ChatId,
    seq: Seq,
    emoji: Emoji,
}

async fn add_reaction(app: &App, actor: Actor, React { chat_id, seq, emoji }: React) -> Result<Ack, Refusal> {
    Ok(Ack::Message(Box::new(app.calls.call(&AddReaction { actor, chat_id, seq, emoji }).await?)))
}

async fn remove_reaction(app: &App, actor: Actor, React { chat_id, seq, emoji }: React) -> Result<Ack, Refusal> {
    Ok(Ack::Message(Box::new(app.calls.call(&RemoveReaction { actor, chat_id, seq, emoji }).await?)))
}

#[derive(Deserialize)]
struct Cursors {
    chats: std::collections::BTreeMap<ChatId, Cursor>,
}

async fn sync(app: &App, actor: Actor, Cursors { chats }: Cursors) -> Result<Ack, Refusal> {
    if chats.len() > MAX_SYNC {
        return Err(Refusal::field("chats", format!("must be at most {MAX_SYNC}")));
    }
    Ok(Ack::Synced(app.calls.idempotent(&Sync { actor, chats }).await?.chats))
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

async fn refresh_token(
    app: &App,
    socket: &SocketRef,
    connection: &Connection,
    Token { token }: Token,
) -> Result<Ack, Refusal> {
    let verified = app.identity.verify(&token).await?;
    if verified.actor.user_id != connection.actor().user_id {
        return Err(Refusal::forbidden("This is another user's token."));
    }
    connection.renew(verified);
    app.rooms.change_session(socket.id, verified.actor.session_id);
    Ok(Ack::Done)
}
