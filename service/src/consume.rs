//! Durable consumers: work from a stream, shared by the instances of a service, acknowledged by what became of it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_nats::{
    Subject,
    jetstream::{
        self, AckKind,
        consumer::{AckPolicy, PriorityPolicy, pull},
    },
};
use futures::{FutureExt, Stream, StreamExt, stream::SelectAll};
use tokio::{sync::Semaphore, time::Instant};

use crate::{Lifecycle, Nats, Readiness, Trace, log, pins::Pins};

/// A consumer that cannot be had is asked for again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// The server says this often that it is still there; after twice as long without a word we ask for the consumer anew. No
/// other sign comes when NATS is back without the consumer: nobody answers a pull then, not even to refuse it.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Bytes of messages that are asked for at a time, and from which on a batch is full: what is in hand is bounded by both, so that
/// long messages need no more memory than many.
const BYTES: usize = 16 * 1024 * 1024;

/// Acknowledgements of a batch are sent so many at a time, and this far apart: a thousand at once would hold up what the
/// server has to do for others.
const SETTLED_AT_ONCE: usize = 32;
const BREATH: Duration = Duration::from_millis(2);

/// What became of a message: the error carries the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Never again.
    Done,
    /// Again after this long.
    Retry(Duration),
    /// It will never work: never again.
    Discard,
}

/// A durable consumer, by what it promises.
#[derive(Debug, Clone)]
pub struct Durable {
    /// The readiness part is called as the consumer is.
    pub name: &'static str,
    /// It is made on each of these, and their messages come together.
    pub streams: &'static [&'static str],
    /// Only these subjects; all where empty.
    pub filter: Vec<String>,
    /// Unacknowledged after this, a message is given to another instance.
    pub ack_wait: Duration,
    /// Messages in flight over all instances and streams.
    pub max_ack_pending: usize,
    /// Whether one instance at a time takes all there is in a stream, while the others stand by (ADR-42, pinned client).
    pub one_at_a_time: bool,
}

/// How messages are put together.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// At most so many, and 16 MiB.
    pub size: usize,
    /// The first one waits at most this long for others: ten that are written at once cost little more than one.
    pub linger: Duration,
    /// After a batch it rests nine times as long as that took, and at most this: the busier it is, the more there is to
    /// each batch, and the less each message costs.
    pub rest: Duration,
}

/// How much longer than it works a consumer of batches rests: see [`Batches::rest`].
const REST: u32 = 9;

impl Batches {
    /// What comes until both times are over.
    async fn gather(
        self,
        first: Delivery,
        messages: &mut (impl Stream<Item = Delivery> + Unpin),
        rested: Instant,
    ) -> Vec<Delivery> {
        let until = rested.max(Instant::now() + self.linger);
        let mut bytes = first.message.length;
        let mut batch = vec![first];
        let full = async {
            while batch.len() < self.size
                && bytes < BYTES
                && let Some(next) = messages.next().await
            {
                bytes += next.message.length;
                batch.push(next);
            }
        };
        // What is there already is taken in any case: the future is polled before the time.
        let _ = tokio::time::timeout_at(until, full).await;
        batch
    }
}

/// One message from a stream.
#[derive(Debug)]
pub struct Delivery {
    pub message: jetstream::Message,
    /// Its sequence in its stream.
    pub sequence: u64,
    /// Counted from 1.
    pub attempt: u64,
}

impl Delivery {
    fn new(message: jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        let (sequence, attempt) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1));
        Some(Self { message, sequence, attempt })
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// Whether it says that a key of a bucket is no more.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        self.message.headers.as_ref().is_some_and(log::is_removal)
    }

    async fn settle(&self, outcome: Outcome) {
        let kind = match outcome {
            Outcome::Done => AckKind::Ack,
            Outcome::Retry(after) => AckKind::Nak(Some(after)),
            Outcome::Discard => AckKind::Term,
        };
        // An acknowledgement that is lost means the message comes again; handlers are idempotent.
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::warn!(%error, "cannot acknowledge");
        }
    }
}

impl Durable {
    fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.name.to_owned()),
            filter_subjects: self.filter.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            max_ack_pending: i64::try_from(self.max_ack_pending.div_ceil(self.streams.len())).unwrap_or(i64::MAX),
            priority_policy: if self.one_at_a_time { PriorityPolicy::PinnedClient } else { PriorityPolicy::None },
            priority_groups: self.group().into_iter().collect(),
            priority_timeout: self.group().map(|_| self.ack_wait).unwrap_or_default(),
            ..Default::default()
        }
    }

    /// The priority group that one instance is pinned in.
    fn group(&self) -> Option<String> {
        self.one_at_a_time.then(|| self.name.to_owned())
    }

    /// Messages as they come, until an error or the soft stop; readiness follows.
    async fn open(&self, nats: &Nats, at_once: usize) -> Result<SelectAll<pull::Stream>, async_nats::Error> {
        let mut all = SelectAll::new();
        for stream in self.streams {
            let stream = nats.jetstream().get_stream_no_info(stream).await?;
            let consumer = stream.create_consumer(self.config()).await?;
            let pulls = consumer.stream().max_messages_per_batch(at_once.div_ceil(self.streams.len()));
            let mut pulls = pulls.max_bytes_per_batch(BYTES / self.streams.len()).heartbeat(HEARTBEAT);
            if let Some(group) = self.group() {
                pulls = pulls.group(group).expires(self.ack_wait / 5);
            }
            all.push(pulls.messages().await?);
        }
        Ok(all)
    }

    /// Hands every message to `handle`, `concurrency` at a time.
    pub(crate) async fn each<H, F>(
        self,
        nats: Nats,
        lifecycle: Lifecycle,
        readiness: Readiness,
        concurrency: usize,
        handle: H,
    ) where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = (Delivery, Outcome)> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(concurrency));
        let handle = Arc::new(handle);
        let tasks = lifecycle.clone();
        let take = move |batch: Vec<Delivery>| {
            let (permits, handle, tasks) = (permits.clone(), handle.clone(), tasks.clone());
            async move {
                for delivery in batch {
                    let Ok(permit) = permits.clone().acquire_owned().await else { return };
                    let trace = Trace::of(delivery.message.headers.as_ref());
                    let handle = handle.clone();
                    tasks.spawn(trace.scope(async move {
                        let (delivery, outcome) = handle(delivery).await;
                        delivery.settle(outcome).await;
                        drop(permit);
                    }));
                }
            }
        };
        let one = Batches { size: 1, linger: Duration::ZERO, rest: Duration::ZERO };
        self.run(nats, lifecycle, readiness, one, concurrency, take).await;
    }

    /// Hands what comes to `handle`, batch by batch, one after the other.
    pub(crate) async fn batches<H, F>(
        self,
        nats: Nats,
        lifecycle: Lifecycle,
        readiness: Readiness,
        batches: Batches,
        handle: H,
    ) where
        H: Fn(Vec<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<(Delivery, Outcome)>> + Send + 'static,
    {
        let (handle, client, often) = (Arc::new(handle), nats.client().clone(), self.ack_wait / 3);
        let take = move |batch: Vec<Delivery>| {
            let (handle, client) = (handle.clone(), client.clone());
            async move {
                let replies = batch.iter().filter_map(|delivery| delivery.message.reply.clone()).collect();
                let outcomes = tokio::select! {
                    outcomes = handle(batch) => outcomes,
                    never = say_progress(&client, replies, often) => match never {},
                };
                for (at, (delivery, outcome)) in outcomes.into_iter().enumerate() {
                    if at % SETTLED_AT_ONCE == SETTLED_AT_ONCE - 1 {
                        tokio::time::sleep(BREATH).await;
                    }
                    delivery.settle(outcome).await;
                }
            }
        };
        self.run(nats, lifecycle, readiness, batches, batches.size, take).await;
    }

    async fn run<T, F>(
        self,
        nats: Nats,
        lifecycle: Lifecycle,
        readiness: Readiness,
        batches: Batches,
        at_once: usize,
        take: T,
    ) where
        T: Fn(Vec<Delivery>) -> F + Send,
        F: Future<Output = ()> + Send,
    {
        let soft = lifecycle.soft().clone();
        while !soft.is_cancelled() {
            match self.open(&nats, at_once).await {
                Ok(messages) => {
                    readiness.set(self.name, true);
                    let pins = Pins::default();
                    let messages = until_error(messages, self.name).inspect(|delivery| pins.note(&delivery.message));
                    let mut messages = Box::pin(messages);
                    let mut rested = Instant::now();
                    while let Some(Some(first)) = soft.run_until_cancelled(messages.next()).await {
                        let batch = batches.gather(first, &mut messages, rested).await;
                        let began = Instant::now();
                        take(batch).await;
                        rested = Instant::now() + (began.elapsed() * REST).min(batches.rest);
                    }
                    if soft.is_cancelled() {
                        // What has come and is not begun is for another instance, at once rather than after `ack_wait`.
                        while let Some(Some(delivery)) = messages.next().now_or_never() {
                            delivery.settle(Outcome::Retry(Duration::ZERO)).await;
                        }
                    }
                    drop(messages);
                    pins.let_go(&nats, self.name, self.streams).await;
                }
                Err(error) => {
                    tracing::warn!(consumer = self.name, %error, "cannot have the consumer; trying again");
                }
            }
            if !soft.is_cancelled() {
                readiness.set(self.name, false);
                tokio::select! { () = soft.cancelled() => {}, () = tokio::time::sleep(AGAIN) => {} }
            }
        }
    }
}

/// Says that these messages are still worked on: a batch may take longer than one who has died is waited for.
async fn say_progress(client: &async_nats::Client, replies: Vec<Subject>, often: Duration) -> Infallible {
    loop {
        tokio::time::sleep(often).await;
        for reply in &replies {
            // Where it does not arrive, the message comes again.
            let _ = client.publish(reply.clone(), AckKind::Progress.into()).await;
        }
    }
}

fn until_error(messages: SelectAll<pull::Stream>, name: &'static str) -> impl Stream<Item = Delivery> {
    messages
        .map(move |message| {
            message
                .inspect_err(|error| tracing::warn!(consumer = name, %error, "lost the consumer; asking for it anew"))
        })
        .take_while(|message| std::future::ready(message.is_ok()))
        .filter_map(|message| std::future::ready(message.ok().and_then(Delivery::new)))
}
