//! Load on a running Natter, from outside as its clients are, and what became of every message.

mod body;
mod client;
mod closed;
mod follow;
mod generator;
mod latency;
mod limit;
mod load;
mod people;
mod processes;
mod refused;
mod rest;
mod scenario;
mod target;

use std::{fmt::Display, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;

use scenario::{Sound, day, group, history, idle, limit as limits, login, notify, send, storm};

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
    Send(send::Options),
    /// Messages in one group of many sockets.
    Group(group::Options),
    /// People who are connected and do nothing: what their presence costs NATS.
    Idle(idle::Options),
    /// All clients are cut at once and connect again at once, and catch up on what was sent meanwhile.
    Storm(storm::Options),
    /// Signing in with passwords, and whether messages are sent as fast beside it.
    Login(login::Options),
    /// Reading pages of messages and lists of chats.
    History(history::Options),
    /// A bit of everything, as people do over a day.
    Day(day::Options),
    /// A group whose members are not looking: how fast they are told.
    Notify(notify::Options),
    /// What no design can beat on this machine: the parts that Natter stands on, bare.
    Limit(limits::Options),
    /// The server of the limit of deliveries.
    #[command(hide = true)]
    BareServer,
    /// The server of the least chat.
    #[command(hide = true)]
    LeastChat,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, json } = Cli::parse();
    measure(&command, json).await.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::from(2)
    })
}

async fn measure(command: &Command, json: bool) -> Result<ExitCode> {
    let sound = match command {
        Command::Send(options) => print(&send::send(options).await?, json)?,
        Command::Group(options) => print(&group::group(options).await?, json)?,
        Command::Idle(options) => print(&idle::idle(options).await?, json)?,
        Command::Storm(options) => print(&storm::storm(options).await?, json)?,
        Command::Login(options) => print(&login::login(options).await?, json)?,
        Command::History(options) => print(&history::history(options).await?, json)?,
        Command::Day(options) => print(&day::day(options).await?, json)?,
        Command::Notify(options) => print(&notify::notify(options).await?, json)?,
        Command::Limit(options) => print(&limits::limit(options).await?, json)?,
        Command::BareServer => limit::server::serve().await.map(|()| true)?,
        Command::LeastChat => limit::least::serve().await.map(|()| true)?,
    };
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Answers whether all is sound.
fn print(report: &(impl Serialize + Display + Sound), json: bool) -> Result<bool> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{report}");
    }
    Ok(report.is_sound())
}
