//! The mail service, and `mail preview <folder>`, which writes a sample of every letter.

use std::{path::Path, process::ExitCode};

use mail::{Config, Mail};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => service::main(Config::load(), |config| &config.common.log, run),
        ["preview", folder] => preview(Path::new(folder)),
        _ => {
            eprintln!(
                "usage: mail                     the service; see config.default.toml\n       mail preview <folder>    writes a sample of every letter"
            );
            ExitCode::from(2)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    Mail::start(config).await?.run_until_stopped().await?;
    Ok(())
}

fn preview(folder: &Path) -> ExitCode {
    match mail::preview(folder) {
        Ok(files) => {
            for file in files {
                println!("{}", file.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot write the previews: {error:#}");
            ExitCode::FAILURE
        }
    }
}
