//! Runs with one seed after the other, each with a system of its own, until the time is over or something is wrong.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt;

use crate::{
    fault::Fault,
    report::report,
    run::{Options, Run},
};

/// Rounds of one run: long enough for snapshots and pages, short enough for a report to be read.
const ROUNDS: usize = 4;
const BEATS: usize = 120;
/// Of a cluster.
const NODES: usize = 3;

/// What to do, and for how long.
#[derive(Debug)]
pub struct Soak {
    pub time: Duration,
    /// Of the first run; the next ones count on.
    pub seed: u64,
    pub faults: Vec<&'static Fault>,
    pub verbose: bool,
}

/// Whether nothing was wrong. Prints what it does.
pub async fn soak(soak: Soak) -> bool {
    let started = Instant::now();
    let mut runs = 0;
    for seed in soak.seed.. {
        if started.elapsed() >= soak.time {
            break;
        }
        println!("run with seed {seed}; again: cargo run -p e2e -- soak --minutes 1 --seed {seed}");
        // One node and a cluster take turns, where there are faults for both.
        let fitting = |nodes: usize| soak.faults.iter().copied().filter(|fault| fault.fits(nodes)).collect::<Vec<_>>();
        let (single, cluster) = (fitting(1), fitting(NODES));
        let (nodes, faults) = match (single.is_empty(), cluster.is_empty()) {
            (false, false) if seed % 2 == 0 => (1, single),
            (false, true) => (1, single),
            _ => (NODES, cluster),
        };
        // Who is away is told by the clock, so clocks that are wrong and what can be said of that take turns as well.
        let calm: Vec<_> = faults.iter().copied().filter(|fault| !fault.needs_clock()).collect();
        let faults = if seed / 2 % 2 == 0 && !calm.is_empty() { calm } else { faults };
        let names: Vec<&str> = faults.iter().map(|fault| fault.name).collect();
        println!("{nodes} node(s) of NATS; faults: {}", names.join(", "));
        let options = Options { seed, faults, nodes, verbose: soak.verbose, ..Options::default() };
        // A run panics where it cannot go on.
        let run = AssertUnwindSafe(one_run(options, started, soak.time)).catch_unwind();
        match run.await {
            Ok(None) => runs += 1,
            Ok(Some(report)) => {
                println!("WRONG, seed {seed}:\n{report}");
                return false;
            }
            Err(_) => {
                println!("WRONG, seed {seed}: the run could not go on");
                return false;
            }
        }
    }
    println!("{runs} runs in {:.1} minutes: nothing was wrong", started.elapsed().as_secs_f64() / 60.0);
    true
}

/// Some rounds; what is wrong, if something is.
async fn one_run(options: Options, started: Instant, time: Duration) -> Option<String> {
    let mut run = Run::start(options).await;
    for round in 1..=ROUNDS {
        run.round(BEATS).await;
        let (history, violations) = run.check().await;
        let wrong = run.world.wrong.lock().unwrap().clone();
        if !violations.is_empty() || !wrong.is_empty() {
            return Some(format!("{}{}", report(&history, &violations), wrong.join("\n")));
        }
        let (ops, log, counts) = (history.ops.len(), history.log.len(), run.world.counts());
        run.world
            .recorder
            .tell(&format!("round {round}: {ops} requests, {log} events in the log: all right ({counts})"));
        if started.elapsed() >= time {
            break;
        }
    }
    None
}
