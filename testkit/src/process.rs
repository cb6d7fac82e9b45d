//! Child processes that end with their parent, however that ends.

use std::{
    fs::File,
    io::{BufRead, BufReader, PipeReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::watch;

/// Takes what a process writes, line by line, from a thread of its own.
pub type LineReader = Box<dyn FnMut(&str) + Send>;

/// Where a process's standard output and error go.
pub enum Output {
    /// Appended to this file.
    File(PathBuf),
    /// To this function.
    Lines(LineReader),
    /// Where this process's own go.
    Inherit,
}

/// A running child process with a process group of its own, which all signals go to: a Ctrl-C in the terminal reaches
/// only the parent, which stops its children in order. Killed on drop; killed by the kernel (on Linux) when this process
/// dies.
pub struct Process {
    name: String,
    pid: Pid,
    log: Option<PathBuf>,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Held while the child is reaped and while it is signalled, so that a signal never meets a reused pid.
    reaping: Arc<Mutex<()>>,
}

impl Process {
    /// Starts `command`; `name` is for messages.
    pub fn spawn(name: &str, mut command: Command, output: Output) -> Result<Self> {
        let (log, lines) = match output {
            Output::File(path) => {
                let file = File::options().create(true).append(true).open(&path)?;
                command.stdout(file.try_clone()?).stderr(file);
                (Some(path), None)
            }
            Output::Lines(reader) => {
                let (read, write) = std::io::pipe()?;
                command.stdout(write.try_clone()?).stderr(write);
                (None, Some((read, reader)))
            }
            Output::Inherit => (None, None),
        };
        command.stdin(Stdio::null());
        command.process_group(0);
        let child = spawn_with_parent_death(command).with_context(|| format!("cannot start {name}"))?;
        let pid = Pid::from_child(&child);
        let reaping = Arc::new(Mutex::new(()));
        let (exited, exit) = watch::channel(None);
        if let Some((read, reader)) = lines {
            thread::Builder::new().name(format!("{name} output")).spawn(move || read_lines(read, reader))?;
        }
        thread::Builder::new().name(format!("{name} exit")).spawn({
            let reaping = Arc::clone(&reaping);
            move || reap(child, pid, &reaping, &exited)
        })?;
        Ok(Self { name: name.to_owned(), pid, log, exit, reaping })
    }

    /// What it was called at [`spawn`](Self::spawn).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end.
    pub fn wait(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            let ended = exit.wait_for(Option::is_some).await;
            ended.ok().and_then(|status| *status).unwrap_or_default()
        }
    }

    /// SIGKILL, as a crash would be; does not wait.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGTERM, the polite request to stop; does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: the process hangs but its connections stay, as on a machine that is out of breath.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, then SIGKILL if it has not stopped within `grace`.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
        self.terminate();
        if let Ok(status) = tokio::time::timeout(grace, self.wait()).await {
            return status;
        }
        self.kill();
        self.wait().await
    }

    /// What it has written so far, if that goes to a file.
    pub fn output(&self) -> String {
        self.log.as_deref().map(read_lossy).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let _reaping = self.reaping.lock().unwrap_or_else(PoisonError::into_inner);
        if self.exit_status().is_none() {
            // It fails only for a process that has ended, which is no news to the caller.
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() && self.log.is_some() {
            let output = self.output();
            let from = output.lines().count().saturating_sub(60);
            let tail: Vec<_> = output.lines().skip(from).collect();
            eprintln!("--- last lines of {} (pid {})\n{}\n---", self.name, self.pid(), tail.join("\n"));
        }
        self.kill();
        // The port and the store are free only after its end. SIGKILL is not refused, so this is short.
        while self.exit_status().is_none() && self.exit.has_changed().is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Reads a file that may hold anything; empty if it cannot be read.
fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn read_lines(read: PipeReader, mut reader: LineReader) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    while read.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        reader(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

fn reap(mut child: Child, pid: Pid, reaping: &Mutex<()>, exited: &watch::Sender<Option<ExitStatus>>) {
    // Wait without reaping first: until `child.wait` the pid is not given to anybody else.
    let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    let _reaping = reaping.lock().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait().unwrap_or_default();
    exited.send_replace(Some(status));
}

type Spawned = std::io::Result<Child>;

/// Spawns from one thread that lives as long as the process. The kernel's "parent death" is the death of the thread that
/// spawned, and a test's thread ends with its test while a server shared between tests must go on.
pub(crate) fn spawn_with_parent_death(mut command: Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<(Command, mpsc::Sender<Spawned>)>> = OnceLock::new();
    end_with_parent(&mut command);
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, commands) = mpsc::channel::<(Command, mpsc::Sender<Spawned>)>();
        thread::spawn(move || {
            for (mut command, reply) in commands {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, child) = mpsc::channel();
    spawner.send((command, reply)).map_err(std::io::Error::other)?;
    child.recv().map_err(std::io::Error::other)?
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "`pre_exec` is unsafe; what runs there is one async-signal-safe system call")]
fn end_with_parent(command: &mut Command) {
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}
