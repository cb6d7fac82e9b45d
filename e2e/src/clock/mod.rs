//! The time of day as the services see it, which can jump: a library of a few lines of C that is loaded into them. Linux only.

use std::{fs, os::unix::fs::FileExt, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use testkit::scratch;

/// A clock that services follow which are started with its [`env`](Clock::env).
pub struct Clock {
    folder: scratch::Folder,
}

impl Clock {
    /// Compiles the library, with the C compiler that Rust needs as well.
    pub fn new() -> Result<Self> {
        let clock = Self { folder: scratch::Folder::new("clock")? };
        let source = clock.path("clock.c");
        fs::write(&source, include_str!("clock.c"))?;
        fs::write(clock.path("shift"), 0_i64.to_ne_bytes())?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.path("clock.so")).arg(source).arg("-ldl");
        ensure!(cc.status()?.success(), "the library could not be compiled");
        Ok(clock)
    }

    /// What a service has to be started with.
    pub fn env(&self) -> [(String, String); 2] {
        let path = |name: &str| self.path(name).display().to_string();
        [("LD_PRELOAD".to_owned(), path("clock.so")), ("E2E_CLOCK".to_owned(), path("shift"))]
    }

    /// The services' time of day is now this many seconds ahead, or behind.
    pub fn shift(&self, seconds: i64) -> Result<()> {
        // In place: the services have this very file in their memory.
        let file = fs::File::options().write(true).open(self.path("shift"))?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
