//! Load on a running Natter, from outside as its clients are, and what became of every message.

mod engine;
mod ledger;
mod packet;
mod people;
mod report;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Puts load on a running Natter and checks what became of it.
///
/// Ends with 0 when all is sound, with 1 when a message was lost, doubled or out of order, and with 2 when it could not
/// be measured.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Messages in direct chats, over sockets whose gateways differ.
    Send(run::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command: Command::Send(options), json } = Cli::parse();
    measure(&options, json).await.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::from(2)
    })
}

async fn measure(options: &run::Options, json: bool) -> Result<ExitCode> {
    let report = run::send(options).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
