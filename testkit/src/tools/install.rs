//! One installation at a time per tool, whole or not at all, with something that moves on the screen.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{BufRead, BufReader, IsTerminal, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::process::spawn_with_parent_death;

/// Where a tool is.
pub(super) struct Installed {
    pub(super) folder: PathBuf,
}

/// Returns the cached folder `name`, made first by `fill` if it is not there; `what` is shown to those who wait.
///
/// Test binaries start together, so the first takes a file lock and the others wait for it. `fill` works in a folder
/// beside, which is renamed when it is complete.
pub(super) fn install(
    name: &str,
    what: &str,
    fill: impl FnOnce(&std::path::Path, &mut Progress) -> Result<()>,
) -> Result<Installed> {
    let cache = cache_folder()?;
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(Installed { folder });
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("natter: waiting for another process that installs {what}"));
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    if folder.is_dir() {
        return Ok(Installed { folder });
    }
    let unfinished = cache.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir(&unfinished)?;
    say(&format!("natter: installing {what}, into {}", folder.display()));
    let mut progress = Progress { start: Instant::now(), on_terminal: std::io::stderr().is_terminal() };
    fill(&unfinished, &mut progress)?;
    fs::rename(&unfinished, &folder)?;
    say(&format!("natter: installed {name} in {} s", progress.start.elapsed().as_secs()));
    Ok(Installed { folder })
}

/// `$XDG_CACHE_HOME/natter` or `~/.cache/natter`.
fn cache_folder() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: no place to install tools into")?;
    Ok(cache.join("natter"))
}

/// A line for a person. Not `eprintln!`: libtest would keep it back until the test has ended.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells those who wait how far an installation is.
pub(super) struct Progress {
    start: Instant,
    on_terminal: bool,
}

impl Progress {
    /// How often something is shown.
    fn every(&self) -> Duration {
        if self.on_terminal { Duration::from_secs(1) } else { Duration::from_secs(20) }
    }

    fn show(&self, lines: usize, latest: &str) {
        let latest: String = latest.trim().chars().take(70).collect();
        let line = format!("  {:>4} s, {lines} lines: {latest}", self.start.elapsed().as_secs());
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
        } else {
            say(&line);
        }
    }

    fn clear(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// Runs a command to its end, showing its latest line now and then; a failure carries its last lines.
pub(super) fn run_with_progress(mut command: Command, progress: &mut Progress) -> Result<()> {
    let shown = format!("{command:?}");
    let (output, input) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    let mut child = spawn_with_parent_death(command).with_context(|| format!("cannot run {shown}"))?;
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line.clone());
            all.push(line);
        }
        all
    });
    let (mut lines, mut latest, mut last_shown) = (0, String::new(), Instant::now());
    loop {
        match receiver.recv_timeout(progress.every()) {
            Ok(line) => (lines, latest) = (lines + 1, line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if last_shown.elapsed() >= progress.every() {
            progress.show(lines, &latest);
            last_shown = Instant::now();
        }
    }
    progress.clear();
    let status = child.wait()?;
    if !status.success() {
        let all = reader.join().unwrap_or_default();
        let tail = all[all.len().saturating_sub(30)..].join("\n");
        bail!("{shown} failed ({status}):\n{tail}");
    }
    Ok(())
}
