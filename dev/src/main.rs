//! `cargo dev`: NATS, MongoDB and the four services on this machine, in one terminal, until Ctrl-C.

mod console;
mod data;
mod rebuild;
mod running;
mod system;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Error, Result, bail};
use clap::{Parser, Subcommand};
use testkit::{free_port, services::Build};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use console::Console;
use data::Data;
use system::System;

/// Starts all of Natter on this machine: NATS, a MongoDB, and the services user, chat, mail and gateway.
///
/// What is missing (nats-server, a MongoDB) is installed once into the user's cache directory, which takes up to ten
/// minutes. Any NATTER_ variable is passed on to the services, so NATTER_MONGO__URI uses a MongoDB that is there
/// already, and NATTER_MAIL__SMTP__HOST sends real mail instead of writing it into a folder.
#[derive(Parser)]
#[command(name = "cargo dev", version)]
struct Options {
    /// Port of the first gateway; further ones take the next ports
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Instances of the gateway
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    gateways: u16,
    /// Instances of the chat service
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    chats: u16,
    /// Folder of all data, secrets and mail [default: .dev in the project]
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// Build with optimisations
    #[arg(long, global = true)]
    release: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes MongoDB's collections of chats and messages anew from the log, while `cargo dev` runs in another terminal
    Rebuild {
        /// Remove first what is there
        #[arg(long)]
        drop: bool,
    },
}

impl Options {
    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| testkit::workspace().join(".dev"))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let console = Console::new();
    let outcome = Runtime::new().map_err(Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(run(&options, &console));
        // An installation that goes on in a thread is given up.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        console.alarm(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Runs until a signal, or until something ends by itself, which is a failure.
async fn run(options: &Options, console: &Console) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let build = Build::of_this_program()?;
    let build = if options.release { build.release() } else { build };
    if let Some(Command::Rebuild { drop }) = options.command {
        return rebuild::run(&build, &options.data(), drop).await;
    }
    let ports = gateway_ports(options)?;
    let data = Data::open(&options.data())?;

    let mut system = System::new(console.clone());
    let failure = tokio::select! {
        failure = run_until_failure(&mut system, &build, &data, &ports, options.chats) => Some(failure),
        () = stop.asked() => None,
    };
    if let Some(failure) = &failure {
        console.alarm(&format!("{failure:#}"));
    }
    console.say("stopping; Ctrl-C once more kills");
    tokio::select! {
        () = system.stop() => console.say("stopped"),
        // What is left is killed on drop.
        () = stop.asked() => console.say("killed"),
    }
    Ok(if failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn run_until_failure(system: &mut System, build: &Build, data: &Data, ports: &[u16], chats: u16) -> Error {
    match system.start(build, data, ports, chats).await {
        Ok(()) => system.failure().await,
        Err(error) => error,
    }
}

/// The gateways' ports, all free.
fn gateway_ports(options: &Options) -> Result<Vec<u16>> {
    let last = options.port.checked_add(options.gateways - 1);
    let last = last.context("ports end at 65535; choose a lower one with --port")?;
    let ports: Vec<_> = (options.port..=last).collect();
    if let Some(taken) = ports.iter().find(|port| !free_port::is_free(**port)) {
        bail!("port {taken} is in use (another `cargo dev`?); choose another one with --port");
    }
    Ok(ports)
}

/// Ctrl-C, SIGTERM, or the terminal closed.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn listen() -> Result<Self> {
        let signals =
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        Ok(Self { signals })
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
