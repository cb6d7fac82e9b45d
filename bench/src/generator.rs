//! Whether a run has measured the system or this program.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::time::{sleep, sleep_until};

use crate::{
    latency::{Times, Window},
    load::Outcome,
};

/// A closed loop that is faster than this part of what this program manages by itself may be held up by it.
const NEAR: f64 = 0.5;
/// In milliseconds: a p99 of lateness beyond it is part of the latencies.
const LATE: f64 = 1.0;
/// In milliseconds, of a p99: tokio's clock ticks every millisecond, so up to two are nobody's fault.
const SLEEPY: f64 = 5.0;
/// Between two looks at how late one is woken.
const NAP: Duration = Duration::from_millis(5);
/// Of all cores: beyond it this program takes them from what it measures.
const GREEDY: f64 = 0.5;

/// What this program had to do with the figures.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// Sends per second of the same load on a server that only broadcasts, in a process of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    alone: Option<f64>,
    /// Cores that it kept busy, of so many.
    cores: Option<f64>,
    of_cores: usize,
    /// Why the figures say as much about it as about the system; empty if they do not.
    bottleneck: Vec<String>,
}

impl Generator {
    /// `alone` is the same load on a server that only broadcasts, where that was measured.
    pub fn judge(outcome: &Outcome, alone: Option<&Outcome>) -> Self {
        let of_cores = thread::available_parallelism().map_or(1, usize::from);
        let figures = Figures {
            reached: outcome.sends_per_second,
            alone: alone.map(|alone| alone.sends_per_second),
            late: outcome.sent_late.p99,
            sleepy: outcome.woken_late.p99,
            cores: outcome.processes.generator_cores(),
            of_cores: u32::try_from(of_cores).map_or(f64::INFINITY, f64::from),
        };
        Self { alone: figures.alone, cores: figures.cores, of_cores, bottleneck: figures.bottleneck() }
    }
}

/// How much later than asked for this program's tasks are woken: as late as any answer is noticed.
pub async fn woken_late(window: Window) -> Times {
    sleep_until(window.from.into()).await;
    let mut times = Times::default();
    while Instant::now() < window.to {
        let due = Instant::now() + NAP;
        sleep(NAP).await;
        times.record(due.elapsed());
    }
    times
}

#[derive(Clone, Copy)]
struct Figures {
    reached: f64,
    alone: Option<f64>,
    late: f64,
    sleepy: f64,
    cores: Option<f64>,
    of_cores: f64,
}

impl Figures {
    fn bottleneck(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(alone) = self.alone.filter(|alone| self.reached > NEAR * alone) {
            reasons.push(format!("by itself it manages {alone:.0} sends/s, not much more than these"));
        }
        if self.late > LATE {
            reasons.push(format!("it sent late, by {:.1} ms at p99: that is in the latencies", self.late));
        }
        if self.sleepy > SLEEPY {
            reasons.push(format!(
                "it was woken late, by {:.1} ms at p99: the machine is busy, and that is in the latencies",
                self.sleepy
            ));
        }
        if let Some(cores) = self.cores.filter(|cores| *cores > GREEDY * self.of_cores) {
            reasons.push(format!("it took {cores:.1} of {} cores from the system", self.of_cores));
        }
        reasons
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this program")?;
        if let Some(cores) = self.cores {
            write!(f, " kept {cores:.2} of {} cores busy", self.of_cores)?;
        }
        if let Some(alone) = self.alone {
            write!(f, "; the same load on a server that only broadcasts: {alone:.0} sends/s")?;
        }
        self.bottleneck.iter().try_for_each(|reason| write!(f, "\nTHIS PROGRAM WAS A BOTTLENECK: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_the_bottleneck_says_so() {
        let calm =
            Figures { reached: 100.0, alone: Some(1000.0), late: 0.1, sleepy: 1.9, cores: Some(0.3), of_cores: 2.0 };
        assert!(calm.bottleneck().is_empty());
        for bad in
            [Figures { reached: 600.0, ..calm }, Figures { late: 1.5, ..calm }, Figures { cores: Some(1.2), ..calm }]
        {
            assert_eq!(bad.bottleneck().len(), 1);
        }
        assert!(Figures { alone: None, cores: None, ..calm }.bottleneck().is_empty());
    }
}
