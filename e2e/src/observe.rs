//! Looks at what there is, past the services: the log and the bucket `READS` in JetStream, the messages in MongoDB.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::{Client, Message, StatusCode, jetstream};
use contract::{
    headers,
    storage::{CHAT_STREAMS, READS_BUCKET, chat_of_log, chat_user_of, log_subjects},
};
use futures::{StreamExt, TryStreamExt};
use mongodb::{Database, bson::doc};
use serde_json::{Value, json};

use crate::history::{Entry, Found, Read};

/// Messages of one page of a stream.
const PAGE: u32 = 500;
/// Of one page; the server ends it with what it has sent so far.
const PAGE_BYTES: u32 = 2 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The whole log, stream by stream, each by cursor. `client` is the inspector.
pub async fn log(client: &Client) -> Result<Vec<Entry>> {
    let mut log = Vec::new();
    for (partition, name) in CHAT_STREAMS.iter().enumerate() {
        let there = jetstream::new(client.clone()).get_stream(*name).await?.cached_info().state.messages;
        let messages = stream(client, name, &log_subjects(partition)).await?;
        // A copy of the stream that is behind may have answered.
        if (messages.len() as u64) < there {
            bail!("{} of {there} messages of {name} were read", messages.len());
        }
        log.extend(messages.iter().filter_map(|(cursor, message)| entry(*cursor, message)));
    }
    Ok(log)
}

fn entry(cursor: u64, message: &Message) -> Option<Entry> {
    let subject = header(message, "Nats-Subject")?;
    let chat = chat_of_log(subject)?.to_string();
    let (event, data) = (header(message, headers::EVENT)?.to_owned(), serde_json::from_slice(&message.payload).ok()?);
    Some(Entry { chat, cursor, event, data })
}

/// All receipts.
pub async fn reads(client: &Client) -> Result<Vec<Read>> {
    let messages = stream(client, &format!("KV_{READS_BUCKET}"), &format!("$KV.{READS_BUCKET}.>")).await?;
    Ok(messages.iter().filter_map(|(_, message)| read(message)).collect())
}

fn read(message: &Message) -> Option<Read> {
    let (chat, user) = chat_user_of(header(message, "Nats-Subject")?)?;
    let entry: Value = serde_json::from_slice(&message.payload).ok()?;
    let number = |name: &str| entry[name].as_u64().unwrap_or_default();
    let (delivered, seen) = (number("delivered"), number("seen"));
    Some(Read { chat: chat.to_string(), user: user.to_string(), delivered, seen, entry })
}

/// How many messages MongoDB has.
pub async fn count_archived(database: &Database) -> Result<u64> {
    let messages = database.collection::<Value>("messages");
    Ok(messages.count_documents(doc! { "message": { "$exists": true } }).await?)
}

/// All messages of MongoDB.
pub async fn archive(database: &Database) -> Result<Vec<Found>> {
    let messages = database.collection::<Value>("messages");
    let all: Vec<Value> = messages.find(doc! { "message": { "$exists": true } }).await?.try_collect().await?;
    Ok(all.iter().filter_map(|document| Found::read(&document["message"])).collect())
}

/// Where a durable consumer of the log stands in each stream, for whoever looks for what has stopped.
pub async fn consumers(client: &Client, name: &str) -> Result<String> {
    let mut lines = Vec::new();
    for stream in CHAT_STREAMS {
        let info = jetstream::new(client.clone()).get_stream(stream).await?.consumer_info(name).await?;
        let pinned = info.priority_groups.iter().filter_map(|group| group.pinned_client_id.as_deref());
        lines.push(format!(
            "{name} of {stream}: {} not delivered, {} not acknowledged, the first after {}, {} delivered, {} pulls wait, pinned {:?}",
            info.num_pending,
            info.num_ack_pending,
            info.ack_floor.stream_sequence,
            info.delivered.stream_sequence,
            info.num_waiting,
            pinned.collect::<Vec<_>>(),
        ));
    }
    Ok(lines.join("; "))
}

/// The chats of which a gateway's own log says that it could not fill a gap.
pub fn unfilled(log: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains("cannot fill a gap"));
    let chat = |line: &str| Some(line.split_once("chat=")?.1.split_whitespace().next()?.to_owned());
    lines.filter_map(chat).collect()
}

/// The messages of a stream with their sequences, by direct gets in batches (ADR-31), which need no consumer.
async fn stream(client: &Client, name: &str, subjects: &str) -> Result<Vec<(u64, Message)>> {
    let (mut all, mut from): (Vec<(u64, Message)>, u64) = (Vec::new(), 1);
    loop {
        let question = json!({ "next_by_subj": subjects, "seq": from, "batch": PAGE, "max_bytes": PAGE_BYTES });
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await?;
        let subject = format!("$JS.API.DIRECT.GET.{name}");
        client.publish_with_reply(subject, inbox, question.to_string().into()).await?;
        let more = loop {
            let answer = tokio::time::timeout(TIMEOUT, answers.next()).await?.context("the connection is gone")?;
            match answer.status {
                None | Some(StatusCode::OK) => {
                    let sequence = number(&answer, "Nats-Sequence").context("a message without a sequence")?;
                    from = sequence + 1;
                    all.push((sequence, answer));
                }
                Some(StatusCode::NOT_FOUND) => break false,
                Some(status) if status.as_u16() == 204 => break number(&answer, "Nats-Num-Pending") > Some(0),
                Some(status) => bail!("{name} cannot be read: {status}"),
            }
        };
        if !more {
            return Ok(all);
        }
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

fn number(message: &Message, name: &str) -> Option<u64> {
    header(message, name)?.parse().ok()
}
