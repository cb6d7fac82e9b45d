//! The archive: the durable consumer that projects the log into MongoDB, and how far it has come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::consumer::{PullConsumer, pull};
use contract::{
    ChatId,
    event::{Cursor, Event},
    headers,
    storage::{ARCHIVE_CONSUMER, CHAT_STREAMS, chat_of_log, log_partition},
};
use futures::future::join_all;
use service::{Batches, Delivery, Durable, Lifecycle, Nats, Outcome, Service, Trace, chain, mongo::Mongo};

use crate::{log, members, project::Writes, store};

/// Events of one batch, and how long the first one waits for others. Nobody waits for the archive: what it does not have
/// yet is read from the log.
const BATCHES: Batches = Batches { size: 500, linger: Duration::from_millis(50), rest: Duration::from_millis(500) };
/// After this another instance gets what one had in hand: writing twice does no harm, and is rarer than death.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// A batch that MongoDB did not take is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How often an instance asks how far the archive has come.
const LOOK: Duration = Duration::from_secs(1);

/// Everything of a chat up to here is in MongoDB: known to be, from a second ago; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Floor(Arc<[AtomicU64; CHAT_STREAMS.len()]>);

impl Floor {
    #[must_use]
    pub fn of(&self, chat: ChatId) -> Cursor {
        self.0[log_partition(chat)].load(Ordering::Relaxed)
    }

    /// Follows the consumer until the soft stop.
    pub async fn follow(self, nats: Nats, lifecycle: Lifecycle) {
        while !lifecycle.soft().is_cancelled() {
            let look = async |(stream, floor): (&&str, &AtomicU64)| match archived(&nats, stream).await {
                Ok((cursor, behind)) => {
                    // Also backwards: a stream made anew counts from 1 again.
                    floor.store(cursor, Ordering::Relaxed);
                    Some(behind)
                }
                Err(error) => {
                    tracing::debug!(stream, %error, "cannot ask how far the archive has come");
                    None
                }
            };
            let looks = join_all(CHAT_STREAMS.iter().zip(self.0.iter()).map(look)).await;
            if let Some(behind) = looks.into_iter().sum::<Option<u64>>() {
                metrics::gauge!("natter_archive_lag_events").set(u32::try_from(behind).unwrap_or(u32::MAX));
            }
            tokio::select! { () = lifecycle.soft().cancelled() => {}, () = tokio::time::sleep(LOOK) => {} }
        }
    }
}

/// How far the archive of a stream has come, and how many events are behind it.
async fn archived(nats: &Nats, stream: &str) -> Result<(Cursor, u64), async_nats::Error> {
    let stream = nats.jetstream().get_stream_no_info(stream).await?;
    let consumer: PullConsumer = stream.get_consumer::<pull::Config>(ARCHIVE_CONSUMER).await?;
    let info = consumer.cached_info();
    let behind = info.num_pending + u64::try_from(info.num_ack_pending).unwrap_or(0);
    Ok((info.ack_floor.stream_sequence, behind))
}

/// Works the archive's consumer, shared with the other instances.
pub fn run(service: &Service, mongo: Mongo) {
    let durable = Durable {
        name: ARCHIVE_CONSUMER,
        streams: &CHAT_STREAMS,
        filter: Vec::new(),
        ack_wait: ACK_WAIT,
        max_ack_pending: BATCHES.size * 8,
        one_at_a_time: false,
    };
    let nats = service.nats().clone();
    service.consume_batches(durable, BATCHES, move |batch| {
        let (nats, mongo) = (nats.clone(), mongo.clone());
        async move { take(&nats, &mongo, batch).await }
    });
}

async fn take(nats: &Nats, mongo: &Mongo, batch: Vec<Delivery>) -> Vec<(Delivery, Outcome)> {
    let mut writes = Writes::default();
    let outcomes: Vec<Outcome> = {
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in &batch {
            outcomes.push(add(nats, &mut writes, delivery).await);
        }
        outcomes
    };
    let written = store::write(mongo.database_anyway(), &writes).await;
    if let Err(error) = &written {
        tracing::warn!(events = batch.len(), error = chain(error), "MongoDB did not take a batch; trying again");
        // Told once here rather than once an event.
        tokio::select! { () = mongo.there() => {}, () = tokio::time::sleep(AGAIN) => {} }
    } else {
        metrics::counter!("natter_archived_events_total").increment(batch.len() as u64);
    }
    let settle = |outcome| match (outcome, &written) {
        (Outcome::Done, Err(_)) => Outcome::Retry(AGAIN),
        (outcome, _) => outcome,
    };
    batch.into_iter().zip(outcomes.into_iter().map(settle)).collect()
}

/// Adds one event to the batch, and its membership changes to the bucket `MEMBERS`.
async fn add(nats: &Nats, writes: &mut Writes, delivery: &Delivery) -> Outcome {
    let unreadable = |why: &str| {
        let trace_id = Trace::of(delivery.message.headers.as_ref()).id();
        tracing::error!(cursor = delivery.sequence, trace_id, why, "an event cannot be archived and is passed over");
        Outcome::Discard
    };
    let Some(chat) = chat_of_log(&delivery.message.subject) else { return unreadable("its subject is no chat's") };
    let name = delivery.header(headers::EVENT).unwrap_or_default();
    let event = match Event::decode(name, &delivery.message.payload) {
        Ok(Some(event)) => event,
        Ok(None) => return unreadable("its name is not known"),
        Err(error) => return unreadable(&error.to_string()),
    };
    let left = log::left(delivery.header(headers::LEFT));
    if let Err(error) = writes.add(chat, delivery.sequence, &event, &left) {
        return unreadable(&error.to_string());
    }
    let changes = members::changes(&event, &left);
    match members::record(nats, chat, delivery.sequence, &changes).await {
        Ok(()) => Outcome::Done,
        Err(error) => {
            tracing::warn!(%chat, error = chain(&error), "cannot write who is in a chat; trying again");
            Outcome::Retry(AGAIN)
        }
    }
}
