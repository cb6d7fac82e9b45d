//! Folders for what servers of one run write: removed on drop, and by the next run where a killed one left them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder that is removed with everything in it on drop.
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    /// A new, empty folder; `name` tells people what it is for.
    pub fn new(name: &str) -> Result<Self> {
        let run = run_folder()?;
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(run)?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The folder of this process, with a lock held in it as long as the process lives. Statics of a test binary are never
/// dropped, so what an earlier run has left is recognised by its free lock and removed here.
fn run_folder() -> Result<&'static Path> {
    static RUN: OnceLock<Result<(PathBuf, File), String>> = OnceLock::new();
    RUN.get_or_init(|| create_run_folder().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map(|(folder, _lock)| folder.as_path())
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn create_run_folder() -> Result<(PathBuf, File)> {
    let all = std::env::temp_dir().join("natter-scratch");
    fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
    // One cleaner or creator at a time: a folder is never seen between its creation and its lock.
    let gate = File::create(all.join("gate"))?;
    gate.lock()?;
    for entry in fs::read_dir(&all)?.flatten() {
        let abandoned = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&all)?.keep();
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    Ok((folder, lock))
}
