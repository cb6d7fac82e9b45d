//! `gateway` runs the service.

use std::process::ExitCode;

use gateway::{Config, Gateway};

fn main() -> ExitCode {
    service::main(Config::load(), Config::log, |config| async {
        Ok(Gateway::start(config).await?.run_until_stopped().await?)
    })
}
