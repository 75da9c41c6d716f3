//! The Python peers: an environment with pinned packages, made once under `target/bench-python/`. The file `ready` is written last: a folder
//! without it is made again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

const REQUIREMENTS: &str = include_str!("python/requirements.txt");

/// A command that runs a program of `benches/scenarios/python/`; `None`, said on standard error, where Python or the packages are missing.
pub fn command(program: &str) -> Option<Command> {
    let python = environment()
        .inspect_err(|error| eprintln!("left out: {program}: {error}"))
        .ok()?;
    let mut command = Command::new(python);
    command
        .arg(programs_dir().join(program))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// The number that a program prints; `None` as for [`command`].
pub fn number(program: &str, arguments: &[&str]) -> Option<f64> {
    let output = command(program)?
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("Python");
    assert!(output.status.success(), "{program} {arguments:?} failed");
    let printed = String::from_utf8_lossy(&output.stdout);
    Some(printed.trim().parse().expect("a number"))
}

fn programs_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scenarios/python")
}

fn environment() -> Result<PathBuf, String> {
    let name = hex::encode(&Sha256::digest(REQUIREMENTS.as_bytes())[..8]);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .ok_or("no target folder")?;
    let folder = target.join("bench-python").join(name);
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    if ready.exists() {
        return Ok(python);
    }
    let requirements = programs_dir().join("requirements.txt");
    step(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    step(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "--disable-pip-version-check",
                "--no-input",
                "install",
                "--quiet",
                "-r",
            ])
            .arg(requirements),
    )?;
    std::fs::write(ready, "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn step(command: &mut Command) -> Result<(), String> {
    let told = format!("{command:?}");
    match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{told} ended with {status}")),
        Err(error) => Err(format!("{told}: {error}")),
    }
}
