//! `chat` runs the service; `chat rebuild` makes MongoDB's collections anew from the log.

use std::process::ExitCode;

use chat::{Chat, Config};
use clap::{Parser, Subcommand};

/// The log of every conversation, its members, history and archive.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make MongoDB's collections anew from the log, as far as it reaches; the service may go on meanwhile.
    Rebuild {
        /// Remove first what is there.
        #[arg(long)]
        drop: bool,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    service::main(Config::load(), Config::log, |config| async move {
        match options.command {
            None => Ok(Chat::start(config).await?.run_until_stopped().await?),
            Some(Command::Rebuild { drop }) => chat::rebuild(&config, drop).await.map(|_| ()),
        }
    })
}
