//! The limit of sending: bare fenced, deduplicated, republished appends to the log.

use std::{
    iter::repeat_with,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use async_nats::jetstream::{self, message::PublishMessage};
use bytes::Bytes;
use contract::{
    ChatId, headers,
    storage::{log_partition, log_subject},
};
use tokio::sync::Mutex;

use super::{SECONDS, WARM_UP, nats::Nats};
use crate::{
    body,
    closed::{self, Rate},
    latency::Window,
    target::System,
};

/// Connections, as many as a small system has instances of `chat`.
const CONNECTIONS: usize = 2;

/// How many at a time. Of one chat, one append is under way at a time and the others queue up: a fence is the place of
/// the one before.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub chats: u16,
    /// The chats are in so many of the log's streams.
    pub streams: usize,
    pub in_flight: u16,
    /// Characters of each message.
    pub text: u16,
}

struct Chat {
    id: ChatId,
    jetstream: jetstream::Context,
    /// Where its last event is in the stream.
    fence: Mutex<u64>,
}

/// Appends for some seconds, to a server of its own.
pub async fn run(system: &System, load: Load) -> Result<Rate> {
    let nats = Nats::like(system).await?.with_streams().await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(jetstream::new(nats.connect("chat").await?));
    }
    let ids = repeat_with(ChatId::new).filter(|id| log_partition(*id) < load.streams);
    let chat = |(connection, id): (&jetstream::Context, ChatId)| Chat {
        id,
        jetstream: connection.clone(),
        fence: Mutex::default(),
    };
    let chats: Vec<_> = connections.iter().cycle().zip(ids).take(load.chats.into()).map(chat).collect();
    let chats = Arc::new(chats);
    let (text, number) = ("x".repeat(load.text.into()), AtomicU64::new(0));
    let common = Arc::new((text, number));

    let window = Window::after(Instant::now(), WARM_UP, SECONDS);
    let places = usize::from(load.chats) * usize::from(load.in_flight);
    let rate = closed::run(places, window, move |place| {
        let (chats, common) = (Arc::clone(&chats), Arc::clone(&common));
        async move {
            let (text, number) = &*common;
            chats[place % chats.len()].append(text, number.fetch_add(1, Ordering::Relaxed)).await?;
            Ok(Ok(()))
        }
    });
    rate.await?.measured()
}

impl Chat {
    /// With the headers and the length that `chat` gives an event.
    async fn append(&self, text: &str, number: u64) -> Result<()> {
        let mut fence = self.fence.lock().await;
        let id = self.id.to_string();
        let body: Box<str> = body::message(&id, number, &number.to_string(), text)?.into();
        let message = PublishMessage::build()
            .payload(Bytes::from(String::from(body)))
            .header(headers::EVENT, "message:new")
            .header(headers::EVENT_NUMBER, number.to_string())
            .header(headers::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .message_id(format!("{id}.{id}.{number}"))
            .expected_last_subject_sequence(*fence);
        let acknowledged = self.jetstream.send_publish(log_subject(self.id), message).await?.await;
        *fence = acknowledged.context("an append")?.sequence;
        Ok(())
    }
}
