//! A random history over everything that may fail: people write, read, come and go while gateways, instances, NATS,
//! MongoDB and connections die. At quiet points every device, which has only heard events and caught up as
//! `docs/frontend.md` says, shows what a fresh fetch shows, that is what the log says; and what was acknowledged is
//! everywhere, once.
//!
//! `NATTER_MODEL_SEED` replays the plan of a run, `NATTER_MODEL_ROUNDS` makes it longer.

use std::{env, time::Instant};

use e2e::{
    fault,
    random::Random,
    run::{Options, Run},
};

const ROUNDS: usize = 2;
const BEATS: usize = 100;

#[tokio::test]
async fn a_random_history_leaves_everybody_with_the_same_picture() {
    let seed = number("NATTER_MODEL_SEED").unwrap_or_else(Random::any_seed);
    let rounds = number("NATTER_MODEL_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    // Shown when it fails.
    eprintln!(
        "replay: NATTER_MODEL_SEED={seed} NATTER_MODEL_ROUNDS={rounds} cargo test --workspace --test it -- model"
    );
    let faults = fault::all_named(&["gateway-kill", "chat-kill", "user-kill", "nats-kill"]);
    let mut run = Run::start(Options { seed, faults, writers: 2, verbose: true, ..Options::default() }).await;
    for round in 1..=rounds {
        let started = Instant::now();
        run.round(BEATS).await;
        let played = started.elapsed();
        run.assert_right().await;
        eprintln!("round {round}: played in {played:.1?}, right after {:.1?}", started.elapsed());
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap())
}
