//! `cargo run -p e2e -- soak|mutants|list`: faults for as long as one likes, and whether the checker catches what it should.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use e2e::{fault, mutants, random::Random, soak};

/// Natter under faults, and a checker of what became of every message
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// People write and read while faults come and go in a random sequence; everything is checked at each quiet point
    Soak {
        /// A run under way ends with its round
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Of who does what and what goes wrong when; any if not given
        #[arg(long)]
        seed: Option<u64>,
        /// Only faults whose name contains this; may be repeated
        #[arg(long)]
        only: Vec<String>,
        /// Tell each step
        #[arg(long)]
        verbose: bool,
    },
    /// Builds Natter with one promise broken, and sees whether the checker catches it; for each mutant
    Mutants {
        /// Only mutants whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// The names of all faults and mutants
    List,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let right = match Options::parse().command {
        Command::Soak { minutes, seed, only, verbose } => {
            let chosen = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
            let faults: Vec<_> = fault::all().iter().filter(|fault| chosen(fault.name)).collect();
            ensure!(!faults.is_empty(), "there is no such fault; see `list`");
            let (time, seed) = (Duration::from_secs(minutes * 60), seed.unwrap_or_else(Random::any_seed));
            soak::soak(soak::Soak { time, seed, faults, verbose }).await
        }
        Command::Mutants { only } => mutants::hunt(&only).await?,
        Command::List => {
            list();
            true
        }
    };
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list() {
    println!("faults");
    for fault in fault::all() {
        println!("  {:<20} {}", fault.name, fault.what);
    }
    println!("mutants");
    for mutant in mutants::ALL {
        println!("  {:<20} {} (caught as {})", mutant.name, mutant.what, mutant.caught_as.join(", "));
    }
}
