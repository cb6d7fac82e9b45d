//! What many do at the same moment, when a gateway or NATS was away: so many at a time, others wait for their turn.

use std::time::Duration;

use contract::Refusal;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Nobody waits for longer. Those behind would wait for an answer that they do not wait for any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// They come again in up to this many seconds, not all at once.
const SPREAD: u64 = 8;

/// So many at a time, in the order in which they came.
pub struct Turns(Semaphore);

impl Turns {
    pub fn new(at_a_time: usize) -> Self {
        Self(Semaphore::new(at_a_time.clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// Waits for a turn, which lasts until it is dropped.
    ///
    /// `rate_limited` after 5 seconds, to come again in 1 to 8.
    pub async fn come(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        // The semaphore is never closed.
        if let Ok(Ok(turn)) = timeout(PATIENCE, self.0.acquire()).await {
            return Ok(turn);
        }
        metrics::counter!("natter_limited_total", "limit" => "turns").increment(1);
        Err(Refusal::rate_limited(Duration::from_secs(rand::random_range(1..=SPREAD))))
    }
}

#[cfg(test)]
mod tests {
    use contract::Code;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_when_to_come_again() {
        let turns = Turns::new(1);
        let first = turns.come().await.unwrap();
        let refusal = turns.come().await.unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        assert!((1..=SPREAD).contains(&refusal.retry_after.unwrap()));
        let (second, ()) = tokio::join!(turns.come(), async { drop(first) });
        assert!(second.is_ok());
    }
}
