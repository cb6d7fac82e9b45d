//! How long things took, and in which time they count.

use std::{
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The time that counts.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
}

impl Window {
    /// So many seconds after a warm-up of so many.
    pub fn after(start: Instant, warm_up: u64, seconds: u64) -> Self {
        let from = start + Duration::from_secs(warm_up);
        Self { from, to: from + Duration::from_secs(seconds) }
    }

    pub fn contains(self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }

    pub fn seconds(self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

/// Times as they are taken: microseconds up to ten minutes, with three digits.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

/// Times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p999: f64,
    pub max: f64,
}

impl Default for Times {
    #[expect(clippy::expect_used, reason = "these bounds are valid")]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds of a histogram"))
    }
}

impl Times {
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    #[expect(clippy::expect_used, reason = "all have the same bounds")]
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("histograms of the same bounds");
    }

    pub fn latencies(&self) -> Latencies {
        let ms = |micros| Duration::from_micros(micros).as_secs_f64() * 1_000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        let max = ms(self.0.max());
        Latencies { count: self.0.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut all = Self::default();
        times.into_iter().for_each(|time| all.record(time));
        all
    }
}

/// The head of a table of latencies.
pub const HEAD: Head = Head;

pub struct Head;

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}", "ms", "p50", "p90", "p99", "p99.9", "max", "count")
    }
}

impl fmt::Display for Latencies {
    /// A row, after its name of 18 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p90, p99, p999, max } = self;
        write!(f, "{p50:>9.2}{p90:>9.2}{p99:>9.2}{p999:>9.2}{max:>9.2}{count:>10}")
    }
}

/// A count as a number that can be divided; no run has four thousand million of anything.
pub fn decimal(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
