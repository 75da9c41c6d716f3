//! The journal: sled behind one writer thread, which makes a group of writes durable together.
//!
//! **How to call it.** [`Journal::write`] takes a [`Write`] (expectations, puts) and answers when it is
//! on stable storage. Reads ([`Journal::get`], [`Journal::scan`]) block and go straight to sled.
//!
//! **Ordering and durability.** Writes are applied in the order in which they were queued. The writer takes everything that
//! waits (up to `GROUP_WRITES_MAX`), applies it in one sled transaction, then calls `flush`, `fdatasync` on sled's log file and
//! `fsync` on its folder, and only then answers all of them. Packs that a write names are written and synced before that: a
//! record never refers to bytes that are not durable. sled 0.34's `flush` alone is not enough on Linux: it is a `sync_file_range`, and a power cut after it was
//! seen to empty whole databases. Values are kept small (records are chunked), because sled puts large ones into blob
//! files that it never syncs.
//!
//! **Failure.** When a flush or sync fails, nothing of the group is acknowledged, and the journal refuses
//! every later write and read: the kernel may have dropped the dirty pages, so no later sync can be trusted. The
//! server reports not-ready; a restart reads what really is on the disk.
//!
//! **A full disk.** Room for the next groups is kept beyond the log's end; a group that might not fit is refused, and the
//! journal goes on when there is space again.
//!
//! **Secrets.** The keys of [`super::credentials`] are in here, so the folder is its owner's alone (mode 0700).
//!
//! **What a crash loses.** Only what was not acknowledged. How a store is made, recognised and raised to a
//! newer format is in `open`.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::durable;
use super::fault::Artifact;
use super::layout::Layout;
use super::packs::Pack;
use crate::error::{Error, ErrorCode};
use crate::telemetry::Metrics;

mod open;
mod room;

pub use open::OpenError;
use room::Room;

/// Most writes that share one sync. More would only make the first of them wait longer.
const GROUP_WRITES_MAX: usize = 512;
/// Writes that may wait for the writer; more are refused, and their clients come again.
const QUEUED_WRITES_MAX: usize = 16 * 1024;

/// What must be true of a key for a write to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; `None` when it must be absent.
    pub value: Option<Vec<u8>>,
}

/// A set of changes that become durable together, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// All of these must hold, else nothing is changed.
    pub expectations: Vec<Expectation>,
    /// Keys to set.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys to remove.
    pub removes: Vec<Vec<u8>>,
    /// Counters (u64, big-endian) to change by an amount; they stop at zero.
    pub counts: Vec<(&'static [u8], i64)>,
    /// Counters that must be below a limit, else nothing is changed.
    pub ceilings: Vec<(&'static [u8], u64)>,
    /// Packs whose bytes must be durable before this is.
    pub packs: Vec<Arc<Pack>>,
}

/// Why a write was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// An expectation did not hold; nothing was changed.
    #[error("the record `{}` is not as expected", String::from_utf8_lossy(key))]
    Unexpected {
        /// The key whose value differs.
        key: Vec<u8>,
        /// What is there.
        found: Option<Vec<u8>>,
    },
    /// A counter is at its ceiling; nothing was changed.
    #[error("`{}` is at its limit of {limit}", String::from_utf8_lossy(counter))]
    AtLimit {
        /// The counter.
        counter: &'static [u8],
        /// Its limit.
        limit: u64,
    },
    /// The disk has no room for the records; nothing was changed, and it may be tried again.
    #[error("the disk has no room for more records")]
    Full,
    /// A pack that the write refers to could not be synced; nothing was changed, and other packs may take the bytes.
    #[error("the part's bytes cannot be made durable: {reason}")]
    Unsynced {
        /// What kind of failure.
        kind: ErrorKind,
        /// The disk's message.
        reason: String,
    },
    /// Too many writes wait; nothing was changed.
    #[error("too many writes wait for the journal")]
    Busy,
    /// The disk refused; nothing was acknowledged and nothing more will be.
    #[error("the journal cannot write: {reason}")]
    Failed {
        /// The disk's or sled's message.
        reason: String,
    },
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unexpected { .. } => Error::internal(error),
            WriteError::AtLimit { limit, .. } => Error::new(
                ErrorCode::LimitReached,
                format!("As many sessions are open as may be ({limit}). Commit those that are complete; those that are not expire by themselves. Try again later."),
            )
            .with("limit", "sessions.open_max")
            .with("limit_sessions", limit),
            WriteError::Full => Error::new(
                ErrorCode::NoSpace,
                "The server's disk is full, so nothing can be recorded; nothing was changed by this request. Try again when space was freed.",
            )
            .caused_by(error),
            WriteError::Unsynced { kind, reason } => {
                Error::storage("syncing a pack", &std::io::Error::new(kind, reason))
            }
            WriteError::Busy => Error::new(
                ErrorCode::Overloaded,
                "The server has more to record than its disk takes; send the same request again.",
            )
            .caused_by(error),
            WriteError::Failed { .. } => Error::new(
                ErrorCode::StorageUnavailable,
                "The server's disk refused a write and the server takes no more until it is restarted; what was acknowledged before is safe.",
            )
            .caused_by(error),
        }
    }
}

struct Request {
    write: Write,
    reply: oneshot::Sender<Result<(), WriteError>>,
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// The journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    db: sled::Db,
    requests: mpsc::Sender<Request>,
    failed: Arc<AtomicBool>,
    _lock: Arc<File>,
}

/// The writer thread; joined when the last [`Journal`] is gone.
#[derive(Debug)]
pub struct JournalWriter(JoinHandle<()>);

impl JournalWriter {
    /// Waits until everything queued is durable and the thread has ended. Blocks.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the journal's writer thread panicked");
        }
    }
}

impl Journal {
    /// Opens or makes the journal below the data folder and starts its writer. Blocks.
    pub fn open(
        layout: &Layout,
        new_store_id: Uuid,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, JournalWriter), OpenError> {
        durable::create_folders(layout.root())?;
        Self::start(layout, Some(new_store_id), metrics)
    }

    /// Opens a journal that is there: never makes one, and leaves an older format as it is. Blocks.
    pub fn open_existing(
        layout: &Layout,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, JournalWriter), OpenError> {
        Self::start(layout, None, metrics)
    }

    fn start(
        layout: &Layout,
        new_store_id: Option<Uuid>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, JournalWriter), OpenError> {
        let lock = Arc::new(open::lock(layout)?);
        let db = open::open_store(layout, new_store_id)?;
        let folder = layout.journal_folder();
        let log = File::options()
            .read(true)
            .write(true)
            .open(folder.join("db"))?;
        // What recovery may have rewritten counts as on disk from here on.
        durable::sync_tree(Artifact::Journal, &folder)?;
        let failed = Arc::new(AtomicBool::new(false));
        let (requests, queue) = mpsc::channel(QUEUED_WRITES_MAX);
        let writer = Writer {
            db: db.clone(),
            room: Room::default(),
            log,
            folder: File::open(&folder)?,
            failed: failed.clone(),
            metrics,
            _lock: lock.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("calve-journal".to_owned())
            .spawn(move || writer.run(queue))?;
        let journal = Self {
            db,
            requests,
            failed,
            _lock: lock,
        };
        Ok((journal, JournalWriter(thread)))
    }

    /// Makes a write durable. It has its place in the queue when this returns; the future's answer comes
    /// after the sync that covers it. Dropping the future does not take the write back.
    pub fn write(
        &self,
        write: Write,
    ) -> Result<impl Future<Output = Result<(), WriteError>> + use<>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let closed = || WriteError::Failed {
            reason: "the writer has stopped".to_owned(),
        };
        self.requests
            .try_send(Request { write, reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => WriteError::Busy,
                TrySendError::Closed(_) => closed(),
            })?;
        Ok(async move { answer.await.map_err(|_| closed())? })
    }

    /// The value of a key. Blocks.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.check_trusted()?;
        let value = self.db.get(key).map_err(read_error)?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// All keys with a prefix and their values, in key order. Blocks.
    pub fn scan(
        &self,
        prefix: &[u8],
    ) -> Result<impl Iterator<Item = Result<Entry, Error>> + use<>, Error> {
        self.check_trusted()?;
        Ok(self.db.scan_prefix(prefix).map(|entry| {
            entry
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .map_err(read_error)
        }))
    }

    /// The value of a counter. Blocks.
    pub fn count(&self, key: &[u8]) -> Result<u64, Error> {
        Ok(decode_count(self.get(key)?.as_deref()))
    }

    /// After a failed sync sled's memory holds what may not be on the disk: nothing is read from it.
    fn check_trusted(&self) -> Result<(), Error> {
        if self.is_failed() {
            return Err(WriteError::Failed {
                reason: "an earlier write failed".to_owned(),
            }
            .into());
        }
        Ok(())
    }

    /// Whether the disk refused a write; nothing will be acknowledged any more.
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

fn read_error(error: sled::Error) -> Error {
    Error::new(
        ErrorCode::StorageUnavailable,
        "The server cannot read its records; try again later.",
    )
    .caused_by(error)
}

fn decode_count(value: Option<&[u8]>) -> u64 {
    value
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

struct Writer {
    db: sled::Db,
    log: File,
    room: Room,
    folder: File,
    failed: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    _lock: Arc<File>,
}

/// However the writer ends, nothing can be acknowledged after it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.failed.store(true, Ordering::Release);
    }
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_WRITES_MAX);
        while let Some(first) = queue.blocking_recv() {
            group.push(first);
            while group.len() < GROUP_WRITES_MAX
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            self.metrics
                .journal_group_writes
                .observe(group.len() as f64);
            let outcomes = self.commit_group(&group);
            for (request, outcome) in group.drain(..).zip(outcomes) {
                // The caller may be gone; what it asked for is durable all the same.
                let _ = request.reply.send(outcome);
            }
        }
    }

    /// Applies a group and makes it durable; one outcome per request.
    fn commit_group(&mut self, group: &[Request]) -> Vec<Result<(), WriteError>> {
        if self.failed.load(Ordering::Acquire) {
            return self.refuse(group, "an earlier write failed");
        }
        let unsynced = sync_packs(group);
        let puts = group.iter().flat_map(|request| &request.write.puts);
        let value_bytes: usize = puts.map(|(key, value)| key.len() + value.len()).sum();
        match self.room.make(&self.log, value_bytes as u64) {
            Ok(true) => {}
            Ok(false) => return vec![Err(WriteError::Full); group.len()],
            Err(error) => return self.fail(group, &error.to_string()),
        }
        let applied = self.db.transaction(|tree| {
            group
                .iter()
                .map(|request| match unsynced_pack(&unsynced, &request.write) {
                    Some(error) => Ok(Err(error)),
                    None => apply(tree, &request.write),
                })
                .collect::<Result<Vec<_>, ConflictableTransactionError<()>>>()
        });
        let outcomes = match applied {
            Ok(outcomes) => outcomes,
            Err(TransactionError::Storage(error)) => return self.fail(group, &error.to_string()),
            Err(TransactionError::Abort(())) => return self.fail(group, "transaction aborted"),
        };
        match durable::sync_journal(&self.db, &self.log, &self.folder) {
            Ok(()) => outcomes,
            Err(error) => self.fail(group, &error.to_string()),
        }
    }

    fn fail(&self, group: &[Request], reason: &str) -> Vec<Result<(), WriteError>> {
        tracing::error!(
            reason,
            "the journal cannot write; no upload will be acknowledged until a restart"
        );
        self.failed.store(true, Ordering::Release);
        self.refuse(group, reason)
    }

    fn refuse(&self, group: &[Request], reason: &str) -> Vec<Result<(), WriteError>> {
        let refusal = WriteError::Failed {
            reason: reason.to_owned(),
        };
        vec![Err(refusal); group.len()]
    }
}

/// Syncs every pack of a group once; gives those that failed, and why.
fn sync_packs(group: &[Request]) -> HashMap<u64, std::io::Error> {
    let packs = group.iter().flat_map(|request| &request.write.packs);
    let packs: HashMap<u64, &Arc<Pack>> = packs.map(|pack| (pack.number(), pack)).collect();
    packs
        .into_iter()
        .filter_map(|(number, pack)| Some((number, pack.sync().err()?)))
        .collect()
}

/// Why a write cannot be made although the journal could.
fn unsynced_pack(unsynced: &HashMap<u64, std::io::Error>, write: &Write) -> Option<WriteError> {
    let mut packs = write.packs.iter();
    let error = packs.find_map(|pack| unsynced.get(&pack.number()))?;
    Some(WriteError::Unsynced {
        kind: error.kind(),
        reason: error.to_string(),
    })
}

/// Applies one write within a transaction, unless an expectation fails.
fn apply(
    tree: &TransactionalTree,
    write: &Write,
) -> Result<Result<(), WriteError>, ConflictableTransactionError<()>> {
    for expectation in &write.expectations {
        let found = tree.get(&expectation.key)?.map(|value| value.to_vec());
        if found != expectation.value {
            return Ok(Err(WriteError::Unexpected {
                key: expectation.key.clone(),
                found,
            }));
        }
    }
    for (counter, limit) in &write.ceilings {
        if decode_count(tree.get(counter)?.as_deref()) >= *limit {
            return Ok(Err(WriteError::AtLimit {
                counter,
                limit: *limit,
            }));
        }
    }
    for (key, value) in &write.puts {
        tree.insert(key.as_slice(), value.as_slice())?;
    }
    for key in &write.removes {
        tree.remove(key.as_slice())?;
    }
    for (key, change) in &write.counts {
        let now = decode_count(tree.get(key)?.as_deref()).saturating_add_signed(*change);
        tree.insert(*key, &now.to_be_bytes())?;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
