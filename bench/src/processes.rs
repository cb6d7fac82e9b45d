//! What processes use, as Linux tells of those on this machine (proc(5)). Elsewhere nothing is told.

use std::{
    fmt, fs, process,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::time::{sleep, sleep_until};

use crate::latency::Window;

/// Of `utime` and `stime` per second: `USER_HZ`, which is 100 on every platform that this is built for.
const TICKS: f64 = 100.0;
/// A system that keeps less than this of a core busy for this long has nothing left to do: `mail` rests for up to five seconds
/// in between.
const IDLE_CORES: f64 = 0.1;
const IDLE_FOR: Duration = Duration::from_secs(6);
const REST_PATIENCE: Duration = Duration::from_mins(2);

/// This program among the others.
pub const GENERATOR: &str = "bench";

/// A process as `cargo dev` calls it: `user`, `chat-1`, `gw-8080`, `nats`, ...
#[derive(Debug, Clone, Deserialize)]
pub struct Process {
    pub name: String,
    pub pid: u32,
}

/// Those that are looked at.
#[derive(Debug, Clone)]
pub struct Processes(Vec<Process>);

/// What they had used at a moment.
pub struct Look {
    at: Instant,
    figures: Vec<Option<Figures>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    cpu_seconds: f64,
    /// Resident memory, in KiB.
    rss: u64,
}

/// What each used in a time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Usages(Vec<Usage>);

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    name: String,
    cpu_seconds: f64,
    /// Cores it kept busy on average.
    cores: f64,
    /// Resident at the end, in MiB, and how much more than at the beginning.
    rss: f64,
    rss_growth: f64,
}

impl Processes {
    /// These and this program.
    pub fn and_this(mut processes: Vec<Process>) -> Self {
        processes.push(Process { name: GENERATOR.to_owned(), pid: process::id() });
        Self(processes)
    }

    /// What they have used until now.
    pub fn look(&self) -> Look {
        Look { at: Instant::now(), figures: self.0.iter().map(|process| Figures::read(process.pid)).collect() }
    }

    /// What they have used since then. Who is not there any more, or was not then, is left out.
    pub fn since(&self, before: &Look) -> Usages {
        let Look { at, figures } = self.look();
        let seconds = (at - before.at).as_secs_f64();
        let usage = |((process, before), after): ((&Process, &Option<Figures>), Option<Figures>)| {
            let (before, after) = ((*before)?, after?);
            let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
            let (rss, rss_before) = (mebibytes(after.rss), mebibytes(before.rss));
            let name = process.name.clone();
            Some(Usage { name, cpu_seconds, cores: cpu_seconds / seconds, rss, rss_growth: rss - rss_before })
        };
        Usages(self.0.iter().zip(&before.figures).zip(figures).filter_map(usage).collect())
    }

    /// Waits until the system is done with what an earlier load left behind (archive, notifications), which would be
    /// measured otherwise; two minutes at most.
    pub async fn come_to_rest(&self) {
        let began = Instant::now();
        while began.elapsed() < REST_PATIENCE {
            let before = self.look();
            sleep(IDLE_FOR).await;
            if self.since(&before).system_cores().is_none_or(|cores| cores < IDLE_CORES) {
                return;
            }
        }
        eprintln!("the system does not come to rest: what it is busy with is in the figures");
    }

    /// What they use in this window; returns at its end.
    pub async fn during(self, window: Window) -> Usages {
        sleep_until(window.from.into()).await;
        let before = self.look();
        sleep_until(window.to.into()).await;
        self.since(&before)
    }
}

impl Usages {
    /// CPU seconds of the system, without this program; `None` where nothing is told.
    pub fn system_cpu(&self) -> Option<f64> {
        self.sum(|usage| usage.name != GENERATOR, |usage| usage.cpu_seconds)
    }

    /// Cores that the system kept busy, without this program.
    fn system_cores(&self) -> Option<f64> {
        self.sum(|usage| usage.name != GENERATOR, |usage| usage.cores)
    }

    /// CPU seconds of all gateways.
    pub fn gateway_cpu(&self) -> Option<f64> {
        self.sum(Usage::is_gateway, |usage| usage.cpu_seconds)
    }

    /// MiB that all gateways have grown by.
    pub fn gateway_growth(&self) -> Option<f64> {
        self.sum(Usage::is_gateway, |usage| usage.rss_growth)
    }

    /// Cores that this program kept busy.
    pub fn generator_cores(&self) -> Option<f64> {
        self.sum(|usage| usage.name == GENERATOR, |usage| usage.cores)
    }

    fn sum(&self, of: impl Fn(&Usage) -> bool, figure: impl Fn(&Usage) -> f64) -> Option<f64> {
        self.0.iter().filter(|usage| of(usage)).map(figure).reduce(|sum, figure| sum + figure)
    }
}

impl Usage {
    fn is_gateway(&self) -> bool {
        self.name == "gateway" || self.name.starts_with("gw-")
    }
}

impl Figures {
    fn read(pid: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        Self::parse(&read("stat")?, &read("status")?)
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything; the third is the state.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields.split(' ').skip(11).map_while(|field| field.parse::<u32>().ok());
        let ticks = f64::from(times.next()?) + f64::from(times.next()?);
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(Self { cpu_seconds: ticks / TICKS, rss: resident.trim().strip_suffix(" kB")?.parse().ok()? })
    }
}

impl fmt::Display for Usages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}{:>9}{:>9}{:>9}{:>9}", "process", "CPU s", "cores", "RSS MiB", "grown")?;
        for Usage { name, cpu_seconds, cores, rss, rss_growth } in &self.0 {
            write!(f, "\n{name:<18}{cpu_seconds:>9.2}{cores:>9.2}{rss:>9.1}{rss_growth:>9.1}")?;
        }
        Ok(())
    }
}

/// From KiB.
fn mebibytes(kibibytes: u64) -> f64 {
    f64::from(u32::try_from(kibibytes).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_read_past_any_name() {
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 9 0 0 0 250 50 3 4 20 0 4 0 999 1000 200";
        let status = "Name:\ta\nVmPeak:\t  9000 kB\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        assert_eq!(Figures::parse(stat, status), Some(Figures { cpu_seconds: 3.0, rss: 2048 }));
        assert_eq!(Figures::parse("77 (a) Z", status), None);
        // A zombie has no memory.
        assert_eq!(Figures::parse(stat, "Name:\ta\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_told_of_and_one_that_is_gone_left_out() {
        let gone = Process { name: "gw-1".to_owned(), pid: u32::MAX };
        let processes = Processes::and_this(vec![gone]);
        let usages = processes.since(&processes.look());
        assert_eq!(usages.0.iter().map(|usage| usage.name.as_str()).collect::<Vec<_>>(), [GENERATOR]);
        assert!(usages.0[0].rss > 0.1);
        assert_eq!((usages.gateway_cpu(), usages.system_cpu()), (None, None));
    }
}
