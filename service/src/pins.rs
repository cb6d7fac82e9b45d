//! One instance at a time: the pinned client of a consumer's priority group (ADR-42) gets all its messages, the others stand
//! by until it has not pulled for a while. One that stops lets go at once.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    header::NATS_PIN_ID,
    jetstream::{self, consumer::PullConsumer},
};
use futures::future::join_all;
use tokio::time::timeout;

use crate::Nats;

/// NATS has this long to hear that somebody lets go; else they are waited for.
const LETTING_GO: Duration = Duration::from_secs(2);

/// The pins that this instance has held: each stream's consumer gives one, and another one after it was lost.
#[derive(Default)]
pub(crate) struct Pins(Mutex<HashSet<String>>);

impl Pins {
    /// Notes under which pin a message has come, if under any.
    pub(crate) fn note(&self, message: &jetstream::Message) {
        let Some(pin) = message.headers.as_ref().and_then(|headers| headers.get_last(NATS_PIN_ID)) else { return };
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !pins.contains(pin.as_str()) {
            pins.insert(pin.as_str().to_owned());
        }
    }

    /// Lets another instance go on with these streams, where this one is pinned.
    pub(crate) async fn let_go(self, nats: &Nats, consumer: &str, streams: &[&str]) {
        let pins = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if pins.is_empty() {
            return;
        }
        let let_go = |stream| {
            let pins = &pins;
            async move {
                let stream = nats.jetstream().get_stream_no_info(stream).await?;
                let pull: PullConsumer = stream.get_consumer(consumer).await?;
                let groups = &pull.cached_info().priority_groups;
                let ours = |pin: &String| pins.contains(pin);
                if groups.iter().any(|group| group.pinned_client_id.as_ref().is_some_and(ours)) {
                    stream.unpin_consumer(consumer, consumer).await?;
                }
                Ok::<(), async_nats::Error>(())
            }
        };
        let gone = timeout(LETTING_GO, join_all(streams.iter().map(let_go))).await.unwrap_or_default();
        if gone.len() < streams.len() || gone.iter().any(Result::is_err) {
            tracing::info!(consumer, "other instances will wait for this one before they go on");
        }
    }
}
