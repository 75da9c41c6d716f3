//! Receives a part's body into the staging folder and gives its files their final names.
//!
//! The body goes from the socket to a file in blocks, the smaller the more parts are received at once; one block is written while
//! the next arrives. A body that is small ([`Start`]) is held whole and goes into a pack. It never passes through an actor.
//! Until [`StagedFiles::keep`] is called, dropping [`StagedFiles`] removes the files: a client that goes away, a refusal,
//! and a message that is never delivered all leave nothing behind.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use tokio::task::JoinHandle;

use super::durable;
use super::fault::Artifact;
use super::pace::PacedBody;
use super::packs::{Pack, PackSlot};
use crate::admission::Admitted;
use crate::blocking::blocking;
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::arrival::Arrival;
use crate::ingest::digest::{ExpectedDigests, Hasher};
use crate::turns::Turns;

/// Bytes of a part after which the disk begins to write them: what is left for the sync at the end is no more.
const BEGIN_TO_WRITE_BYTES: u64 = 2 * 1024 * 1024;

/// A part's files, or its place in a pack: removed when the last clone of this is dropped, unless they are kept.
#[derive(Debug, Clone)]
pub struct StagedFiles(Arc<Guarded>);

#[derive(Debug)]
struct Guarded {
    paths: Vec<PathBuf>,
    slot: Option<PackSlot>,
    is_kept: AtomicBool,
}

impl StagedFiles {
    /// Takes responsibility for files, which need not exist yet.
    pub fn guard(paths: Vec<PathBuf>) -> Self {
        Self(Arc::new(Guarded {
            paths,
            slot: None,
            is_kept: AtomicBool::new(false),
        }))
    }

    /// Takes responsibility for bytes in a pack.
    pub fn packed(slot: PackSlot) -> Self {
        Self(Arc::new(Guarded {
            paths: Vec::new(),
            slot: Some(slot),
            is_kept: AtomicBool::new(false),
        }))
    }

    /// The pack that has to be synced before a record may refer to these.
    pub fn pack(&self) -> Option<&Arc<Pack>> {
        self.0.slot.as_ref().map(PackSlot::pack)
    }

    /// The files stay, whatever happens to the clones.
    pub fn keep(&self) {
        self.0.is_kept.store(true, Ordering::Release);
        if let Some(slot) = &self.0.slot {
            slot.keep();
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            for path in &self.paths {
                durable::remove_quietly(path);
            }
        }
    }
}

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Bytes as sent.
    pub wire_bytes: u64,
    /// Their SHA-256 in hex.
    pub sha256: String,
}

/// How a body is received.
#[derive(Debug, Clone)]
pub struct Reception {
    /// Most bytes.
    pub wire_bytes_max: u64,
    /// Checksums it must have.
    pub digests: ExpectedDigests,
    /// Looks at the disk before each block.
    pub admitted: Arc<Admitted>,
    /// Is told of each block that was written.
    pub arrival: Arc<Arrival>,
    /// What the part will wait for, if it will: sets the pace.
    pub conversions: Option<Arc<Turns>>,
}

/// The first bytes of a body.
#[derive(Debug, Default)]
pub struct Start {
    chunks: Vec<Bytes>,
    bytes: u64,
    is_whole: bool,
}

impl Start {
    /// Reads until there are more than `bytes_max`, or the body ends.
    pub async fn read<S>(
        body: &mut PacedBody<S>,
        bytes_max: u64,
        reception: &Reception,
    ) -> Result<Self>
    where
        S: Stream<Item = std::result::Result<Bytes, PayloadError>> + Unpin,
    {
        let mut start = Self::default();
        while start.bytes <= bytes_max {
            let Some(chunk) = body.next_chunk().await? else {
                start.is_whole = true;
                break;
            };
            start.bytes += chunk.len() as u64;
            start.chunks.push(chunk);
            check_size(start.bytes, reception.wire_bytes_max)?;
        }
        Ok(start)
    }

    /// All of the body, if it ended.
    pub fn whole(&self) -> Option<Bytes> {
        match self.chunks.as_slice() {
            _ if !self.is_whole => None,
            [only] => Some(only.clone()),
            chunks => Some(chunks.concat().into()),
        }
    }
}

/// Writes a body, from its start on, to a new file, which [`Sink::create`] has made. Not yet synced.
pub async fn receive<S>(
    start: Start,
    mut body: PacedBody<S>,
    sink: Sink,
    reception: Reception,
) -> Result<Received>
where
    S: Stream<Item = std::result::Result<Bytes, PayloadError>> + Unpin,
{
    let mut writing = Writing::Done(Box::new(sink));
    let mut is_end = start.is_whole;
    let (mut block, mut wire_bytes) = (start.chunks, start.bytes);
    let mut block_bytes: usize = block.iter().map(Bytes::len).sum();
    loop {
        if !is_end {
            if let (true, Some(turns)) = (block.is_empty(), &reception.conversions) {
                turns.pace().await;
            }
            let next = body.next_chunk().await?;
            is_end = next.is_none();
            if let Some(bytes) = next {
                wire_bytes += bytes.len() as u64;
                check_size(wire_bytes, reception.wire_bytes_max)?;
                block_bytes += bytes.len();
                block.push(bytes);
            }
        }
        if block_bytes >= reception.admitted.block_bytes() || (is_end && block_bytes > 0) {
            let sink = writing.end().await?;
            writing = sink.begin(std::mem::take(&mut block));
            block_bytes = 0;
        }
        if is_end {
            break;
        }
    }
    let sink = writing.end().await?;
    reception.arrival.complete();
    Ok(Received {
        wire_bytes,
        sha256: sink.hasher.finish()?,
    })
}

/// Refuses a body that is, or says it is, larger than a part may be.
pub fn check_size(wire_bytes: u64, wire_bytes_max: u64) -> Result<()> {
    if wire_bytes > wire_bytes_max {
        return Err(Error::new(
            ErrorCode::PartTooLarge,
            format!(
                "A part may have at most {wire_bytes_max} bytes as sent; split the file into smaller parts, or compress it."
            ),
        )
        .with("limit_bytes", wire_bytes_max));
    }
    Ok(())
}

/// The file and the hashes; moves to a blocking thread and back.
#[derive(Debug)]
pub struct Sink {
    file: File,
    written_bytes: u64,
    /// Of those, the bytes that the kernel was asked to write.
    begun_bytes: u64,
    hasher: Hasher,
    admitted: Arc<Admitted>,
    arrival: Arc<Arrival>,
}

impl Sink {
    /// Makes a new file for a body.
    pub async fn create(path: &Path, reception: &Reception) -> Result<Self> {
        let path = path.to_path_buf();
        let created = blocking(move || {
            let folder = path.parent().unwrap_or(&path);
            durable::create_folders(folder)
                .and_then(|()| durable::create_new(&path))
                .map_err(|error| Error::storage("creating a part's file", &error))
        });
        let file = created.await?;
        Ok(Self {
            file,
            written_bytes: 0,
            begun_bytes: 0,
            hasher: Hasher::new(reception.digests.clone()),
            admitted: reception.admitted.clone(),
            arrival: reception.arrival.clone(),
        })
    }

    fn begin(self, block: Vec<Bytes>) -> Writing {
        Writing::Block(tokio::task::spawn_blocking(move || self.write(&block)))
    }

    /// Blocks.
    fn write(mut self, block: &[Bytes]) -> Result<Self> {
        let block_bytes = block.iter().map(Bytes::len).sum::<usize>();
        self.admitted.write(block_bytes as u64)?;
        for bytes in block {
            self.hasher.update(bytes);
        }
        write_all_of(&self.file, block)
            .map_err(|error| Error::storage("writing a part's file", &error))?;
        self.arrival.advance(block_bytes as u64);
        self.written_bytes += block_bytes as u64;
        let fresh = NonZeroU64::new(self.written_bytes - self.begun_bytes);
        if fresh.is_some_and(|bytes| bytes.get() >= BEGIN_TO_WRITE_BYTES) {
            durable::begin_to_write(&self.file, self.begun_bytes, fresh);
            self.begun_bytes = self.written_bytes;
        }
        Ok(self)
    }
}

/// Writes several pieces at once, which costs the kernel less than one by one.
fn write_all_of(mut file: &File, pieces: &[Bytes]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    // Pieces of nothing are done.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A part's file, on its way through the blocking threads. Dropped, what was begun is done, and its file is closed.
enum Writing {
    Block(JoinHandle<Result<Sink>>),
    Done(Box<Sink>),
}

impl Writing {
    async fn end(self) -> Result<Sink> {
        match self {
            Self::Block(writing) => writing.await.map_err(Error::internal)?,
            Self::Done(sink) => Ok(*sink),
        }
    }
}

/// Gives a part's files their final names, durably. `data` is there when a data file was made (and synced)
/// from the part. Blocks.
pub fn seal(raw: (&Path, &Path), data: Option<(&Path, &Path)>) -> Result<()> {
    let sealed = (|| {
        durable::sync_file(Artifact::PartBytes, &File::open(raw.0)?)?;
        durable::rename_file(Artifact::PartBytes, raw.0, raw.1)?;
        if let Some((from, to)) = data {
            durable::rename_file(Artifact::DataFile, from, to)?;
        }
        match raw.1.parent() {
            Some(folder) => durable::sync_folder(Artifact::PartBytes, folder),
            None => Ok(()),
        }
    })();
    sealed.map_err(|error| Error::storage("sealing a part's files", &error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;

    use super::*;
    use crate::admission::{Admission, StagedBytes};
    use crate::config::Config;
    use crate::store::pace::Pace;

    async fn reception(wire_bytes_max: u64) -> Reception {
        let (folder, config) = (std::env::temp_dir(), Config::default());
        let admission = Admission::new(folder, StagedBytes::default(), &config);
        Reception {
            admitted: Arc::new(admission.admit(None).await.unwrap()),
            wire_bytes_max,
            digests: ExpectedDigests::default(),
            arrival: Arrival::new(0),
            conversions: None,
        }
    }

    fn paced<S>(body: S) -> PacedBody<S>
    where
        S: Stream<Item = std::result::Result<Bytes, PayloadError>> + Unpin,
    {
        let pace = Pace {
            idle_timeout: Duration::from_millis(50),
            bytes_per_second_min: 0,
            deadline: Duration::from_secs(3600),
        };
        PacedBody::new(body, pace)
    }

    async fn receive_at<S>(
        start: Start,
        body: PacedBody<S>,
        path: &Path,
        reception: Reception,
    ) -> Result<Received>
    where
        S: Stream<Item = std::result::Result<Bytes, PayloadError>> + Unpin,
    {
        let sink = Sink::create(path, &reception).await?;
        receive(start, body, sink, reception).await
    }

    #[tokio::test]
    async fn a_body_is_written_in_blocks_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session/part");
        let chunks = (0..10u8).map(|byte| Ok(Bytes::from(vec![byte; 100_000])));
        let mut body = paced(stream::iter(chunks));
        let reception = reception(1_000_000).await;
        let start = Start::read(&mut body, 150_000, &reception).await.unwrap();
        assert_eq!(start.whole(), None);
        let received = receive_at(start, body, &path, reception).await.unwrap();
        assert_eq!(received.wire_bytes, 1_000_000);
        let expected: Vec<u8> = (0..10u8).flat_map(|byte| vec![byte; 100_000]).collect();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_small_body_is_held_whole() {
        let chunks = [&b"ab"[..], b"c"].map(|chunk| Ok(Bytes::from_static(chunk)));
        let mut body = paced(stream::iter(chunks));
        let reception = reception(10).await;
        let start = Start::read(&mut body, 3, &reception).await.unwrap();
        assert_eq!(start.whole().unwrap(), "abc");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let received = receive_at(start, body, &path, reception).await.unwrap();
        assert_eq!(received.wire_bytes, 3);
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    #[tokio::test]
    async fn too_large_cut_and_silent_bodies_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let too_large = stream::iter([Ok(Bytes::from_static(b"123"))]);
        let refused = receive_at(
            Start::default(),
            paced(too_large),
            &folder.path().join("a"),
            reception(2).await,
        )
        .await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::PartTooLarge);
        let cut = stream::iter([Err(PayloadError::Incomplete(None))]);
        let refused = receive_at(
            Start::default(),
            paced(cut),
            &folder.path().join("b"),
            reception(2).await,
        )
        .await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::BodyIncomplete);
        let refused = receive_at(
            Start::default(),
            paced(stream::pending()),
            &folder.path().join("c"),
            reception(2).await,
        )
        .await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::BodyTimeout);
    }

    #[test]
    fn files_that_are_not_kept_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (gone, kept) = (folder.path().join("gone"), folder.path().join("kept"));
        for (path, keeps) in [(&gone, false), (&kept, true)] {
            std::fs::write(path, b"x").unwrap();
            let files = StagedFiles::guard(vec![path.clone()]);
            if keeps {
                files.clone().keep();
            }
        }
        assert!(!gone.exists() && kept.exists());
    }
}
