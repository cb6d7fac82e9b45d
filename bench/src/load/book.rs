//! The books of all chats of a run: which socket is which member, and what packets say about which message.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    Room,
    ledger::{Ledger, Until},
    tally::Tally,
};
use crate::client::{self, Nack, Packet};

/// All chats.
pub struct Book {
    chats: Vec<Chat>,
    by_id: HashMap<String, usize>,
    text: String,
    /// What `clientId`s of this run begin with: a repeated one would be answered with the message it once was.
    run: String,
    tally: Arc<Tally>,
}

pub struct Chat {
    id: String,
    /// The socket at each place, and the place of each socket.
    pub sockets: Vec<usize>,
    places: HashMap<usize, usize>,
    ledger: Mutex<Ledger>,
}

/// What is sent. The run and the number of the message in its chat are its `clientId`.
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
    error: Option<Nack<'a>>,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

impl Chat {
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub fn new(rooms: Vec<Room>, until: Until, text: usize, tally: &Arc<Tally>) -> Self {
        let by_id = rooms.iter().enumerate().map(|(index, room)| (room.id.clone(), index)).collect();
        let chat = |Room { id, last_seq, sockets }: Room| Chat {
            id,
            places: sockets.iter().enumerate().map(|(place, socket)| (*socket, place)).collect(),
            ledger: Ledger::new(last_seq, sockets.len(), until, Arc::clone(tally)).into(),
            sockets,
        };
        let run = format!("{:x}-", rand::random::<u64>());
        Self {
            chats: rooms.into_iter().map(chat).collect(),
            by_id,
            text: "x".repeat(text),
            run,
            tally: Arc::clone(tally),
        }
    }

    pub fn chats(&self) -> &[Chat] {
        &self.chats
    }

    /// The packet of a message.
    pub fn packet(&self, chat: usize, number: usize) -> Result<String> {
        let message =
            NewMessage { chat_id: &self.chats[chat].id, client_id: format!("{}{number}", self.run), text: &self.text };
        client::event(self.ack_id(chat, number) as u64, "message:send", &message)
    }

    /// Takes what came on a socket.
    pub fn receive(&self, socket: usize, packet: &Packet<'_>, now: Instant) -> Result<()> {
        match packet {
            Packet::Event { name: "message:new", args } => {
                self.arrived(socket, args, now).with_context(|| format!("message {args}"))
            }
            Packet::Event { name, .. } => {
                self.tally.heard(name, now);
                Ok(())
            }
            Packet::Ack { id, args } => self.answered(*id, args, now).with_context(|| format!("answer {args}")),
            _ => Ok(()),
        }
    }

    fn arrived(&self, socket: usize, args: &str, now: Instant) -> Result<()> {
        let Arrival { chat_id, seq, client_id } = client::first(args)?;
        let chat = self.by_id.get(chat_id).map(|index| &self.chats[*index]).context("not one of our chats")?;
        let place = *chat.places.get(&socket).context("not to a member")?;
        let number = client_id.strip_prefix(&self.run).and_then(|number| number.parse().ok());
        chat.ledger().arrived(place, seq, number, now);
        Ok(())
    }

    fn answered(&self, id: u64, args: &str, now: Instant) -> Result<()> {
        let (chat, number) = self.message_of(usize::try_from(id)?);
        let Ack { message, error } = client::first(args)?;
        match (message, error) {
            (Some(Stored { seq }), None) => chat.ledger().accepted(number, seq, now),
            (_, error) => {
                let refused = error.context("neither a message nor an error")?.into();
                chat.ledger().refused(number, &refused);
            }
        }
        Ok(())
    }

    /// The number of a message among those of all chats: what it is acknowledged under.
    fn ack_id(&self, chat: usize, number: usize) -> usize {
        number * self.chats.len() + chat
    }

    fn message_of(&self, ack_id: usize) -> (&Chat, usize) {
        (&self.chats[ack_id % self.chats.len()], ack_id / self.chats.len())
    }
}
