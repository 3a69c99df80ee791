//! Programs from PyPI, each in an environment of its own below `target`, made once.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Returns the folder of the programs of `packages`, which are installed if they are not there; `name` is the environment's.
///
/// Must come before the first private network of the calling thread: it may have to download them.
///
/// # Errors
/// When there is no Python with its `venv`, or PyPI can't be reached.
pub fn programs(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = std::path::absolute(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python"))?.join(name);
    let mark = folder.join("complete");
    if std::fs::read_to_string(&mark).is_ok_and(|made| made == packages.join(" ")) {
        return Ok(folder.join("bin"));
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).context("python3-venv is needed")?;
    let pip = folder.join("bin/pip");
    run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    std::fs::write(mark, packages.join(" "))?;
    Ok(folder.join("bin"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
