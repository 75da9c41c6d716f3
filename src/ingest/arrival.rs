//! A part's file that is read while its body still arrives.
//!
//! The receiver appends to the file and says how far it is; a reader on another thread follows. When no byte comes for a
//! while, or the body ends badly, it gives up, and whoever reads starts again when the part is complete.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for the next bytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far a body has arrived.
#[derive(Debug)]
pub struct Arrival {
    announced_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written_bytes: u64,
    end: Option<End>,
    is_given_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

impl Arrival {
    /// A body of which nothing is there yet.
    pub fn new(announced_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            announced_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// So many more bytes are in the file.
    pub fn advance(&self, bytes: u64) {
        self.state().written_bytes += bytes;
        self.changed.notify_all();
    }

    /// All bytes are in the file.
    pub fn complete(&self) {
        self.end(End::Complete);
    }

    /// No more bytes will come; has no effect after [`Self::complete`].
    pub fn fail(&self) {
        self.end(End::Failed);
    }

    /// Whether a reader gave up: what it made of the part is of no use.
    pub fn is_given_up(&self) -> bool {
        self.state().is_given_up
    }

    /// A reader of the file from its start.
    pub fn read(self: &Arc<Self>, file: File) -> ArrivingRead {
        ArrivingRead {
            file,
            position: 0,
            arrival: self.clone(),
        }
    }

    fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are bytes behind `position`; gives where they end, which is `position` at the end of the body.
    fn await_bytes(&self, position: u64) -> io::Result<u64> {
        let has_nothing =
            |state: &mut State| state.written_bytes <= position && state.end.is_none();
        let waited = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, has_nothing);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() || state.end == Some(End::Failed) {
            state.is_given_up = true;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the body does not arrive",
            ));
        }
        Ok(state.written_bytes)
    }
}

/// Follows a file that is being written. Blocks.
#[derive(Debug)]
pub struct ArrivingRead {
    file: File,
    position: u64,
    arrival: Arc<Arrival>,
}

impl ArrivingRead {
    /// Bytes that the whole body is said to have.
    pub fn announced_bytes(&self) -> u64 {
        self.arrival.announced_bytes
    }
}

impl Read for ArrivingRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.arrival.await_bytes(self.position)?;
        let available = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        let wanted = available.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_reader_follows_the_writer_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let mut file = File::create(&path).unwrap();
        let arrival = Arrival::new(300_000);
        let mut read = arrival.read(File::open(&path).unwrap());
        let following = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            read.read_to_end(&mut bytes).map(|_| bytes)
        });
        for byte in 0..3u8 {
            file.write_all(&vec![byte; 100_000]).unwrap();
            arrival.advance(100_000);
        }
        arrival.complete();
        arrival.fail();
        let expected: Vec<u8> = (0..3u8).flat_map(|byte| vec![byte; 100_000]).collect();
        assert_eq!(following.join().unwrap().unwrap(), expected);
        assert!(!arrival.is_given_up());
    }

    #[test]
    fn a_reader_gives_up_when_nothing_comes_or_the_body_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        File::create(&path).unwrap();
        for fails in [false, true] {
            let arrival = Arrival::new(1);
            if fails {
                arrival.fail();
            }
            let mut read = arrival.read(File::open(&path).unwrap());
            assert!(read.read(&mut [0]).is_err());
            assert!(arrival.is_given_up());
        }
    }
}
