//! A Socket.IO server that does nothing but broadcast, set up as the gateway's is, in a process of its own.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    process::Command,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Router, serve::ListenerExt};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};
use testkit::process::{self, Output};
use tokio::{net::TcpListener, task::spawn_blocking};

use crate::{
    body,
    load::Room,
    processes::{Process, Processes},
};

/// The hidden subcommand that is this server.
pub const COMMAND: &str = "bare-server";
/// What it says before its address.
const LISTENING: &str = "listening on ";
const START_DEADLINE: Duration = Duration::from_secs(10);

/// As in the gateway's configuration.
const BUFFER: usize = 1024;
const PING_INTERVAL: Duration = Duration::from_secs(25);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The running process. It ends on drop.
pub struct Server {
    process: process::Process,
    pub url: String,
}

impl Server {
    pub async fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND);
        let (said, lines) = mpsc::channel();
        // Nobody listens any more once the address is known.
        let output = Output::Lines(Box::new(move |line| drop(said.send(line.to_owned()))));
        let process = process::Process::spawn(COMMAND, command, output)?;
        let line = spawn_blocking(move || lines.recv_timeout(START_DEADLINE)).await?.context("no address")?;
        let url = line.strip_prefix(LISTENING).with_context(|| format!("it says {line}"))?.to_owned();
        Ok(Self { process, url })
    }

    /// It and this program.
    pub fn processes(&self) -> Processes {
        Processes::and_this(vec![Process { name: "gateway".to_owned(), pid: self.process.pid() }])
    }
}

/// What a socket gives as its token so that it hears these rooms.
pub fn token<'a>(rooms: impl IntoIterator<Item = &'a Room>) -> String {
    rooms.into_iter().map(|room| room.id.as_str()).collect::<Vec<_>>().join(" ")
}

/// Room names with the number of their last message.
type Rooms = Arc<Mutex<HashMap<String, u64>>>;

#[derive(Deserialize)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    chat_id: String,
    client_id: String,
    text: String,
}

#[derive(Serialize)]
struct Ack {
    ok: bool,
    message: Box<RawValue>,
}

/// Serves until it is killed.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{LISTENING}http://{}", listener.local_addr()?);
    serve_on(listener).await
}

pub async fn serve_on(listener: TcpListener) -> Result<()> {
    let (layer, io) = SocketIo::builder()
        .req_path("/socket.io")
        .ws_read_buffer_size(1024)
        .max_buffer_size(BUFFER)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .build_layer();
    let (rooms, sockets) = (Rooms::default(), io.clone());
    io.ns("/", async move |socket: SocketRef, TryData(auth): TryData<Auth>| {
        if let Ok(Auth { token }) = auth {
            socket.join(token.split(' ').map(str::to_owned).collect::<Vec<_>>());
        }
        socket.on("message:send", async move |Data(message): Data<NewMessage>, ack: AckSender| {
            // A client that has gone does not wait for it.
            let _ = ack.send(&broadcast(&sockets, &rooms, &message));
        });
    });
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    Ok(axum::serve(listener, Router::new().layer(layer)).await?)
}

/// Gives a message to all of its room, in the order of their numbers.
fn broadcast(sockets: &SocketIo, rooms: &Rooms, message: &NewMessage) -> Option<Ack> {
    let NewMessage { chat_id, client_id, text } = message;
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    let seq = rooms.entry(chat_id.clone()).or_default();
    *seq += 1;
    let message = body::message(chat_id, *seq, client_id, text).ok()?;
    let at = json!({ "cursor": *seq, "prev": *seq - 1 });
    // The local adapter never waits; what a socket does not take shows as lost.
    let _ = sockets.within(chat_id.clone()).emit("message:new", &(&message, at)).now_or_never();
    Some(Ack { ok: true, message })
}
