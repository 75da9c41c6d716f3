//! Builds the recorder (`tests/preload/recorder.c`), gives a server its environment, and reads what it recorded.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An inode number, as the recorded system called it.
pub type Inode = u64;

/// One record; see the head of `recorder.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Create(Inode, Inode, String),
    MakeFolder(Inode, Inode, String),
    Link(Inode, Inode, String),
    Unlink(Inode, String),
    Rename(Inode, Inode, String, String),
    /// Where the bytes go, and where they are in the recording.
    Write(Inode, usize, Range<usize>),
    Resize(Inode, usize),
    SyncBegins(u64, Inode),
    SyncEnded(u64),
}

/// What was done, in order.
pub struct Recording {
    pub bytes: Vec<u8>,
    /// Each with the position at which its record ends.
    pub operations: Vec<(usize, Operation)>,
}

/// A recorder of what happens below one folder.
pub struct Recorder {
    folder: TempDir,
    root: PathBuf,
}

impl Recorder {
    /// Compiles the recorder, for the folder `root`.
    #[track_caller]
    pub fn build(root: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload/recorder.c");
        let library = folder.path().join("recorder.so");
        let output = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-pthread", "-o"])
            .args([&library, &source])
            .output()
            .expect("cc is needed, a C compiler; on Debian: apt-get install build-essential");
        assert!(
            output.status.success(),
            "cc: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let root = root.canonicalize().expect("the folder to record");
        Self { folder, root }
    }

    /// What a process needs to be recorded.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let library = self.folder.path().join("recorder.so");
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("RECORDER_ROOT", self.root.display().to_string()),
            ("RECORDER_LOG", self.log().display().to_string()),
            // The names of sessions' folders, which several uploads may depend on.
            ("RECORDER_SLOW", "/staging".to_owned()),
        ]
    }

    /// What a process needs whose disk is thrown away: it is not recorded, and makes no syncs.
    pub fn hasty_environment(&self) -> [(&'static str, String); 1] {
        let library = self.folder.path().join("recorder.so");
        [("LD_PRELOAD", library.display().to_string())]
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("recording")
    }

    /// Where the recording ends now: what happened before this call has its record before that.
    pub fn position(&self) -> usize {
        let length = fs::metadata(self.log()).expect("the recording").len();
        usize::try_from(length).expect("a recording fits in memory")
    }

    /// Stops the recorded process between two changes until the answer is dropped, so that it can be killed
    /// without leaving a change that has no record.
    pub fn hold(&self) -> File {
        let log = File::open(self.log()).expect("the recording");
        log.lock().expect("lock the recording");
        log
    }

    /// All that was recorded.
    pub fn recording(&self) -> Recording {
        let bytes = fs::read(self.log()).expect("the recording");
        let mut operations = Vec::new();
        let mut position = 0;
        while position < bytes.len() {
            let line_length = bytes[position..]
                .iter()
                .position(|byte| *byte == b'\n')
                .expect("a whole record");
            let line = std::str::from_utf8(&bytes[position..position + line_length]);
            position += line_length + 1;
            let operation = parse(line.expect("a record is text"), position);
            if let Operation::Write(_, _, written) = &operation {
                position = written.end;
            }
            operations.push((position, operation));
        }
        assert_eq!(position, bytes.len(), "the last record is cut");
        Recording { bytes, operations }
    }
}

/// A record whose line ends before `position`.
fn parse(line: &str, position: usize) -> Operation {
    let unreadable = || -> ! { panic!("the recorder cannot tell what this was: {line}") };
    let number = |word: &str| word.parse().unwrap_or_else(|_| unreadable());
    let size = |word: &str| word.parse().unwrap_or_else(|_| unreadable());
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    match words[..] {
        ["create", folder, inode, name] => {
            Operation::Create(number(folder), number(inode), name.to_owned())
        }
        ["mkdir", folder, inode, name] => {
            Operation::MakeFolder(number(folder), number(inode), name.to_owned())
        }
        ["link", folder, inode, name] => {
            Operation::Link(number(folder), number(inode), name.to_owned())
        }
        ["unlink", folder, name] => Operation::Unlink(number(folder), name.to_owned()),
        ["rename", from, to, names] => match names.split_once('/') {
            Some((before, after)) => Operation::Rename(
                number(from),
                number(to),
                before.to_owned(),
                after.to_owned(),
            ),
            None => unreadable(),
        },
        ["write", inode, offset, count] => Operation::Write(
            number(inode),
            size(offset),
            position..position + size(count),
        ),
        ["size", inode, bytes] => Operation::Resize(number(inode), size(bytes)),
        ["sync", token, inode] => Operation::SyncBegins(number(token), number(inode)),
        ["synced", token] => Operation::SyncEnded(number(token)),
        _ => unreadable(),
    }
}
