//! A client that follows its chats: it keeps cursors, and after a connection that was cut it catches up.

mod inbox;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    client::{self, Nack, Packet, Sender},
    load::Seat,
    refused::Refused,
};

use inbox::{At, Logged};
pub use inbox::{Faults, Inbox};

/// An answer that has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Waits for a refusal that does not say how long.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// Who has not caught up by then is given up.
const DEADLINE: Duration = Duration::from_mins(5);
/// No answer, or no connection to ask over, as a code.
pub const NO_ANSWER: &str = "no_answer";

/// One client; the connection comes and goes.
pub struct Follower {
    pub seat: Seat,
    heard: Arc<Mutex<Heard>>,
    connection: Mutex<Option<(Sender, JoinHandle<Result<()>>)>>,
}

/// What comes in.
#[derive(Default)]
struct Heard {
    inbox: Inbox,
    next_ack: u64,
    waiting: HashMap<u64, oneshot::Sender<String>>,
}

/// What is read of a log event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    chat_id: Option<&'a str>,
    seq: Option<u64>,
}

/// The answer to `sync`.
#[derive(Deserialize)]
struct Synced {
    chats: HashMap<String, Page>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    events: Vec<Event>,
    cursor: u64,
    reset: bool,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "event")]
    name: String,
    data: Box<RawValue>,
    cursor: u64,
    prev: u64,
}

#[derive(Serialize)]
struct Cursors {
    chats: HashMap<String, u64>,
}

impl Follower {
    /// A client that knows these chats up to these cursors, not connected yet.
    pub fn new<'a>(seat: Seat, chats: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut heard = Heard::default();
        chats.into_iter().for_each(|(chat, cursor)| heard.inbox.open(chat, cursor));
        heard.inbox.disconnected();
        Self { seat, heard: Arc::new(Mutex::new(heard)), connection: Mutex::default() }
    }

    /// Connects, however often it is refused; `refused` gets the codes.
    pub async fn connect(&self, refused: impl FnMut(&str)) -> Result<()> {
        let incoming = || {
            let heard = Arc::clone(&self.heard);
            move |packet: Packet<'_>, _: Instant| lock(&heard).take(&packet)
        };
        let Seat { gateway, token } = &self.seat;
        let connection = client::connect_patiently(gateway, token, incoming, refused).await?;
        *lock(&self.connection) = Some(connection);
        Ok(())
    }

    /// Fetches what was missed; `refused` gets the codes of those who ask to come later, which is obeyed.
    pub async fn catch_up(&self, mut refused: impl FnMut(&str)) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let chats = lock(&self.heard).inbox.cursors();
            let Synced { chats } = match self.ask("sync", &Cursors { chats }).await? {
                Ok(answer) => client::first(&answer)?,
                Err(refusal) if Instant::now() > end => return Err(refusal).context("given up"),
                Err(Refused { code, wait }) => {
                    refused(&code);
                    sleep(wait.max(AFTER_REFUSAL)).await;
                    continue;
                }
            };
            let mut heard = lock(&self.heard);
            let more = chats.iter().any(|(_, page)| page.has_more);
            for (chat, Page { events, cursor, reset, .. }) in chats {
                if reset {
                    bail!("the log of {chat} does not reach back, but to {cursor}");
                }
                for Event { name, data, cursor, prev } in events {
                    let data = serde_json::from_str(data.get())?;
                    heard.inbox.read(Logged::of(&name, &chat, &data, At { cursor, prev }));
                }
            }
            if !more {
                heard.inbox.caught_up();
                return Ok(());
            }
        }
    }

    /// The TCP connection is gone at once, as with a network that fails.
    pub fn cut(&self) {
        if let Some((_, task)) = lock(&self.connection).take() {
            task.abort();
        }
        let mut heard = lock(&self.heard);
        heard.inbox.disconnected();
        heard.waiting.clear();
    }

    /// Asks and waits: the acknowledgement's arguments, or its refusal.
    pub async fn ask(&self, event: &str, payload: &impl Serialize) -> Result<Result<String, Refused>> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut heard = lock(&self.heard);
            heard.next_ack += 1;
            let number = heard.next_ack;
            heard.waiting.insert(number, answer);
            number
        };
        let packet = client::event(number, event, payload)?;
        let sent = lock(&self.connection).as_ref().is_some_and(|(sender, _)| sender.send(packet).is_ok());
        let answer = if sent { timeout(PATIENCE, answered).await } else { Ok(Ok(String::new())) };
        match answer {
            Ok(Ok(answer)) if !answer.is_empty() => Ok(refusal(&answer)?.map_or(Ok(answer), Err)),
            _ => {
                lock(&self.heard).waiting.remove(&number);
                Ok(Err(Refused::new(NO_ANSWER, None)))
            }
        }
    }

    /// Looks into what it knows.
    pub fn inbox<T>(&self, look: impl FnOnce(&Inbox) -> T) -> T {
        look(&lock(&self.heard).inbox)
    }
}

fn refusal(answer: &str) -> Result<Option<Refused>> {
    #[derive(Deserialize)]
    struct Ack<'a> {
        #[serde(borrow)]
        error: Option<Nack<'a>>,
    }
    let Ack { error } = client::first(answer).with_context(|| format!("answer {answer}"))?;
    Ok(error.map(Refused::from))
}

impl Heard {
    fn take(&mut self, packet: &Packet<'_>) -> Result<()> {
        match packet {
            Packet::Ack { id, args } => {
                if let Some(waiting) = self.waiting.remove(id) {
                    // Who asked may have given up.
                    let _ = waiting.send((*args).to_owned());
                }
            }
            Packet::Event { name, args } if of_chats(name) => {
                let (data, at): (Data<'_>, Option<At>) =
                    client::first_two(args).with_context(|| format!("event {name} {args}"))?;
                // Without a place it is no event of the log: a receipt, or `chat:joined`.
                if let (Some(chat), Some(at)) = (data.chat_id, at) {
                    self.inbox.heard(Logged::of(name, chat, &data, at));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether an event may be one of a chat's log.
fn of_chats(event: &str) -> bool {
    ["message:", "chat:", "reaction:"].iter().any(|of| event.starts_with(of))
}

impl Logged {
    fn of(event: &str, chat: &str, data: &Data<'_>, at: At) -> Self {
        let is_message = event == "message:new" || event == "chat:members";
        Self { chat: chat.to_owned(), seq: data.seq.filter(|_| is_message), at }
    }
}

/// A task that panicked has nothing to do with the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
