//! A run: people, chats and sockets, load for a time, and waiting for what is still under way.

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, value_parser};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    client::{self, Packet, Sender},
    latency::Window,
    ledger::{Ledger, MEMBERS},
    people::{self, Person},
    report::Report,
    target::{System, Target},
};

/// An answer that has not come by then does not hold up its place any longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A refused sender waits this long, so that refusals do not become the load.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// What is not there so long after the last send is missing.
const DRAIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// People who sign up, in turn at each of the gateways
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(2..))]
    people: u16,
    /// Direct chats, each between two gateways; everybody is in one before somebody is in two
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u16).range(1..))]
    chats: u16,
    /// Messages of each chat that await their acknowledgement at a time; the next is sent when one is acknowledged
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Messages per second in all chats together, sent whether or not earlier ones are answered (then --in-flight says
    /// nothing); times are counted from when a message was to be sent
    #[arg(long)]
    rate: Option<NonZeroU64>,
    /// Seconds that count; access tokens live for 15 minutes
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before them that do not count
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(..=120))]
    warm_up: u64,
    /// Characters of each message
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u16).range(1..=8000))]
    text: u16,
}

/// Loads the system with messages and says what became of them. The error is that there was nothing to measure.
pub async fn send(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = people::sign_up(&system.gateways, &system.mail, options.people.into()).await?;
    let chats = people::open_chats(&system.gateways, &people, options.chats.into()).await?;
    let chats = Arc::new(Chats::new(chats, options.text.into()));
    // After the chats: a socket is in all of them from its first moment.
    let (senders, connections) = connect(&system, &people, &chats).await?;

    let start = Instant::now();
    let window = Window::after(start, options.warm_up, options.seconds);
    let processes = tokio::spawn(system.processes.clone().during(window));
    let senders = Arc::new(senders);
    let load = Load { chats: Arc::clone(&chats), senders: Arc::clone(&senders) };
    match options.rate {
        Some(rate) => spawn_blocking(move || load.at_rate(rate, start, window.to)).await?,
        None => load.in_turn(options.in_flight, window.to).await,
    }
    // A connection ends when its sender is gone: not before the last answers are in.
    drain(&chats).await;
    drop(senders);

    let ended = join_all(connections).await;
    let ended = ended.into_iter().filter_map(|end| end.map_err(anyhow::Error::from).flatten().err());
    let disconnected = ended.map(|reason| format!("{reason:#}")).collect();
    let report = Report::new(
        options.clone(),
        window,
        chats.all.iter().map(|chat| chat.ledger()),
        disconnected,
        processes.await?,
    );
    ensure!(report.has_acknowledged(), "no message was acknowledged: {report}");
    Ok(report)
}

/// A socket for everybody.
async fn connect(
    system: &System,
    people: &[Person],
    chats: &Arc<Chats>,
) -> Result<(Vec<Sender>, Vec<JoinHandle<Result<()>>>)> {
    let mut senders = Vec::with_capacity(people.len());
    let mut connections = Vec::with_capacity(people.len());
    for (index, person) in people.iter().enumerate() {
        let chats = Arc::clone(chats);
        let incoming = move |packet: Packet<'_>, now| chats.receive(index, &packet, now);
        let (sender, connection) = client::connect(&system.gateways[person.gateway], &person.token, incoming).await?;
        senders.push(sender);
        connections.push(connection);
    }
    Ok((senders, connections))
}

/// Until everything is accounted for, or given up.
async fn drain(chats: &Chats) {
    let settled = async {
        while !chats.all.iter().all(|chat| chat.ledger().is_settled()) {
            sleep(LOOK_AGAIN).await;
        }
    };
    // What is missing then is for the report.
    let _ = timeout(DRAIN, settled).await;
}

struct Chat {
    id: String,
    /// By their place among all people.
    members: [usize; MEMBERS],
    ledger: Mutex<Ledger>,
}

impl Chat {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Chats {
    all: Vec<Chat>,
    by_id: HashMap<String, usize>,
    text: String,
}

/// What is sent. The number of the message in its chat is its `clientId`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage<'a> {
    chat_id: &'a str,
    client_id: String,
    text: &'a str,
}

/// What is read of a `message:new`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arrival<'a> {
    chat_id: &'a str,
    seq: u64,
    client_id: &'a str,
}

/// What is read of an acknowledgement.
#[derive(Deserialize)]
struct Ack<'a> {
    message: Option<Stored>,
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    code: &'a str,
}

impl Chats {
    fn new(opened: Vec<people::Chat>, text: usize) -> Self {
        let by_id = opened.iter().enumerate().map(|(index, chat)| (chat.id.clone(), index)).collect();
        let chat = |people::Chat { id, last_seq, members }| Chat { id, members, ledger: Ledger::new(last_seq).into() };
        Self { all: opened.into_iter().map(chat).collect(), by_id, text: "x".repeat(text) }
    }

    /// Takes what came on a person's socket.
    fn receive(&self, person: usize, packet: &Packet<'_>, now: Instant) -> Result<()> {
        match packet {
            Packet::Event(event) => self.arrived(person, event, now).with_context(|| format!("event {event}")),
            Packet::Ack { id, args } => self.answered(*id, args, now).with_context(|| format!("answer {args}")),
            _ => Ok(()),
        }
    }

    fn arrived(&self, person: usize, event: &str, now: Instant) -> Result<()> {
        let arguments: Vec<&RawValue> = serde_json::from_str(event)?;
        let [name, message, ..] = arguments[..] else { return Ok(()) };
        if name.get() != r#""message:new""# {
            return Ok(());
        }
        let Arrival { chat_id, seq, client_id } = serde_json::from_str(message.get())?;
        let chat = self.by_id.get(chat_id).map(|index| &self.all[*index]).context("not one of our chats")?;
        let member = chat.members.iter().position(|member| *member == person).context("not to a member")?;
        chat.ledger().arrived(member, seq, client_id.parse().ok(), now);
        Ok(())
    }

    fn answered(&self, id: u64, args: &str, now: Instant) -> Result<()> {
        let (chat, number) = self.message_of(usize::try_from(id)?);
        let [Ack { message, error }] = serde_json::from_str(args)?;
        match (message, error) {
            (Some(Stored { seq }), None) => chat.ledger().accepted(number, seq, now),
            (_, error) => chat.ledger().refused(number, error.context("neither a message nor an error")?.code),
        }
        Ok(())
    }

    /// The number of a message among those of all chats: what it is acknowledged under.
    fn ack_id(&self, chat: usize, number: usize) -> usize {
        number * self.all.len() + chat
    }

    fn message_of(&self, ack_id: usize) -> (&Chat, usize) {
        (&self.all[ack_id % self.all.len()], ack_id / self.all.len())
    }
}

#[derive(Clone)]
struct Load {
    chats: Arc<Chats>,
    /// Of each person.
    senders: Arc<Vec<Sender>>,
}

impl Load {
    /// Closed loop: as fast as answers come, with so many messages of each chat in flight.
    async fn in_turn(self, in_flight: u16, end: Instant) {
        let mut places = JoinSet::new();
        for chat in 0..self.chats.all.len() {
            for _ in 0..in_flight {
                let load = self.clone();
                places.spawn(async move {
                    while Instant::now() < end {
                        let answer = load.send(chat, Instant::now());
                        if let Ok(Ok(false) | Err(_)) = timeout(PATIENCE, answer).await {
                            sleep(AFTER_REFUSAL).await;
                        }
                    }
                });
            }
        }
        places.join_all().await;
    }

    /// Open loop: so many per second, whatever becomes of them. Blocks, as a thread's sleep is more exact than tokio's.
    fn at_rate(self, rate: NonZeroU64, start: Instant, end: Instant) {
        for (number, chat) in (0..).zip((0..self.chats.all.len()).cycle()) {
            let intended = start + Duration::from_nanos(1_000_000_000 * number / rate);
            if intended >= end {
                return;
            }
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            // Its answer finds its way into the ledger.
            drop(self.send(chat, intended));
        }
    }

    /// Sends a message; the receiver hears whether it was accepted.
    fn send(&self, chat: usize, intended: Instant) -> oneshot::Receiver<bool> {
        let Chat { id, members, .. } = &self.chats.all[chat];
        let (number, sender, answer) = self.chats.all[chat].ledger().begin(intended);
        let message = NewMessage { chat_id: id, client_id: number.to_string(), text: &self.chats.text };
        let ack = self.chats.ack_id(chat, number) as u64;
        let sent = client::event(ack, "message:send", &message);
        if sent.and_then(|packet| self.senders[members[sender]].send(packet)).is_err() {
            self.chats.all[chat].ledger().refused(number, "disconnected");
        }
        answer
    }
}
