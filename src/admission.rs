//! Whether a part may come, decided before its body is read: parts in flight, bytes staged, free space.
//!
//! **Space.** Uploads leave `storage.reserve` of the disk free, so that commits, deletions and records go on working. A part
//! with an announced length is admitted when twice of it (its bytes, and a data file that is seldom larger) fits beside what the
//! parts in flight have announced and not yet written; a small one, which has no data file before the commit, when it fits once,
//! or when the look before was a moment ago and left room for it. What is written to a file is looked at again, block by
//! block, which also bounds bodies without a length and whatever else fills the disk meanwhile.
//!
//! **Bytes staged** are counted in memory: changed with every part that is recorded or removed, and set right by every sweep, which
//! looks at the files. From a start to the end of its first sweep the count is too low, so the limit is soft.
//!
//! **Buffers.** A part collects a block of its body while a thread writes the one before. All parts in flight share
//! `BUFFERS_BYTES_MAX` for both: the more there are, the smaller are their blocks.
//!
//! Nothing here waits: what does not fit is refused at once, and its client comes again.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blocking::blocking;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::store::durable;
use crate::store::packs::PACKED_BYTES_MAX;

/// Bytes of bodies in memory, of all parts that are received into files.
const BUFFERS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Blocks of one part in memory.
const BLOCKS_PER_PART: usize = 2;
/// Block of one part: at least as much as comes from a socket at once, and no more than helps.
const BLOCK_BYTES: RangeInclusive<usize> = 32 * 1024..=256 * 1024;

/// For how long what a look at the disk found is good for small parts.
const LOOK_AGE_MAX: Duration = Duration::from_millis(50);

/// Bytes of all staged files.
#[derive(Debug, Clone, Default)]
pub struct StagedBytes(Arc<AtomicU64>);

impl StagedBytes {
    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Files of so many bytes were staged.
    pub fn add(&self, bytes: u64) {
        self.change(|count| count.saturating_add(bytes));
    }

    /// Files of so many bytes are staged no more.
    pub fn subtract(&self, bytes: u64) {
        self.change(|count| count.saturating_sub(bytes));
    }

    /// Files of `found` bytes were found by a look that began when the count was `before`; what changed meanwhile is kept.
    pub fn correct(&self, before: u64, found: u64) {
        self.change(|count| count.saturating_add(found).saturating_sub(before));
    }

    fn change(&self, next: impl Fn(u64) -> u64) {
        let changed = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                Some(next(count))
            });
        debug_assert!(changed.is_ok(), "the change never refuses");
    }
}

/// Admits parts. One per server.
#[derive(Debug)]
pub struct Admission {
    folder: Arc<Path>,
    reserve_bytes: u64,
    staged: StagedBytes,
    staged_bytes_max: u64,
    in_flight_max: usize,
    in_flight: Arc<Semaphore>,
    /// Bytes that parts in flight have announced and not written.
    expected: Arc<AtomicU64>,
    last_look: Arc<LastLook>,
}

/// What the last look at the disk found.
#[derive(Debug, Default)]
struct LastLook(Mutex<Option<(Instant, u64)>>);

impl LastLook {
    /// That there were so many bytes free.
    fn note(&self, at: Instant, free_bytes: u64) {
        *self.lock() = Some((at, free_bytes));
    }

    /// Takes bytes of what was free, if the look was a moment ago and that leaves `rest_bytes`.
    fn take(&self, bytes: u64, rest_bytes: u64) -> bool {
        let mut last = self.lock();
        let Some((at, free_bytes)) = &mut *last else {
            return false;
        };
        let left = free_bytes.saturating_sub(bytes);
        let is_enough = left >= rest_bytes && at.elapsed() < LOOK_AGE_MAX;
        if is_enough {
            *free_bytes = left;
        }
        is_enough
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part that may come. Its place, and the space kept for it, are free again when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    folder: Arc<Path>,
    reserve_bytes: u64,
    expected_by_all: Arc<AtomicU64>,
    /// This part's share of `expected_by_all`.
    expected: AtomicU64,
    in_flight_max: usize,
    last_look: Arc<LastLook>,
    place: OwnedSemaphorePermit,
}

impl Admission {
    /// The admission to a data folder.
    pub fn new(folder: PathBuf, staged: StagedBytes, config: &Config) -> Self {
        Self {
            folder: folder.into(),
            reserve_bytes: config.storage.reserve.as_u64(),
            staged,
            staged_bytes_max: config.storage.staged_bytes_max.as_u64(),
            in_flight_max: config.parts.in_flight_max,
            in_flight: Arc::new(Semaphore::new(config.parts.in_flight_max)),
            expected: Arc::default(),
            last_look: Arc::default(),
        }
    }

    /// Admits a part of so many bytes, if it says how many, or refuses it.
    pub async fn admit(&self, content_length: Option<u64>) -> Result<Admitted> {
        let place = self.in_flight.clone().try_acquire_owned().map_err(|_| {
            Error::new(
                ErrorCode::Overloaded,
                "The server is receiving as many parts as it may at once; nothing was read. Send the part again, with fewer at once.",
            )
        })?;
        let announced = content_length.unwrap_or(0);
        self.check_staged(announced)?;
        let is_small = content_length.is_some_and(|bytes| bytes <= PACKED_BYTES_MAX as u64);
        let needed = announced.saturating_mul(if is_small { 1 } else { 2 });
        self.expected.fetch_add(needed, Ordering::Relaxed);
        let admitted = Admitted {
            folder: self.folder.clone(),
            reserve_bytes: self.reserve_bytes,
            expected_by_all: self.expected.clone(),
            expected: AtomicU64::new(needed),
            in_flight_max: self.in_flight_max,
            last_look: self.last_look.clone(),
            place,
        };
        let expected = self.expected.load(Ordering::Relaxed);
        let rest = self.reserve_bytes.saturating_add(expected);
        if is_small && self.last_look.take(announced, rest) {
            return Ok(admitted);
        }
        blocking(move || {
            let expected = admitted.expected_by_all.load(Ordering::Relaxed);
            admitted.look(expected, 0)?;
            Ok(admitted)
        })
        .await
    }

    fn check_staged(&self, announced: u64) -> Result<()> {
        let (staged, limit) = (self.staged.get(), self.staged_bytes_max);
        if limit > 0 && staged.saturating_add(announced) > limit {
            return Err(Error::new(
                ErrorCode::LimitReached,
                "The sessions that are open have as many bytes staged as they may have together; nothing was read. Commit or delete what is staged, or try again later.",
            )
            .with("limit", "storage.staged_bytes_max")
            .with("limit_bytes", limit)
            .with("staged_bytes", staged));
        }
        Ok(())
    }
}

impl Admitted {
    /// Bytes of the body to collect before they are written.
    pub fn block_bytes(&self) -> usize {
        let free = self.place.semaphore().available_permits();
        let in_flight = self.in_flight_max.saturating_sub(free).max(1);
        let each = BUFFERS_BYTES_MAX / BLOCKS_PER_PART / in_flight;
        each.clamp(*BLOCK_BYTES.start(), *BLOCK_BYTES.end())
    }

    /// Another block is about to be written: refuses when the reserve is touched. Blocks.
    pub fn write(&self, bytes: u64) -> Result<()> {
        let spent = bytes.min(self.expected.load(Ordering::Relaxed));
        self.expected.fetch_sub(spent, Ordering::Relaxed);
        self.expected_by_all.fetch_sub(spent, Ordering::Relaxed);
        self.look(bytes, bytes)
    }

    /// Looks at the disk, whether it has room for `needed_bytes`; of what is free `spent_bytes` are used now. Blocks.
    fn look(&self, needed_bytes: u64, spent_bytes: u64) -> Result<()> {
        let now = Instant::now();
        let free_bytes = check_space(&self.folder, self.reserve_bytes, needed_bytes)?;
        let left = free_bytes.saturating_sub(spent_bytes);
        self.last_look.note(now, left);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.expected_by_all
            .fetch_sub(*self.expected.get_mut(), Ordering::Relaxed);
    }
}

/// Refuses what would bring the disk below the reserve; gives what is free.
fn check_space(folder: &Path, reserve_bytes: u64, needed_bytes: u64) -> Result<u64> {
    let free_bytes = durable::free_bytes(folder)
        .map_err(|error| Error::storage("reading the free space", &error))?;
    if free_bytes >= needed_bytes.saturating_add(reserve_bytes) {
        return Ok(free_bytes);
    }
    Err(Error::new(
        ErrorCode::NoSpace,
        "The server's disk is nearly full, so no more parts are taken; nothing was stored. What is staged can still be committed or deleted. Try again when space was freed.",
    )
    .with("free_bytes", free_bytes)
    .with("reserve_bytes", reserve_bytes)
    .with("needed_bytes", needed_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(change: impl FnOnce(&mut Config)) -> (tempfile::TempDir, Admission, StagedBytes) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        change(&mut config);
        let staged = StagedBytes::default();
        let admission = Admission::new(folder.path().to_path_buf(), staged.clone(), &config);
        (folder, admission, staged)
    }

    #[tokio::test]
    async fn places_are_counted_and_given_back() {
        let (_folder, admission, _) = admission(|config| config.parts.in_flight_max = 2);
        let first = admission.admit(Some(1)).await.unwrap();
        assert_eq!(first.block_bytes(), *BLOCK_BYTES.end());
        let _second = admission.admit(None).await.unwrap();
        let refused = admission.admit(Some(1)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Overloaded);
        drop(first);
        admission.admit(Some(1)).await.unwrap();
    }

    #[tokio::test]
    async fn small_parts_share_a_look_at_the_disk_until_it_is_used_up() {
        let look = LastLook::default();
        assert!(!look.take(1, 0), "nobody looked");
        look.note(Instant::now(), 100);
        assert!(look.take(40, 50));
        assert!(!look.take(11, 50), "60 are left");
        assert!(look.take(10, 50));
        *look.lock() = Instant::now()
            .checked_sub(LOOK_AGE_MAX)
            .map(|at| (at, 1000));
        assert!(!look.take(1, 0), "it was too long ago");
        let (_folder, admission, _) = admission(|config| {
            config.storage.reserve = bytesize::ByteSize::pib(1);
        });
        let refused = admission.admit(Some(1)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NoSpace);
    }

    #[tokio::test]
    async fn many_parts_have_small_blocks() {
        let (_folder, admission, _) = admission(|config| config.parts.in_flight_max = 512);
        let mut admitted = Vec::new();
        for _ in 0..512 {
            admitted.push(admission.admit(Some(1)).await.unwrap());
        }
        assert_eq!(
            admitted[0].block_bytes() * BLOCKS_PER_PART * 512,
            BUFFERS_BYTES_MAX
        );
        admitted.truncate(1);
        assert_eq!(admitted[0].block_bytes(), *BLOCK_BYTES.end());
    }

    #[tokio::test]
    async fn staged_bytes_are_limited_together() {
        let (_folder, admission, staged) =
            admission(|config| config.storage.staged_bytes_max = bytesize::ByteSize::b(100));
        staged.add(90);
        admission.admit(Some(10)).await.unwrap();
        let refused = admission.admit(Some(11)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::LimitReached);
        // A sweep that began at 90 found 70; 5 came meanwhile.
        staged.add(5);
        staged.correct(90, 70);
        assert_eq!(staged.get(), 75);
        staged.subtract(100);
        assert_eq!(staged.get(), 0);
    }

    #[tokio::test]
    async fn what_parts_in_flight_still_need_is_kept_for_them() {
        let (folder, admission, _) = admission(|_| {});
        let free = durable::free_bytes(folder.path()).unwrap();
        // A third of the disk, twice: the second one's double does not fit beside the first one's.
        let share = free / 3;
        let first = admission.admit(Some(share)).await.unwrap();
        let refused = admission.admit(Some(share)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NoSpace);
        first.write(share).unwrap();
        first.write(share * 2).unwrap();
        assert_eq!(admission.expected.load(Ordering::Relaxed), 0);
        drop(first);
        let third = admission.admit(Some(share)).await.unwrap();
        assert_eq!(third.write(free).unwrap_err().code, ErrorCode::NoSpace);
        drop(third);
        assert_eq!(admission.expected.load(Ordering::Relaxed), 0);
    }
}
