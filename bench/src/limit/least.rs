//! The least chat that the same parts make: servers of Socket.IO that append to the log themselves, at the fence they have
//! heard of, and tell their sockets what NATS republishes. Nobody's rights are looked at; there are no calls, no archive,
//! no notifications and no limits. What Natter costs beyond this is what it does besides.

use std::{
    collections::HashMap,
    env, fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_nats::{
    HeaderValue, Message, Subscriber,
    jetstream::{
        self,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use contract::{
    ChatId, headers,
    room::{self, RoomEvent},
    storage::log_subject,
};
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
};
use tokio::time::sleep;

use super::{
    nats::{self, Nats},
    server::{self, Ack, NewMessage, Server},
};
use crate::{
    body,
    load::{self, Room, Seat, Shape},
    processes::Processes,
    target::System,
};

/// The hidden subcommand that is such a server.
pub const COMMAND: &str = "least-chat";
/// Where it finds NATS.
const PORT: &str = "LEAST_CHAT_NATS_PORT";
/// The services whose rights it has, with the variables of their passwords.
const PASSWORDS: [(&str, &str); 2] = [("chat", "LEAST_CHAT_PASSWORD"), ("gateway", "LEAST_CHAT_GATEWAY_PASSWORD")];
/// Who has lost a race looks again after this.
const AGAIN: Duration = Duration::from_millis(1);

/// What it manages.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Least {
    sends_per_second: f64,
    /// CPU time in microseconds, without this program's.
    cpu_per_message: Option<f64>,
    /// How much of it the system reached.
    ratio: f64,
}

impl Least {
    pub fn compared(outcome: &load::Outcome, reached: f64) -> Self {
        let sends_per_second = outcome.sends_per_second;
        Self { sends_per_second, cpu_per_message: outcome.cpu_per_message, ratio: reached / sends_per_second }
    }
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the least chat of the same parts: {:.0} sends/s", self.sends_per_second)?;
        if let Some(cpu) = self.cpu_per_message {
            write!(f, ", {cpu:.1} us of CPU per message")?;
        }
        write!(f, "; ratio to it {:.2}", self.ratio)
    }
}

/// Gives as many of them as the system has gateways the same load, in new chats.
pub async fn run(system: &System, seats: &[Seat], rooms: &[Room], shape: Shape) -> Result<load::Outcome> {
    let nats = Nats::like(system).await?.with_streams().await?;
    let mut servers = Vec::new();
    for _ in &system.gateways {
        let passwords = PASSWORDS.map(|(service, variable)| (variable, nats.password_of(service).to_owned()));
        servers.push(Server::start_as(COMMAND, passwords.into_iter().chain([(PORT, nats.port().to_string())])).await?);
    }
    let new = |room: &Room| Room { id: ChatId::new().to_string(), last_seq: 0, ..room.clone() };
    let rooms: Vec<_> = rooms.iter().map(new).collect();
    let mut heard = vec![Vec::new(); seats.len()];
    for room in &rooms {
        room.sockets.iter().for_each(|socket| heard[*socket].push(room));
    }
    let seat = |(seat, rooms): (&Seat, Vec<&Room>)| {
        let place = system.gateways.iter().position(|gateway| *gateway == seat.gateway).unwrap_or_default();
        Seat { gateway: servers[place].url.clone(), token: server::token(rooms) }
    };
    let seats: Vec<_> = seats.iter().zip(heard).map(seat).collect();
    let gateways = servers.iter().enumerate().map(|(place, server)| server.process(format!("gw-{place}")));
    let processes = Processes::and_this(gateways.chain([nats.process()]).collect());
    let outcome = load::run(&seats, rooms, shape, &processes).await?.measured()?;
    ensure!(outcome.is_sound(), "the least chat is wrong: {outcome}");
    Ok(outcome)
}

/// A chat's last event, as far as heard: its place in the stream and its number.
type Heard = Arc<Mutex<HashMap<ChatId, (u64, u64)>>>;

#[derive(Clone)]
struct Chats {
    jetstream: jetstream::Context,
    heard: Heard,
}

/// Serves until it is killed.
pub async fn serve() -> Result<()> {
    let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let port = variable(PORT)?.parse()?;
    let [appends, hears] = PASSWORDS.map(|(service, password)| Ok::<_, anyhow::Error>((service, variable(password)?)));
    let ((appends, appends_with), (hears, hears_with)) = (appends?, hears?);
    let jetstream = jetstream::new(nats::connect(port, appends, &appends_with).await?);
    let rooms = nats::connect(port, hears, &hears_with).await?;
    let events = rooms.subscribe("room.>").await?;
    rooms.flush().await?;

    let chats = Chats { jetstream, heard: Heard::default() };
    let (layer, io) = server::build();
    tokio::spawn(tell(events, io.clone(), chats.heard.clone()));
    io.ns("/", async move |socket: SocketRef, auth| {
        server::join(&socket, auth);
        socket.on("message:send", async move |Data(message): Data<NewMessage>, ack: AckSender| {
            match chats.append(&message).await {
                // A client that has gone does not wait for it.
                Ok(message) => drop(ack.send(&Ack { ok: true, message })),
                Err(error) => eprintln!("{COMMAND}: {error:#}"),
            }
        });
    });
    server::answer(server::listen().await?, layer).await
}

impl Chats {
    /// Appends where the chat's log ends, with what `chat` gives an event.
    async fn append(&self, new: &NewMessage) -> Result<Box<RawValue>> {
        let NewMessage { chat_id, client_id, text } = new;
        let chat: ChatId = chat_id.parse().ok().context("no chat")?;
        loop {
            let (fence, number) = last(&self.heard, chat);
            let body = body::message(chat_id, number + 1, client_id, text)?;
            let message = PublishMessage::build()
                .payload(Bytes::from(body.get().to_owned()))
                .header(headers::EVENT, "message:new")
                .header(headers::EVENT_NUMBER, (number + 1).to_string())
                .header(headers::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
                .message_id(format!("{chat_id}.{client_id}"))
                .expected_last_subject_sequence(fence);
            match self.publish(chat, message).await {
                Ok(cursor) => {
                    hear(&self.heard, chat, (cursor, number + 1));
                    return Ok(body);
                }
                // The other server has not told us yet of what it appended.
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => sleep(AGAIN).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn publish(&self, chat: ChatId, message: PublishMessage) -> Result<u64, PublishError> {
        Ok(self.jetstream.send_publish(log_subject(chat), message).await?.await?.sequence)
    }
}

fn last(heard: &Heard, chat: ChatId) -> (u64, u64) {
    heard.lock().unwrap_or_else(PoisonError::into_inner).get(&chat).copied().unwrap_or_default()
}

fn hear(heard: &Heard, chat: ChatId, event: (u64, u64)) {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let last = heard.entry(chat).or_default();
    *last = event.max(*last);
}

/// Tells sockets of all that is appended.
async fn tell(mut events: Subscriber, sockets: SocketIo, heard: Heard) {
    while let Some(message) = events.next().await {
        if tell_of(&message, &sockets, &heard).is_none() {
            eprintln!("{COMMAND}: {} is no event", message.subject);
        }
    }
}

fn tell_of(message: &Message, sockets: &SocketIo, heard: &Heard) -> Option<()> {
    let (chat, RoomEvent::Log) = room::parse(&message.subject)? else { return None };
    let number = |name: &str| message.headers.as_ref()?.get(name).map(HeaderValue::as_str)?.parse::<u64>().ok();
    let (cursor, prev) = (number("Nats-Sequence")?, number("Nats-Last-Sequence")?);
    hear(heard, chat, (cursor, number(headers::EVENT_NUMBER)?));
    let body: &RawValue = serde_json::from_slice(&message.payload).ok()?;
    let at = json!({ "cursor": cursor, "prev": prev });
    // The local adapter never waits; what a socket does not take shows as lost.
    let _ = sockets.within(chat.to_string()).emit("message:new", &(body, at)).now_or_never();
    Some(())
}
