//! Who changed what: one JSON object a line, in a file of its own.
//!
//! Written down are every change (session, part, commit, token) and every refusal, with who asked, from where, what for, what
//! came of it, and the request's id; never a secret, and nothing of what was uploaded.
//!
//! **Durability.** A line is handed to the system soon after its request was answered, by a thread of its own; it is not
//! synced. A crash loses the lines of the last moments, a power cut those of the last seconds. The records of what was
//! acknowledged are elsewhere ([`crate::store`]).
//!
//! **Bounds.** `LINES_WAITING_MAX` lines wait for the thread; when the disk is that slow, answers wait for it. Files are begun
//! anew at `audit.file_bytes_max`, and `audit.files_kept` older ones stay: `audit.log.1` is the latest of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::AuditConfig;

/// Lines that may wait for the thread that writes them.
const LINES_WAITING_MAX: usize = 4096;
/// Time in which lines gather: to wake a thread costs more than to write a line.
const GATHERING_PAUSE: Duration = Duration::from_millis(5);

/// One line.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entry {
    /// When it was done.
    pub at: String,
    /// Who did it; nobody where authentication is off or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the request came from: an address, or `local` for the command line.
    pub from: String,
    /// The operation.
    pub action: &'static str,
    /// `done`, or the code of the refusal.
    pub outcome: &'static str,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_id: Option<String>,
    /// The access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
}

impl Entry {
    /// A line without details.
    pub fn new(at: DateTime<Utc>, from: String, action: &'static str) -> Self {
        Self {
            at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
            from,
            action,
            outcome: "done",
            ..Self::default()
        }
    }
}

/// Where lines go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Audit(Option<mpsc::Sender<String>>);

/// The thread that writes; joined when the last [`Audit`] is gone.
#[derive(Debug, Default)]
pub struct AuditWriter(Option<JoinHandle<()>>);

impl AuditWriter {
    /// Waits until everything is written. Blocks.
    pub fn join(self) {
        if self.0.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the audit log panicked");
        }
    }
}

impl Audit {
    /// Opens the file and starts the thread. Blocks.
    pub fn start(config: &AuditConfig, data_dir: &Path) -> Result<(Self, AuditWriter), String> {
        if !config.enabled {
            return Ok((Self::default(), AuditWriter::default()));
        }
        let mut file = open(config, data_dir)?;
        let (lines, mut waiting) = mpsc::channel::<String>(LINES_WAITING_MAX);
        let writing = std::thread::Builder::new().name("calve-audit".to_owned());
        let thread = writing.spawn(move || {
            let mut lines = Vec::new();
            while waiting.blocking_recv_many(&mut lines, LINES_WAITING_MAX) > 0 {
                for line in lines.drain(..) {
                    if let Err(error) = file.write_all(line.as_bytes()) {
                        tracing::error!(%error, line, "cannot write the audit log");
                    }
                }
                std::thread::sleep(GATHERING_PAUSE);
            }
        });
        let thread =
            thread.map_err(|error| format!("cannot start the audit log's thread: {error}"))?;
        Ok((Self(Some(lines)), AuditWriter(Some(thread))))
    }

    /// Whether anything is written down.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a line down.
    pub async fn write(&self, entry: &Entry) {
        if let Some((lines, line)) = self.line(entry) {
            // Fails when the thread has ended, which it has said itself.
            let _ = lines.send(line).await;
        }
    }

    /// Writes a line down. Blocks.
    pub fn write_blocking(&self, entry: &Entry) {
        if let Some((lines, line)) = self.line(entry) {
            let _ = lines.blocking_send(line);
        }
    }

    fn line(&self, entry: &Entry) -> Option<(&mpsc::Sender<String>, String)> {
        let lines = self.0.as_ref()?;
        match serde_json::to_string(entry) {
            Ok(mut line) => {
                line.push('\n');
                Some((lines, line))
            }
            Err(error) => {
                tracing::error!(%error, "an entry of the audit log cannot be written as JSON");
                None
            }
        }
    }
}

fn open(config: &AuditConfig, data_dir: &Path) -> Result<FileRotate<AppendCount>, String> {
    let file = match &config.file {
        Some(file) => file.clone(),
        None => data_dir.join("audit").join("audit.log"),
    };
    let failed =
        |error: std::io::Error| format!("audit.file: cannot write `{}`: {error}", file.display());
    let folder = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true).create(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    // Tried here, because the rotating file does not say why it cannot be opened.
    options.open(&file).map_err(failed)?;
    let limit = usize::try_from(config.file_bytes_max.as_u64()).unwrap_or(usize::MAX);
    Ok(FileRotate::new(
        &file,
        AppendCount::new(config.files_kept),
        ContentLimit::BytesSurpassed(limit),
        Compression::None,
        Some(options),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_begun_anew_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let config = AuditConfig {
            file_bytes_max: bytesize::ByteSize::b(4096),
            files_kept: 2,
            ..AuditConfig::default()
        };
        let (audit, writer) = Audit::start(&config, folder.path()).unwrap();
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        for number in 0..200 {
            let mut entry = Entry::new(at, "127.0.0.1".to_owned(), "upload_part");
            entry.part = Some(number.to_string());
            audit.write_blocking(&entry);
        }
        drop(audit);
        writer.join();
        let mut names: Vec<_> = std::fs::read_dir(folder.path().join("audit"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["audit.log", "audit.log.1", "audit.log.2"]);
        let newest = std::fs::read_to_string(folder.path().join("audit/audit.log")).unwrap();
        assert_eq!(
            newest.lines().last().unwrap(),
            r#"{"at":"2026-09-21T14:13:20.000Z","from":"127.0.0.1","action":"upload_part","outcome":"done","part":"199"}"#
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let config = AuditConfig {
            file: Some(PathBuf::from("/dev/null/audit.log")),
            ..AuditConfig::default()
        };
        let refused = Audit::start(&config, Path::new("unused")).unwrap_err();
        assert!(
            refused.contains("audit.file: cannot write `/dev/null/audit.log`"),
            "{refused}"
        );
    }
}
