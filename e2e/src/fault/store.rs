//! A JetStream store that is full: somebody has filled it with what is no chat's.

use std::time::Duration;

use async_nats::jetstream;
use contract::storage::CHAT_STREAMS;
use testkit::{Nats, until};

/// Subject of what fills it: a chat that nobody is in. Its events have no names, so everybody passes over them.
const FILLER: &str = "chat.log.0.00000000-0000-7000-8000-000000000000";
/// From large to small, so that nothing else fits in the end.
const SIZES: [usize; 4] = [512 * 1024, 64 * 1024, 4 * 1024, 128];
const DEADLINE: Duration = Duration::from_mins(1);

/// Fills the store until it takes nothing more.
pub async fn fill(nats: &Nats) {
    let context = jetstream::new(nats.connect("chat").await);
    for size in SIZES {
        let mut number = 0_u64;
        let full = until("the store to be full", DEADLINE, async || {
            number += 1;
            let appended = context.publish(FILLER, noise(size, number).into()).await.ok()?.await;
            appended.is_err().then_some(())
        });
        full.await.expect("a full store");
    }
}

/// Makes room again.
pub async fn make_room(nats: &Nats) {
    let context = jetstream::new(nats.connect("chat").await);
    until("room", DEADLINE, async || {
        let stream = context.get_stream_no_info(CHAT_STREAMS[0]).await.ok()?;
        stream.purge().filter(FILLER).await.ok().map(|_| ())
    })
    .await
    .expect("room in the store");
}

/// Bytes that cannot be compressed.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = crate::random::Random::new(seed);
    (0..size.div_ceil(8)).flat_map(|_| random.number().to_ne_bytes()).take(size).collect()
}
