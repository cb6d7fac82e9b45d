//! A mixed day: people write, read, type, look who is there, scroll back and lose their connections, in fixed proportions.

mod town;

use std::{
    fmt,
    num::NonZeroU64,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::{Args, value_parser};
use serde::Serialize;
use tokio::{
    runtime::Handle,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use super::Sound;
use crate::{
    follow::Faults,
    latency::{self, Window},
    processes::Usages,
    refused::Refusals,
    target::Target,
};
use town::{Row, Town};

/// What is still under way so long after the last action is given up.
const DRAIN: Duration = Duration::from_secs(30);

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// People who sign up and connect, in turn at each of the gateways
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u16).range(2..))]
    people: u16,
    /// Members of each group; everybody is in one, and in a direct chat
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u16).range(2..=1_000))]
    group: u16,
    /// Actions per second of all people together, begun whether or not earlier ones are done; times are counted from
    /// when an action was to begin
    #[arg(long, default_value = "200")]
    rate: NonZeroU64,
    /// Seconds that count
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before them that do not count
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(..=120))]
    warm_up: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    actions: Vec<Row>,
    #[serde(flatten)]
    faults: Faults,
    /// Actions that had no end.
    stuck: usize,
    processes: Usages,
}

pub async fn day(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let town = Arc::new(Town::build(&system, options).await?);
    let start = Instant::now();
    let window = Window::after(start, options.warm_up, options.seconds);
    let processes = tokio::spawn(system.processes.clone().during(window));
    let (handle, rate) = (Handle::current(), options.rate);
    let mut acting = spawn_blocking({
        let town = Arc::clone(&town);
        move || {
            let mut acting = JoinSet::new();
            for number in 0.. {
                let intended = start + Duration::from_nanos(1_000_000_000 * number / rate);
                if intended >= window.to {
                    break;
                }
                // A thread's sleep is more exact than tokio's.
                thread::sleep(intended.saturating_duration_since(Instant::now()));
                acting.spawn_on(Arc::clone(&town).act(intended, window), &handle);
            }
            acting
        }
    })
    .await?;
    let ended = timeout(DRAIN, async {
        while let Some(acted) = acting.join_next().await {
            acted??;
        }
        anyhow::Ok(())
    });
    if let Ok(ended) = ended.await {
        ended?;
    }
    let faults = town.faults().await?;
    Ok(Report {
        options: options.clone(),
        actions: town.rows(),
        faults,
        stuck: acting.len(),
        processes: processes.await?,
    })
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.faults.none() && self.stuck == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { people, rate, seconds, .. } = &self.options;
        writeln!(f, "{people} people, {rate} actions/s for {seconds} s\n{}", latency::HEAD)?;
        for Row { action, took, refused } in &self.actions {
            write!(f, "{:<18}{took}", format!("{action:?}"))?;
            writeln!(
                f,
                "{}",
                if *refused == Refusals::default() { String::new() } else { format!(", refused {refused}") }
            )?;
        }
        let Faults { missed, doubled, out_of_order, gaps } = self.faults;
        let stuck = self.stuck;
        writeln!(f, "missed {missed}, doubled {doubled}, out of order {out_of_order}, gaps {gaps}, stuck {stuck}")?;
        write!(f, "{}", self.processes)
    }
}
