//! A server that is recorded, and then the same server on what cuts leave.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::disk::{Disk, Image, Survival};
use super::recorder::{Inode, Operation, Recorder, Recording};
use super::support::server::{TestServer, files_below};

/// The data folder's name in the recorded folder.
const DATA: &str = "data";

/// A running server and its recorder.
pub struct Recorded {
    pub server: TestServer,
    pub recorder: Arc<Recorder>,
    root: Inode,
}

impl Recorded {
    /// Starts a server for the first time, recorded.
    #[track_caller]
    pub fn start() -> Self {
        // Some text parts are larger and have files of their own; the others share one.
        let mut server = TestServer::not_started(&[("CALVE_PARTS__PACKED_BYTES_MAX", "600 B")]);
        let root = server.scratch("");
        let recorder = Recorder::build(&root);
        set_environment(&mut server, &recorder.environment());
        server.restart();
        Self {
            server,
            recorder: Arc::new(recorder),
            root: fs::metadata(&root).expect("the recorded folder").ino(),
        }
    }

    /// Kills the server; its recording stays whole.
    pub fn kill(&mut self) {
        let _held = self.recorder.hold();
        self.server.kill();
    }

    /// Ends recording; the server must have ended. What the recording says must be what is on the disk.
    #[track_caller]
    pub fn finish(mut self) -> Cuts {
        let recording = self.recorder.recording();
        set_environment(&mut self.server, &self.recorder.hasty_environment());
        let mut disk = Disk::new(&recording, self.root);
        disk.advance(recording.bytes.len());
        let replayed = self.server.scratch("replayed");
        disk.image(DATA, &mut Survival::Everything).write(&replayed);
        assert_same_files(&replayed, &self.server.data_dir());
        fs::remove_dir_all(&replayed).expect("remove the replayed folder");
        Cuts {
            server: self.server,
            recording,
            root: self.root,
            _recorder: self.recorder,
        }
    }
}

fn set_environment(server: &mut TestServer, environment: &[(&str, String)]) {
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    server.set_environment(&environment);
}

#[track_caller]
fn assert_same_files(replayed: &Path, real: &Path) {
    let files = files_below(real);
    assert_eq!(
        files_below(replayed),
        files,
        "the recorder has missed a change of names"
    );
    for file in files {
        let same = fs::read(replayed.join(&file)).ok() == fs::read(real.join(&file)).ok();
        assert!(
            same,
            "the recorder has missed a change of {}",
            file.display()
        );
    }
}

/// A recording that can be cut.
pub struct Cuts {
    pub server: TestServer,
    pub recording: Recording,
    root: Inode,
    /// Keeps the library that is preloaded.
    _recorder: Arc<Recorder>,
}

/// Where a test failed.
struct Context<'a>(&'a Disk<'a>, usize, &'a Survival);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self(disk, position, survival) = self;
            let last = disk.last_operations(40);
            eprintln!("---- cut at {position}, surviving: {survival:?}, after\n{last}\n----");
        }
    }
}

impl Cuts {
    /// The positions at which something was done.
    pub fn ends_of_operations(&self) -> Vec<usize> {
        let operations = self.recording.operations.iter();
        operations.map(|(end, _)| *end).collect()
    }

    /// The positions just before the ends of those syncs of the files `name` that cover a write to an earlier
    /// segment than one before it: the moments with the most to lose.
    pub fn overwriting_syncs(&self, name: &str, segment_bytes: usize) -> Vec<usize> {
        let (mut inodes, mut last_segment, mut overwrites) = (BTreeSet::new(), 0, false);
        let (mut under_way, mut found) = (None, Vec::new());
        let mut before = 0;
        for (end, operation) in &self.recording.operations {
            match operation {
                Operation::Create(_, inode, created) if created == name => {
                    inodes.insert(*inode);
                }
                Operation::Write(inode, offset, _) if inodes.contains(inode) => {
                    let segment = offset / segment_bytes;
                    overwrites |= segment < last_segment;
                    last_segment = last_segment.max(segment);
                }
                Operation::SyncBegins(token, inode) if inodes.contains(inode) => {
                    under_way = Some(*token);
                }
                Operation::SyncEnded(token) if under_way == Some(*token) => {
                    if overwrites {
                        found.push(before);
                    }
                    overwrites = false;
                }
                _ => {}
            }
            before = *end;
        }
        found
    }

    /// Starts the server on what a cut at each position leaves, if it is `wanted`, and has it checked. Positions
    /// must not go back.
    pub fn cut_at(
        &mut self,
        cuts: impl IntoIterator<Item = (usize, Survival)>,
        mut wanted: impl FnMut(&Image) -> bool,
        mut check: impl FnMut(&TestServer, usize),
    ) {
        let mut disk = Disk::new(&self.recording, self.root);
        let data_dir = self.server.data_dir();
        for (position, survival) in cuts {
            disk.advance(position);
            let _context = Context(&disk, position, &survival);
            let image = disk.image(DATA, &mut survival.clone());
            if !wanted(&image) {
                continue;
            }
            if data_dir.exists() {
                fs::remove_dir_all(&data_dir).expect("remove what was left of the cut before");
            }
            image.write(&data_dir);
            self.server.restart();
            check(&self.server, position);
            self.server.kill();
        }
    }
}
