//! Closed loops: each of many places does one thing after the other.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    latency::{Latencies, Times, Window, decimal},
    refused::{Refusals, Refused},
};

/// Somebody who is refused waits at least this long.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// How fast something went.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// What was completed in the window, and the same per second.
    pub done: u64,
    pub per_second: f64,
    /// How long each of them took.
    pub took: Latencies,
    /// What was under way at the end.
    pub unfinished: u64,
    /// By error code.
    pub refused: Refusals,
}

#[derive(Default)]
struct Place {
    done: Times,
    unfinished: u64,
    refused: Refusals,
}

/// Lets so many places `act` until the window is over; `act` gets the place's number. Its error is the run's. They begin one
/// after the other until the window opens: then all of them are under way, and how they came is over.
pub async fn run<A>(places: usize, window: Window, act: impl Fn(usize) -> A + Clone + Send + 'static) -> Result<Rate>
where
    A: Future<Output = Result<Result<(), Refused>>> + Send,
{
    let mut running = JoinSet::new();
    let (start, opens) = (Instant::now(), Instant::from(window.from));
    for place in 0..places {
        let act = act.clone();
        running.spawn(async move {
            let mut seen = Place::default();
            sleep_until(start + (opens - start).mul_f64(decimal(place as u64) / decimal(places as u64))).await;
            while std::time::Instant::now() < window.to {
                // What is still under way at the end is given up: there may be much, and it does not count.
                match timeout_at(window.to.into(), seen.count(window, act(place))).await {
                    Ok(counted) => counted?,
                    Err(_) => seen.unfinished += 1,
                }
            }
            anyhow::Ok(seen)
        });
    }
    let mut all = Place::default();
    while let Some(place) = running.join_next().await {
        let Place { done, unfinished, refused } = place??;
        all.unfinished += unfinished;
        all.done.add(&done);
        all.refused.add(&refused);
    }
    let took = all.done.latencies();
    let Place { unfinished, refused, .. } = all;
    Ok(Rate { done: took.count, per_second: decimal(took.count) / window.seconds(), took, unfinished, refused })
}

impl Place {
    async fn count(&mut self, window: Window, act: impl Future<Output = Result<Result<(), Refused>>>) -> Result<()> {
        let started = Instant::now();
        match act.await? {
            Ok(()) if window.contains(std::time::Instant::now()) => self.done.record(started.elapsed()),
            Ok(()) => {}
            Err(Refused { code, wait }) => {
                self.refused.count(&code);
                sleep(wait.max(AFTER_REFUSAL)).await;
            }
        }
        Ok(())
    }
}

impl Rate {
    /// The error is that there was nothing to measure.
    pub fn measured(self) -> Result<Self> {
        ensure!(self.done > 0, "nothing was completed: {self}");
        Ok(self)
    }
}

impl fmt::Display for Rate {
    /// A row of a table of latencies after its name of 18 characters, with the rate behind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:>10.0}/s", self.took, self.per_second)?;
        if self.refused == Refusals::default() { Ok(()) } else { write!(f, ", refused {}", self.refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_in_the_window_counts_and_refusals_are_waited_for() {
        let window = Window::after(std::time::Instant::now(), 0, 1);
        let rate = run(2, window, |place| async move {
            sleep(Duration::from_millis(10)).await;
            Ok(if place == 0 { Ok(()) } else { Err(Refused::new("rate_limited", Some(2))) })
        });
        let rate = rate.await.unwrap();
        assert!((20..=100).contains(&rate.done), "{rate}");
        assert_eq!((rate.refused.of("rate_limited"), rate.unfinished > 0), (1, true));
        assert!(rate.took.p50 >= 9.9, "{rate}");
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        let window = Window::after(std::time::Instant::now(), 0, 1);
        assert!(run(1, window, |_| async { anyhow::bail!("no") }).await.is_err());
    }
}
