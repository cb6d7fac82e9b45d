//! The log of a chat: appending one event at a fence, reading from a place on.

use std::time::Duration;

use async_nats::jetstream::{context::PublishError, message::PublishMessage};
use bytes::Bytes;
use contract::{
    ChatId, UserId,
    event::{Cursor, Event},
    headers,
    storage::{CHAT_STREAMS, chat_of_log, log_partition, log_stream, log_subject},
};
use futures::future::try_join_all;
use jiff::Timestamp;
use service::{Logged, Nats, Trace};
use tokio::time::{Instant, sleep};

use crate::state::ChatState;

/// Events and bytes of one read of the log.
const READ_EVENTS: u32 = 500;
const READ_BYTES: usize = 2 * 1024 * 1024;
/// A copy that is behind is asked again after this, so many times: it mostly is by milliseconds.
pub const AGAIN: Duration = Duration::from_millis(50);
const ASKED: usize = 20;

/// An event on its way into the log.
#[derive(Debug)]
pub struct Entry<'a> {
    pub event: &'a Event,
    /// What is stored, delivered and answered.
    pub body: Bytes,
}

/// How an append ended.
#[derive(Debug)]
pub enum Appended {
    /// Committed, here.
    At(Cursor),
    /// This very message was committed before, here.
    Before(Cursor),
    /// Somebody else appended first, or will have.
    LostRace,
}

/// Appends right after `state` (`None`: as the first event), or not at all.
///
/// On an error it is unknown whether the event was committed; the next reader of the log will see.
pub async fn append(
    nats: &Nats,
    chat: ChatId,
    state: Option<&ChatState>,
    entry: &Entry<'_>,
) -> Result<Appended, PublishError> {
    let (fence, number) = state.map_or((0, 1), |state| (state.cursor, state.events + 1));
    let mut message = PublishMessage::build()
        .payload(entry.body.clone())
        .header(headers::EVENT, entry.event.name())
        .header(headers::EVENT_NUMBER, number.to_string())
        .header(headers::INSTANCE, nats.instance())
        .header(headers::TRACEPARENT, Trace::current().child().to_string())
        .expected_last_subject_sequence(fence);
    if let Event::MessageNew(new) = entry.event {
        message = message.message_id(format!("{chat}.{}.{}", new.sender_id, &*new.client_id));
    }
    let left = leaving(state, entry.event);
    if !left.is_empty() {
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        message = message.header(headers::LEFT, left.join(","));
    }
    let began = Instant::now();
    let sent = nats.jetstream().send_publish(log_subject(chat), message).await;
    let ack = match sent {
        Ok(ack) => ack.await,
        Err(error) => Err(error),
    };
    metrics::histogram!("natter_chat_append_seconds").record(began.elapsed());
    match ack {
        Ok(ack) if ack.duplicate => Ok(Appended::Before(ack.sequence)),
        Ok(ack) => Ok(Appended::At(ack.sequence)),
        Err(error) if service::is_lost_race(&error) => Ok(Appended::LostRace),
        // By one who was not answered in time and sent it again.
        Err(error) if service::is_under_way(&error) => {
            sleep(AGAIN).await;
            Ok(Appended::LostRace)
        }
        Err(error) => Err(error),
    }
}

/// Who is no longer in the chat after this event.
fn leaving(state: Option<&ChatState>, event: &Event) -> Vec<UserId> {
    match (event, state) {
        (Event::ChatMembers(message), _) => message.change.as_ref().map_or_else(Vec::new, |c| c.removed.clone()),
        (Event::ChatDeleted(_), Some(state)) => state.members.keys().copied().collect(),
        _ => Vec::new(),
    }
}

/// Who left, as a stored event's header tells.
#[must_use]
pub fn left(header: Option<&str>) -> Vec<UserId> {
    header.map_or_else(Vec::new, |header| header.split(',').filter_map(|user| user.parse().ok()).collect())
}

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot read the log")]
    Read(#[from] service::ReadError),
    #[error("event {0} of the log is not readable")]
    Event(Cursor, #[source] serde_json::Error),
    #[error("event {0} of the log has no name or one this version does not know")]
    Unknown(Cursor),
    #[error("the copy of the log that answers is behind")]
    Behind,
    #[error("the log of chat {0} does not reach back to its creation and there is no snapshot")]
    Beginless(ChatId),
}

/// Stored events of `chat` from the cursor `from` on, at most `limit`; and whether more follow.
pub async fn read(nats: &Nats, chat: ChatId, from: Cursor, limit: u32) -> Result<(Vec<Logged>, bool), LogError> {
    let limit = limit.min(READ_EVENTS);
    Ok(service::next_events(nats, log_stream(chat), &log_subject(chat), from, limit, READ_BYTES).await?)
}

/// The same where the log is known to reach to `until`: any copy answers, also one that has not heard of that yet.
pub async fn read_to(
    nats: &Nats,
    chat: ChatId,
    from: Cursor,
    limit: u32,
    until: Cursor,
) -> Result<(Vec<Logged>, bool), LogError> {
    for _ in 0..ASKED {
        let (events, more) = read(nats, chat, from, limit).await?;
        let end = events.last().map_or(from.saturating_sub(1), |last| last.sequence);
        if more || end >= until {
            return Ok((events, more));
        }
        sleep(AGAIN).await;
    }
    Err(LogError::Behind)
}

/// Hands every event of `chat` from the cursor `from` to the end of its log, which is at `until` at least, to `take`.
pub async fn replay(
    nats: &Nats,
    chat: ChatId,
    mut from: Cursor,
    until: Cursor,
    mut take: impl FnMut(&Logged, Event),
) -> Result<(), LogError> {
    loop {
        let (events, more) = read_to(nats, chat, from, READ_EVENTS, until).await?;
        for logged in &events {
            take(logged, decode(logged)?);
        }
        match events.last() {
            Some(last) if more => from = last.sequence + 1,
            _ => return Ok(()),
        }
    }
}

/// When something last happened in each of these chats.
pub async fn last_active(nats: &Nats, chats: &[ChatId]) -> Result<Vec<(Timestamp, ChatId)>, LogError> {
    let last_in = async |partition: usize| {
        let here = chats.iter().filter(|chat| log_partition(**chat) == partition);
        let subjects: Vec<String> = here.map(|chat| log_subject(*chat)).collect();
        service::last_events(nats, CHAT_STREAMS[partition], &subjects).await
    };
    let last = try_join_all((0..CHAT_STREAMS.len()).map(last_in)).await?;
    Ok(last.iter().flatten().filter_map(|last| Some((last.stored_at, chat_of_log(&last.subject)?))).collect())
}

/// The event a stored message is.
pub fn decode(logged: &Logged) -> Result<Event, LogError> {
    let name = logged.header(headers::EVENT).ok_or(LogError::Unknown(logged.sequence))?;
    Event::decode(name, &logged.payload)
        .map_err(|error| LogError::Event(logged.sequence, error))?
        .ok_or(LogError::Unknown(logged.sequence))
}

/// How many events the chat had with this one.
#[must_use]
pub fn number(logged: &Logged) -> Option<u64> {
    logged.header(headers::EVENT_NUMBER)?.parse().ok()
}
