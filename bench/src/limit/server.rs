//! A Socket.IO server that does nothing but broadcast, set up as the gateway's is, in a process of its own.

use std::{
    collections::HashMap,
    ffi::OsStr,
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
    layer::SocketIoLayer,
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
        Self::start_as(COMMAND, std::iter::empty::<(&str, &str)>()).await
    }

    /// Another of this program's servers, with these variables in its environment.
    pub async fn start_as(
        subcommand: &'static str,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(subcommand).envs(variables);
        let (said, lines) = mpsc::channel();
        // Nobody listens any more once the address is known.
        let output = Output::Lines(Box::new(move |line| drop(said.send(line.to_owned()))));
        let process = process::Process::spawn(subcommand, command, output)?;
        let line = spawn_blocking(move || lines.recv_timeout(START_DEADLINE)).await?.context("no address")?;
        let url = line.strip_prefix(LISTENING).with_context(|| format!("it says {line}"))?.to_owned();
        Ok(Self { process, url })
    }

    /// It and this program.
    pub fn processes(&self) -> Processes {
        Processes::and_this(vec![self.process("gateway".to_owned())])
    }

    pub fn process(&self, name: String) -> Process {
        Process { name, pid: self.process.pid() }
    }
}

/// What a socket gives as its token so that it hears these rooms.
pub fn token<'a>(rooms: impl IntoIterator<Item = &'a Room>) -> String {
    rooms.into_iter().map(|room| room.id.as_str()).collect::<Vec<_>>().join(" ")
}

/// Room names with the number of their last message.
type Rooms = Arc<Mutex<HashMap<String, u64>>>;

#[derive(Deserialize)]
pub struct Auth {
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage {
    pub chat_id: String,
    pub client_id: String,
    pub text: String,
}

#[derive(Serialize)]
pub struct Ack {
    pub ok: bool,
    pub message: Box<RawValue>,
}

/// Serves until it is killed.
pub async fn serve() -> Result<()> {
    let (listener, (layer, io)) = (listen().await?, build());
    broadcast_on(&io);
    answer(listener, layer).await
}

/// A port of its own, told to who has started it.
pub async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{LISTENING}http://{}", listener.local_addr()?);
    Ok(listener)
}

/// Set up as the gateway's is.
pub fn build() -> (SocketIoLayer, SocketIo) {
    SocketIo::builder()
        .req_path("/socket.io")
        .ws_read_buffer_size(1024)
        .max_buffer_size(BUFFER)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .build_layer()
}

pub async fn answer(listener: TcpListener, layer: SocketIoLayer) -> Result<()> {
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    Ok(axum::serve(listener, Router::new().layer(layer)).await?)
}

/// Puts a socket into the rooms that it came for.
pub fn join(socket: &SocketRef, TryData(auth): TryData<Auth>) {
    if let Ok(Auth { token }) = auth {
        socket.join(token.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
}

pub fn broadcast_on(io: &SocketIo) {
    let (rooms, sockets) = (Rooms::default(), io.clone());
    io.ns("/", async move |socket: SocketRef, auth: TryData<Auth>| {
        join(&socket, auth);
        socket.on("message:send", async move |Data(message): Data<NewMessage>, ack: AckSender| {
            // A client that has gone does not wait for it.
            let _ = ack.send(&broadcast(&sockets, &rooms, &message));
        });
    });
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
