//! Mutants: Natter with one promise broken on purpose. A checker that does not catch each of them is not to be trusted.

mod table;
mod workspace;

use std::{
    panic::AssertUnwindSafe,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::FutureExt;
use testkit::services::Build;

pub use table::{ALL, Edit, Mutant};
use workspace::Copy;

use crate::{
    check::Violation,
    fault,
    run::{Options, Run},
};

/// Chances that a mutant has to do its harm: some need a race.
const CHANCES: usize = 3;
/// A round of everything there is to do, after the faults.
const BEATS: usize = 40;

/// Builds and runs each mutant whose name contains `only`; whether all were caught. Prints a table.
pub async fn hunt(only: &str) -> Result<bool> {
    let target = Build::of_this_program()?.target().join("mutants");
    let copy = Copy::of(&testkit::workspace(), &target.join("source"))?;
    println!("builds into {}: the first time all dependencies are compiled", target.display());
    let mut lines = Vec::new();
    let mut all_caught = true;
    for mutant in ALL.iter().filter(|mutant| mutant.name.contains(only)) {
        println!("mutant {}: {}", mutant.name, mutant.what);
        let build = match build(mutant, &copy, &target).await {
            Ok(build) => build,
            Err(error) => {
                all_caught = false;
                lines.push(format!("{:<22} NOT BUILT  {error:#}", mutant.name));
                continue;
            }
        };
        let started = Instant::now();
        // A run panics where it cannot go on; that is not being caught by the checker.
        let caught = AssertUnwindSafe(run(mutant, build)).catch_unwind().await;
        let seconds = started.elapsed().as_secs();
        let (result, how) = match caught {
            Ok(kinds) if kinds.iter().any(|kind| mutant.caught_as.contains(kind)) => ("caught", kinds.join(", ")),
            Ok(kinds) => ("NOT CAUGHT", kinds.join(", ")),
            Err(_) => ("NOT CAUGHT", "the run could not go on".to_owned()),
        };
        all_caught &= result == "caught";
        let line = format!("{:<22} {result:<10} {seconds:>4} s  {how}", mutant.name);
        println!("{line}");
        lines.push(line);
    }
    println!("\n{}", lines.join("\n"));
    Ok(all_caught)
}

async fn build(mutant: &Mutant, copy: &Copy, target: &Path) -> Result<Build> {
    copy.restore()?;
    for edit in mutant.edits {
        copy.edit(edit)?;
    }
    let build = Build::of(copy.folder().to_owned(), target.to_owned());
    build.run().await?;
    Ok(build)
}

/// The kinds of violations that were found.
async fn run(mutant: &Mutant, built: Build) -> Vec<&'static str> {
    let faults = fault::all_named(mutant.faults);
    let mut run = Run::start(Options { faults: faults.clone(), built: Some(built), ..Options::default() }).await;
    for _ in 0..CHANCES {
        for fault in &faults {
            run.under(fault, 1, Duration::from_secs(3)).await;
        }
        run.round(BEATS).await;
        let (_, violations) = run.check().await;
        let mut kinds: Vec<&'static str> = violations.iter().map(Violation::kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if !kinds.is_empty() {
            return kinds;
        }
    }
    Vec::new()
}
