//! Reading a stream without a consumer: direct gets in batches (ADR-31).

use std::time::Duration;

use async_nats::{
    Client, HeaderMap, Message, StatusCode, Subject,
    jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind},
};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use serde::Serialize;

use crate::Nats;

/// The next message of a batch must come within this.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Status of the message that ends a batch.
const END_OF_BATCH: u16 = 204;
/// Status of the answer to a `multi_last` request that more than 1,024 subjects match.
const TOO_MANY: u16 = 413;
/// Messages and bytes of one page where that is so.
const PAGE: u32 = 1_000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Subjects of one `multi_last` request; the server refuses more than 1,024 results.
const SUBJECTS: usize = 1_000;
/// A copy of the stream that is behind is asked, or another, so often and after this long.
const ASKED: u32 = 5;
const AGAIN: Duration = Duration::from_millis(20);

/// A message as it is stored.
#[derive(Debug, Clone)]
pub struct Logged {
    pub subject: Subject,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When it was stored, by the clock of the stream's leader then: what orders messages of different streams.
    pub stored_at: Timestamp,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl Logged {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// Whether it says that a key of a bucket is no more.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        is_removal(&self.headers)
    }
}

/// A key was deleted by somebody, or the server notes that it has expired.
pub(crate) fn is_removal(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some()
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot ask")]
    Subscribe(#[from] async_nats::SubscribeError),
    #[error("cannot ask")]
    Publish(#[from] async_nats::PublishError),
    #[error("cannot write the question")]
    Encode(#[from] serde_json::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("more subjects match than one request may answer")]
    TooMany,
    #[error("the copy of the stream that answered is behind")]
    Behind,
    #[error("the answer is not as ADR-31 says")]
    Malformed,
}

#[derive(Serialize)]
struct NextBySubject<'a> {
    next_by_subj: &'a str,
    seq: u64,
    batch: u32,
    max_bytes: usize,
}

#[derive(Serialize)]
struct MultiLast<'a> {
    multi_last: &'a [String],
}

/// Messages of one subject from sequence `from` on, oldest first: at most `limit`, and about at most `max_bytes`, but
/// at least one if there is any. The flag says whether more follow.
pub async fn next_events(
    nats: &Nats,
    stream: &str,
    subject: &str,
    from: u64,
    limit: u32,
    max_bytes: usize,
) -> Result<(Vec<Logged>, bool), ReadError> {
    let question = NextBySubject { next_by_subj: subject, seq: from.max(1), batch: limit.max(1), max_bytes };
    let batch = batch(nats.client(), stream, &question).await?;
    Ok((batch.messages, batch.pending))
}

/// The last message of each subject that matches one of `subjects`; a wildcard may match any number in a stream that keeps
/// one message per subject, as a bucket does, and 1,024 in others.
pub async fn last_events(nats: &Nats, stream: &str, subjects: &[String]) -> Result<Vec<Logged>, ReadError> {
    let mut all = Vec::new();
    for subjects in subjects.chunks(SUBJECTS) {
        match batch(nats.client(), stream, &MultiLast { multi_last: subjects }).await {
            Ok(last) => all.extend(last.messages),
            Err(ReadError::TooMany) => {
                for subject in subjects {
                    all.extend(every_event(nats, stream, subject).await?);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// The same for at most 1,024 results, not older than sequence `seen`: any replica answers, also one that has yet to hear
/// of what the others have stored. One that finds nothing does not say how far it is; it is believed in the end.
pub(crate) async fn last_events_since(
    nats: &Nats,
    stream: &str,
    subjects: &[String],
    seen: u64,
) -> Result<Vec<Logged>, ReadError> {
    let mut nothing = false;
    for _ in 0..ASKED {
        let last = batch(nats.client(), stream, &MultiLast { multi_last: subjects }).await?;
        if last.up_to >= seen {
            return Ok(last.messages);
        }
        nothing = last.messages.is_empty();
        tokio::time::sleep(AGAIN).await;
    }
    if nothing { Ok(Vec::new()) } else { Err(ReadError::Behind) }
}

/// Sequence of the last message of a subject for the stream's leader, whom no replica is ahead of; 0 where there is none. As
/// nobody else answers this, it fails while there is no leader.
pub async fn leaders_end(nats: &Nats, stream: &str, subject: &str) -> Result<u64, LastRawMessageError> {
    let stream = nats.jetstream().get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| LastRawMessageError::with_source(LastRawMessageErrorKind::Other, error))?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(last) => Ok(last.sequence),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
        Err(error) => Err(error),
    }
}

async fn every_event(nats: &Nats, stream: &str, subject: &str) -> Result<Vec<Logged>, ReadError> {
    let mut all: Vec<Logged> = Vec::new();
    loop {
        let from = all.last().map_or(1, |last| last.sequence + 1);
        let (events, more) = next_events(nats, stream, subject, from, PAGE, PAGE_BYTES).await?;
        all.extend(events);
        if !more {
            return Ok(all);
        }
    }
}

/// An answer of several messages.
struct Batch {
    messages: Vec<Logged>,
    /// Whether more follow.
    pending: bool,
    /// The stream's last sequence for the one who answered `multi_last`; 0 where nothing was found.
    up_to: u64,
}

async fn batch(client: &Client, stream: &str, question: &impl Serialize) -> Result<Batch, ReadError> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let question = serde_json::to_vec(question)?;
    client.publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, question.into()).await?;
    let mut messages = Vec::new();
    loop {
        let answer = tokio::time::timeout(TIMEOUT, answers.next()).await.ok().flatten().ok_or(ReadError::TimedOut)?;
        match answer.status {
            None | Some(StatusCode::OK) => messages.push(stored(answer)?),
            Some(StatusCode::NOT_FOUND) => return Ok(Batch { messages, pending: false, up_to: 0 }),
            // End of batch: 204 with how many there are beyond it.
            Some(status) if status.as_u16() == END_OF_BATCH => {
                let number = |name| header(&answer, name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
                let (pending, up_to) = (number("Nats-Num-Pending") > 0, number("Nats-UpTo-Sequence"));
                return Ok(Batch { messages, pending, up_to });
            }
            Some(status) if status.as_u16() == TOO_MANY => return Err(ReadError::TooMany),
            Some(StatusCode::NO_RESPONDERS) => return Err(ReadError::Refused("the stream is not there".into())),
            Some(status) => return Err(ReadError::Refused(answer.description.unwrap_or_else(|| status.to_string()))),
        }
    }
}

fn stored(answer: Message) -> Result<Logged, ReadError> {
    let sequence = header(&answer, "Nats-Sequence").and_then(|n| n.parse().ok()).ok_or(ReadError::Malformed)?;
    let subject = Subject::from(header(&answer, "Nats-Subject").ok_or(ReadError::Malformed)?.to_owned());
    let stored_at =
        header(&answer, "Nats-Time-Stamp").and_then(|time| time.parse().ok()).ok_or(ReadError::Malformed)?;
    Ok(Logged { subject, sequence, stored_at, headers: answer.headers.unwrap_or_default(), payload: answer.payload })
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}
