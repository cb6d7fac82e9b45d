//! What many do at the same moment, when a gateway or NATS was away: so many at a time, others wait for their turn.

use std::{ops::RangeInclusive, time::Duration};

use contract::Refusal;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Nobody waits for longer. Those behind would wait for an answer that they do not wait for any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// They come again in so many seconds, not all at once: those who have waited, and those of a crowd that is too large to.
const WAITED: RangeInclusive<u64> = 1..=8;
const CROWD: RangeInclusive<u64> = 4..=16;

/// So many at a time, in the order in which they came, and so many who wait.
pub struct Turns {
    turns: Semaphore,
    /// Places of those who have a turn or wait for one.
    places: Semaphore,
}

/// A turn, until it is dropped.
pub struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Turns {
    pub fn new(at_a_time: usize, waiting: usize) -> Self {
        let at_a_time = at_a_time.clamp(1, Semaphore::MAX_PERMITS);
        let places = at_a_time.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { turns: Semaphore::new(at_a_time), places: Semaphore::new(places) }
    }

    /// Waits for a turn.
    ///
    /// `rate_limited` after 5 seconds, to come again in 1 to 8, and at once where too many wait, to come again in 4 to 16.
    pub async fn come(&self) -> Result<Turn<'_>, Refusal> {
        let Ok(place) = self.places.try_acquire() else { return Err(refused(CROWD)) };
        // The semaphore is never closed.
        match timeout(PATIENCE, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(Turn { _turn: turn, _place: place }),
            _ => Err(refused(WAITED)),
        }
    }
}

fn refused(again: RangeInclusive<u64>) -> Refusal {
    metrics::counter!("natter_limited_total", "limit" => "turns").increment(1);
    Refusal::rate_limited(Duration::from_secs(rand::random_range(again)))
}

#[cfg(test)]
mod tests {
    use contract::Code;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_when_to_come_again() {
        let turns = Turns::new(1, 1);
        let first = turns.come().await.ok().unwrap();
        let (waited, crowd) = tokio::join!(turns.come(), turns.come());
        for (refused, again) in [(waited, WAITED), (crowd, CROWD)] {
            let refusal = refused.err().unwrap();
            assert_eq!(refusal.code, Code::RateLimited);
            assert!(again.contains(&refusal.retry_after.unwrap()), "{refusal:?}");
        }
        let (second, ()) = tokio::join!(turns.come(), async { drop(first) });
        assert!(second.is_ok());
    }
}
