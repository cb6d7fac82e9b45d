//! Waiting for a condition with a deadline: what tests do instead of sleeping.

use std::{future::Future, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Between two looks; short at first, because most conditions are true within milliseconds.
const LOOK_AGAIN: [Duration; 4] =
    [Duration::from_millis(2), Duration::from_millis(5), Duration::from_millis(10), Duration::from_millis(25)];

/// Calls `probe` until it returns `Some`.
///
/// # Panics
/// When that takes longer than `deadline`; `what` says in the message what did not happen.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, probe: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match until(what, deadline, probe).await {
            Ok(value) => value,
            Err(late) => panic!("{late} (awaited at {caller})"),
        }
    }
}

/// Calls `probe` until it returns `Some`, or fails when that takes longer than `deadline`.
pub async fn until<T>(what: &str, deadline: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    for round in 0.. {
        match tokio::time::timeout_at(end, probe()).await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if Instant::now() < end => sleep(LOOK_AGAIN[LOOK_AGAIN.len().min(round / 4 + 1) - 1]).await,
            Ok(None) | Err(_) => break,
        }
    }
    bail!("{what}: not within {deadline:?}")
}
