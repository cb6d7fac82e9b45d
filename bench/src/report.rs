//! What a run has shown, as a table and as JSON.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    ledger::{Answer, Ledger},
    run::Options,
};

/// The time that counts.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    /// Messages that were to be sent in the window.
    sent: u64,
    /// Messages acknowledged in the window, whenever they were sent, and the same per second.
    acknowledged: u64,
    sends_per_second: f64,
    /// From when a message of the window was to be sent until its sender had the acknowledgement.
    acknowledged_after: Latencies,
    /// ... until the other member had it.
    delivered_after: Latencies,
    /// Acknowledged, but not at both members' sockets. This and what follows is of the whole run, warm-up and all.
    lost: u64,
    doubled: u64,
    out_of_order: u64,
    /// By error code; `no_answer` for none by 10 s after the last send.
    refused: BTreeMap<String, u64>,
    /// Why connections ended before the run did.
    disconnected: Vec<String>,
}

/// In milliseconds.
#[derive(Serialize)]
struct Latencies {
    count: u64,
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl Report {
    pub fn new(
        options: Options,
        window: Window,
        ledgers: impl Iterator<Item = impl Deref<Target = Ledger>>,
        disconnected: Vec<String>,
    ) -> Self {
        let (mut sent, mut acknowledged, mut lost, mut doubled, mut out_of_order) = (0, 0, 0, 0, 0);
        let (mut acks, mut deliveries) = (histogram(), histogram());
        let mut refused = BTreeMap::new();
        for ledger in ledgers {
            out_of_order += ledger.out_of_order;
            for (code, count) in &ledger.refused {
                *refused.entry(code.clone()).or_default() += count;
            }
            for message in &ledger.messages {
                let in_window = window.contains(message.intended);
                sent += u64::from(in_window);
                lost += u64::from(message.is_lost());
                doubled += u64::from(message.doubled);
                match message.answer {
                    Answer::Accepted(at) => {
                        acknowledged += u64::from(window.contains(at));
                        record(&mut acks, in_window, at - message.intended);
                    }
                    Answer::Awaited => *refused.entry("no_answer".to_owned()).or_default() += 1,
                    Answer::Refused => {}
                }
                if let Some(at) = message.delivered() {
                    record(&mut deliveries, in_window, at - message.intended);
                }
            }
        }
        Self {
            options,
            sent,
            acknowledged,
            sends_per_second: decimal(acknowledged) / (window.to - window.from).as_secs_f64(),
            acknowledged_after: Latencies::of(&acks),
            delivered_after: Latencies::of(&deliveries),
            lost,
            doubled,
            out_of_order,
            refused,
            disconnected,
        }
    }

    /// Nothing was lost, doubled or out of order, and every connection lived to see it.
    pub fn is_sound(&self) -> bool {
        (self.lost, self.doubled, self.out_of_order, self.disconnected.len()) == (0, 0, 0, 0)
    }

    pub fn has_acknowledged(&self) -> bool {
        self.acknowledged > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acknowledged, sends_per_second, lost, doubled, out_of_order, .. } = self;
        writeln!(f, "{sends_per_second:.0} sends/s ({sent} sent, {acknowledged} acknowledged in time)")?;
        writeln!(f, "{:<18}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}", "ms", "p50", "p90", "p99", "p99.9", "max", "count")?;
        for (name, latencies) in
            [("send -> ack", &self.acknowledged_after), ("send -> delivered", &self.delivered_after)]
        {
            let Latencies { count, p50, p90, p99, p999, max } = latencies;
            writeln!(f, "{name:<18}{p50:>9.2}{p90:>9.2}{p99:>9.2}{p999:>9.2}{max:>9.2}{count:>10}")?;
        }
        write!(f, "lost {lost}, doubled {doubled}, out of order {out_of_order}, refused ")?;
        let refused: Vec<_> = self.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
        f.write_str(&if refused.is_empty() { "0".to_owned() } else { refused.join(", ") })?;
        if let Some(reason) = self.disconnected.first() {
            write!(f, "\n{} connections ended, the first because {reason}", self.disconnected.len())?;
        }
        Ok(())
    }
}

impl Window {
    fn contains(self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }
}

impl Latencies {
    fn of(micros: &Histogram<u64>) -> Self {
        let ms = |micros| Duration::from_micros(micros).as_secs_f64() * 1_000.0;
        let at = |quantile| ms(micros.value_at_quantile(quantile));
        Self { count: micros.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: ms(micros.max()) }
    }
}

/// Of microseconds up to a minute, with three digits.
#[expect(clippy::expect_used, reason = "these bounds are valid")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds of a histogram")
}

fn record(histogram: &mut Histogram<u64>, in_window: bool, time: Duration) {
    if in_window {
        histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// A count as a number that can be divided; no run has four thousand million messages.
fn decimal(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
