//! A server to measure, when no URL names one: a child process on a data folder of its own, killed and removed with this value.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::load::{Dialect, Peer};

/// What the server prints before its URL.
const LISTENING: &str = "calve listening on ";

/// A running server. Its process is ended before its folder is removed.
pub struct OwnServer {
    process: KilledOnDrop,
    peer: Peer,
    folder: TempDir,
}

/// A child process that does not outlive this value.
pub struct KilledOnDrop(pub Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl OwnServer {
    /// Starts `binary` on an empty data folder below `parent`, with settings from `environment`.
    pub fn start(
        binary: &Path,
        parent: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("calve-bench-")
            .tempdir_in(parent)
            .map_err(|error| format!("cannot make a folder in `{}`: {error}", parent.display()))?;
        Self::start_on(folder, binary, environment)
    }

    /// Starts `binary` on a folder that another server left.
    pub fn start_on(
        folder: TempDir,
        binary: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let failed = |error| format!("cannot start `{}`: {error}", binary.display());
        let mut command = Command::new(binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .env("CALVE_LOGGING__LEVEL", "warn")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = KilledOnDrop(command.spawn().map_err(failed)?);
        let mut line = String::new();
        if let Some(stdout) = process.0.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(failed)?;
        }
        let url = line.trim().strip_prefix(LISTENING);
        let peer = Peer::at(url.ok_or("the server did not start")?, Dialect::Uploads)?;
        Ok(Self {
            process,
            peer,
            folder,
        })
    }

    /// Kills the server and gives its folder.
    pub fn kill(self) -> TempDir {
        self.folder
    }

    /// How to reach it.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}
