//! `cargo dev rebuild`: runs `chat rebuild` against the system that another `cargo dev` runs.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, ensure};
use testkit::services::Build;
use tokio::process::Command;

use crate::running::{RUNNING, Running};

/// Runs it, with the environment that the running system has left in its data folder.
pub(crate) async fn run(build: &Build, data: &Path, drop: bool) -> Result<ExitCode> {
    let path = data.join(RUNNING);
    let running = fs::read(&path)
        .with_context(|| format!("no `cargo dev` runs on {}; start it in another terminal", data.display()))?;
    let Running { environment, .. } =
        serde_json::from_slice(&running).with_context(|| format!("cannot read {}", path.display()))?;
    let program = build.program("chat");
    ensure!(program.exists(), "{} is not built; is the other `cargo dev` of the same profile?", program.display());
    let mut command = Command::new(program);
    command.arg("rebuild").envs(environment);
    if drop {
        command.arg("--drop");
    }
    let status = command.status().await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
