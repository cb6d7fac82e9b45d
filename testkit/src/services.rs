//! The four services as processes: built with cargo, configured by their environment.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    free_port,
    process::{Output, Process},
    tools, until, workspace,
};

/// The services, in the order in which they are started.
pub const NAMES: [&str; 4] = ["user", "chat", "mail", "gateway"];

/// A cargo profile and the folder that its programs are built into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Root of the workspace that is built.
    source: PathBuf,
    target: PathBuf,
    profile: String,
}

impl Build {
    /// The profile and target folder that the running test or program itself was built with.
    pub fn of_this_program() -> Result<Self> {
        let program = env::current_exe()?;
        let folder = program.parent().context("a program is in a folder")?;
        // Tests are in `<target>/<profile>/deps`, programs in `<target>/<profile>`.
        let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
        let profile = folder.file_name().and_then(|name| name.to_str()).context("a profile's folder has a name")?;
        let target = folder.parent().context("a profile's folder is in a target folder")?.to_path_buf();
        // Programs of the `dev` profile are in `debug`.
        let profile = if profile == "debug" { "dev" } else { profile }.to_owned();
        Ok(Self { source: workspace(), target, profile })
    }

    /// The `dev` profile of the workspace in `source`, which may be a copy of this one, built into `target`.
    pub fn of(source: PathBuf, target: PathBuf) -> Self {
        Self { source, target, profile: "dev".to_owned() }
    }

    /// The folder of all that is built.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The same target folder with the release profile.
    #[must_use]
    pub fn release(self) -> Self {
        Self { profile: "release".to_owned(), ..self }
    }

    /// Builds the services; returns at once where nothing has changed. Cargo shows its progress on stderr.
    pub async fn run(&self) -> Result<()> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        tools::remove_package_variables(&mut cargo);
        cargo.args(["build", "--bins", "--profile", &self.profile, "--target-dir"]).arg(&self.target);
        for package in NAMES {
            cargo.args(["--package", package]);
        }
        // Along with the services so that their dependencies get the features that they have in a build of the
        // workspace, and need not be compiled a second time without them.
        cargo.args(["--package", "dev"]).current_dir(&self.source);
        let status = Process::spawn("cargo build", cargo, Output::Inherit)?.wait().await;
        ensure!(status.success(), "the services could not be built");
        Ok(())
    }

    /// A service's program.
    pub fn program(&self, name: &str) -> PathBuf {
        let folder = if self.profile == "dev" { "debug" } else { &self.profile };
        self.target.join(folder).join(name)
    }
}

/// A running service.
pub struct Service {
    /// The process, to signal it and to wait for its end.
    pub process: Process,
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub admin: SocketAddr,
}

impl Service {
    /// Starts a service; `label` is for messages, `env` its configuration without the admin port. What this process has
    /// in `NATTER_` variables is not passed on.
    pub fn start(program: &Path, label: &str, env: &[(String, String)], output: Output) -> Result<Self> {
        let admin = free_port::address(free_port::any()?);
        let mut command = Command::new(program);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATTER_")) {
            command.env_remove(name);
        }
        command.envs(env.iter().cloned()).env("NATTER_ADMIN__LISTEN", admin.to_string());
        let process = Process::spawn(label, command, output)?;
        Ok(Self { process, admin })
    }

    /// Waits until it is ready; fails when it ends or is not ready within `deadline`, saying what it waits for.
    pub async fn wait_until_ready(&self, deadline: Duration) -> Result<()> {
        let url = format!("http://{}/readyz", self.admin);
        let mut latest = String::new();
        let ready = until(self.process.name(), deadline, async || {
            if let Some(status) = self.process.exit_status() {
                return Some(Err(status));
            }
            match reqwest::get(&url).await {
                Ok(answer) if answer.status().is_success() => Some(Ok(())),
                Ok(answer) => {
                    latest = answer.text().await.unwrap_or_default();
                    None
                }
                Err(error) => {
                    latest = error.to_string();
                    None
                }
            }
        })
        .await;
        let (name, output) = (self.process.name(), self.process.output());
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("{name} ended while starting ({status})\n{output}"),
            Err(_) => bail!("{name} is not ready within {deadline:?}: {latest}\n{output}"),
        }
    }
}
