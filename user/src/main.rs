//! The user service.

use std::process::ExitCode;

use user::{Config, User};

fn main() -> ExitCode {
    service::main(
        Config::load(),
        |config| &config.common.log,
        async |config| Ok(User::start(config).await?.run_until_stopped().await?),
    )
}
