//! All limits by themselves.

use std::fmt;

use anyhow::Result;
use clap::{Args, value_parser};
use contract::storage::CHAT_STREAMS;
use serde::Serialize;

use super::Sound;
use crate::{
    closed::Rate,
    latency,
    limit::{append, broadcast, insert, request},
    load::{Outcome, Room, Shape, Until},
    target::Target,
};

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// Chats that are appended to
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u16).range(1..))]
    chats: u16,
    /// Appends of each chat that are waited for at a time
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Sockets that are broadcast to
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u16).range(2..=10_000))]
    sockets: u16,
    /// Characters of each message
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u16).range(1..=8000))]
    text: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    /// Fenced, deduplicated, republished, in the streams that the system has, synced to disk when the system does.
    appends: Rate,
    /// The same where all chats are in one of the streams.
    appends_to_one_stream: Rate,
    /// Through NATS, as many at a time as there are chats.
    requests: Rate,
    /// Bulks of 500 messages into MongoDB.
    inserts: Rate,
    /// To sockets of socketioxide, one message at a time.
    broadcast: Outcome,
}

pub async fn limit(options: &Options) -> Result<Report> {
    let Options { chats, in_flight, sockets, text, .. } = *options;
    let system = options.target.find()?;
    let load = append::Load { chats, streams: CHAT_STREAMS.len(), in_flight, text };
    let appends = append::run(&system, load).await?;
    let appends_to_one_stream = append::run(&system, append::Load { streams: 1, ..load }).await?;
    let requests = request::run(&system, chats.into()).await?;
    let inserts = insert::run(&system, text).await?;
    let shape = Shape { in_flight: 1, until: Until::Delivered, rate: None, warm_up: 1, seconds: 5, text };
    let room = Room { id: "bench".to_owned(), last_seq: 0, sockets: (0..sockets.into()).collect() };
    let broadcast = broadcast::run(&[room], sockets.into(), shape).await?;
    Ok(Report { options: options.clone(), appends, appends_to_one_stream, requests, inserts, broadcast })
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.broadcast.is_sound()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, appends, appends_to_one_stream, requests, inserts, broadcast } = self;
        writeln!(f, "{}", latency::HEAD)?;
        writeln!(f, "{:<18}{appends}", format!("append, {} chats", options.chats))?;
        writeln!(f, "{:<18}{appends_to_one_stream}", "to one stream")?;
        writeln!(f, "{:<18}{requests}", "request and reply")?;
        writeln!(f, "{:<18}{inserts}", format!("insert of {}", insert::BULK))?;
        write!(f, "broadcast to {} sockets: {broadcast}", options.sockets)
    }
}
