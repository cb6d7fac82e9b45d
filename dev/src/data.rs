//! The data folder: a lock so that it is used once at a time, and secrets made at the first start.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use testkit::{nats::Passwords, secrets};

use crate::running::{RUNNING, Running};

/// A data folder that this process alone uses.
pub(crate) struct Data {
    folder: PathBuf,
    _lock: File,
}

impl Data {
    /// Opens the folder, making it first if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let path = folder.join("lock");
        let mut lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                lock.read_to_string(&mut pid)?;
                bail!(
                    "another `cargo dev` (pid {}) uses {}; stop it, or choose another folder with --data and other \
                     ports with --port",
                    pid.trim(),
                    folder.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the data folder"),
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        let data = Self { folder, _lock: lock };
        // A server that was killed leaves the file behind in which it has reported its ports.
        let _ = fs::remove_dir_all(data.path("nats/run"));
        for name in ["mail", "nats", "nats/run"] {
            fs::create_dir_all(data.path(name))?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data.path("secrets"))?;
        Ok(data)
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Leaves a note of what runs, for the owner alone, until this is dropped.
    pub(crate) fn note_running(&self, running: &Running) -> Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(RUNNING))?;
        Ok(file.write_all(&serde_json::to_vec_pretty(running)?)?)
    }

    /// The NATS passwords of this folder.
    pub(crate) fn passwords(&self) -> Result<Passwords> {
        let mut failed = None;
        let passwords = Passwords::from_fn(|user| {
            self.secret(&format!("nats-{user}"), secrets::password).unwrap_or_else(|error| {
                failed = Some(error);
                String::new()
            })
        });
        failed.map_or(Ok(passwords), Err)
    }

    /// The secret of this name, made by `make` at the first start.
    pub(crate) fn secret(&self, name: &str, make: fn() -> String) -> Result<String> {
        let path = self.path("secrets").join(name);
        read_or_make(&path, make).with_context(|| format!("secret {}", path.display()))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // It is not there when nothing came to run.
        let _ = fs::remove_file(self.path(RUNNING));
    }
}

fn read_or_make(path: &Path, make: fn() -> String) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) => return Ok(secret),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let secret = make();
    // Renamed when complete, so that a crash leaves no half of a secret.
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use testkit::scratch::Folder;

    use super::*;

    #[test]
    fn a_folder_is_used_once_at_a_time() {
        let folder = Folder::new("data").unwrap();
        let data = Data::open(folder.path()).unwrap();
        let refused = Data::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains(&format!("another `cargo dev` (pid {})", std::process::id())), "{refused}");
        drop(data);
        Data::open(folder.path()).unwrap();
    }

    #[test]
    fn secrets_stay_and_are_for_the_owner_alone() {
        let folder = Folder::new("data").unwrap();
        let data = Data::open(folder.path()).unwrap();
        let first = data.secret("pepper", secrets::pepper).unwrap();
        assert_eq!(data.secret("pepper", secrets::pepper).unwrap(), first);
        let mode = |name: &str| fs::metadata(data.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("secrets"), mode("secrets/pepper")), (0o700, 0o600));
        assert_eq!(data.passwords().unwrap().of("chat"), data.passwords().unwrap().of("chat"));
    }
}
