//! `chat rebuild`: MongoDB's collections made anew from the log, as far as it reaches, and from the snapshots of chats.
//! Projection is idempotent and commutes, so the service may go on meanwhile.

use std::time::Instant;

use anyhow::Context;
use contract::{
    headers,
    storage::{CHAT_STREAMS, CHATS_BUCKET, chat_of_log, log_subjects},
};
use mongodb::Database;
use service::{Nats, Readiness};

use crate::{config::Config, log, project::Writes, state::ChatState, store};

/// Events of one batch.
const BATCH: u32 = 500;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Rebuilds; `drop` removes first what is there. Answers the number of events.
pub async fn rebuild(config: &Config, drop: bool) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let nats = Nats::connect(&config.common.nats, &Readiness::default()).await?;
    let database = mongodb::Client::with_uri_str(&config.mongo.uri).await?.database(&config.mongo.database);
    if drop {
        store::drop_all(&database).await.context("dropping the collections")?;
        println!("dropped the collections of the archive");
    }
    store::ensure_indexes(&database).await.context("making the indexes")?;

    let snapshots = snapshots(&nats).await?;
    store::write(&database, &snapshots).await.context("writing the snapshots")?;

    let mut events = 0;
    for partition in 0..CHAT_STREAMS.len() {
        events += rebuild_from(&nats, &database, partition).await?;
        println!("{events} events ...");
    }
    println!("{events} events of the log are in MongoDB, after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(events)
}

/// From one of the streams; answers the number of its events.
async fn rebuild_from(nats: &Nats, database: &Database, partition: usize) -> anyhow::Result<u64> {
    let (stream, subjects) = (CHAT_STREAMS[partition], log_subjects(partition));
    let (mut from, mut events) = (1, 0);
    loop {
        let (logged, more) = service::next_events(nats, stream, &subjects, from, BATCH, BATCH_BYTES).await?;
        let mut writes = Writes::default();
        for logged in &logged {
            let Some(chat) = chat_of_log(&logged.subject) else { continue };
            let left = log::left(logged.header(headers::LEFT));
            match log::decode(logged) {
                Ok(event) => writes.add(chat, logged.sequence, &event, &left)?,
                Err(error) => println!("passed over: {}", service::chain(&error)),
            }
        }
        store::write(database, &writes).await.context("writing a batch")?;
        events += logged.len() as u64;
        match logged.last() {
            Some(last) if more => from = last.sequence + 1,
            _ => return Ok(events),
        }
        if events.is_multiple_of(u64::from(BATCH) * 20) {
            println!("{events} events of {stream} ...");
        }
    }
}

async fn snapshots(nats: &Nats) -> anyhow::Result<Writes> {
    let mut writes = Writes::default();
    let stream = format!("KV_{CHATS_BUCKET}");
    let subjects = format!("$KV.{CHATS_BUCKET}.*");
    let mut from = 1;
    loop {
        let (values, more) = service::next_events(nats, &stream, &subjects, from, BATCH, BATCH_BYTES).await?;
        for value in &values {
            if let Ok(state) = serde_json::from_slice::<ChatState>(&value.payload) {
                writes.add_snapshot(&state)?;
            }
        }
        match values.last() {
            Some(last) if more => from = last.sequence + 1,
            _ => return Ok(writes),
        }
    }
}
