//! The journal: sled behind one writer thread, which makes a group of writes durable together.
//!
//! **How to call it.** [`Journal::write`] takes a [`Write`] (expectations, puts) and answers when it is
//! on stable storage. Reads ([`Journal::get`], [`Journal::scan`]) block and go straight to sled.
//!
//! **Ordering and durability.** Writes are applied in the order in which they were queued. The writer
//! takes everything that waits (up to `GROUP_WRITES_MAX`), applies it in one sled transaction, then
//! calls `flush`, `fdatasync` on sled's log file and `fsync` on its folder, and only then answers all of
//! them. sled 0.34's `flush` alone is not enough on Linux: it is a `sync_file_range`, and a power cut after
//! it was seen to empty whole databases. Values are kept small (records are chunked), because sled puts
//! large ones into blob files that it never syncs.
//!
//! **Failure.** When a flush or sync fails, nothing of the group is acknowledged, and the journal refuses
//! every later write and read: the kernel may have dropped the dirty pages, so no later sync can be trusted. The
//! server reports not-ready; a restart reads what really is on the disk.
//!
//! **What a crash loses.** Only what was not acknowledged. A crash during the very first start is
//! harmless: the journal is made in a side folder and renamed into place when it is complete. A marker
//! outside sled names the store; a journal that lost its own copy of it (an emptied database) is refused.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::layout::Layout;
use super::{durable, keys};
use crate::error::{Error, ErrorCode};
use crate::telemetry::Metrics;

/// Most writes that share one sync. More would only make the first of them wait longer.
const GROUP_WRITES_MAX: usize = 512;
/// Writes that may wait for the writer; more are refused, and their clients come again.
const QUEUED_WRITES_MAX: usize = 16 * 1024;
/// sled's page cache. Records are small and hot ones live in the actors.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// The newest store format this build understands.
const FORMAT: u32 = 1;

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

/// Why the journal could not be opened; the text tells what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("cannot prepare the journal: {0}")]
    Io(#[from] std::io::Error),
    /// sled refused or panicked.
    #[error(
        "cannot open the journal in `{folder}`: {reason}. If another calve uses this data folder, stop it first; otherwise restore the folder `journal` from a backup"
    )]
    Sled {
        /// The journal's folder.
        folder: String,
        /// sled's message.
        reason: String,
    },
    /// The marker and the journal do not belong together.
    #[error(
        "the data folder `{folder}` was in use before, but its journal {problem}. Refusing to start on it, because that would forget acknowledged uploads. Restore the folder `journal` from a backup"
    )]
    Emptied {
        /// The data folder.
        folder: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A newer Calve wrote this store.
    #[error(
        "the data folder was written by a newer calve (store format {found}, this one knows {known}); start that version, or a newer one",
        known = FORMAT
    )]
    Newer {
        /// The format found.
        found: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    store_id: Uuid,
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
        let db = open_store(layout, new_store_id)?;
        let folder = layout.journal_folder();
        let log = File::options()
            .read(true)
            .write(true)
            .open(folder.join("db"))?;
        // What recovery may have rewritten counts as on disk from here on.
        durable::sync_tree(&folder)?;
        let failed = Arc::new(AtomicBool::new(false));
        let (requests, queue) = mpsc::channel(QUEUED_WRITES_MAX);
        let writer = Writer {
            db: db.clone(),
            log,
            folder: File::open(&folder)?,
            failed: failed.clone(),
            metrics,
        };
        let thread = std::thread::Builder::new()
            .name("calve-journal".to_owned())
            .spawn(move || writer.run(queue))?;
        let journal = Self {
            db,
            requests,
            failed,
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

/// The store below the data folder, made first if there is none.
fn open_store(layout: &Layout, new_store_id: Uuid) -> Result<sled::Db, OpenError> {
    let emptied = |problem| OpenError::Emptied {
        folder: layout.root().display().to_string(),
        problem,
    };
    durable::create_folders(layout.root())?;
    let outer = read_marker(layout)?;
    if !layout.journal_folder().exists() {
        if outer.is_some() {
            return Err(emptied("is missing"));
        }
        make_store(layout, new_store_id)?;
    }
    let db = open_sled(layout.journal_folder())?;
    let inner = db
        .get(keys::MARKER)
        .map_err(|error| sled_error(&layout.journal_folder(), error))?
        .and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok());
    match (outer, inner) {
        (_, Some(inner)) if inner.format > FORMAT => Err(OpenError::Newer {
            found: inner.format,
        }),
        (Some(outer), Some(inner)) if outer == inner => Ok(db),
        (Some(_), Some(_)) => Err(emptied("belongs to another store")),
        (_, None) => Err(emptied("is empty")),
        (None, Some(inner)) => {
            // The first start ended between making the journal and naming it.
            let bytes = serde_json::to_vec(&inner).map_err(std::io::Error::from)?;
            durable::write_file(&layout.marker_file(), &bytes)?;
            Ok(db)
        }
    }
}

fn read_marker(layout: &Layout) -> Result<Option<Marker>, OpenError> {
    match std::fs::read(layout.marker_file()) {
        Ok(bytes) => Ok(Some(
            serde_json::from_slice(&bytes).map_err(std::io::Error::from)?,
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a complete store in the side folder and renames it into place.
fn make_store(layout: &Layout, store_id: Uuid) -> Result<(), OpenError> {
    let nursery = layout.journal_nursery();
    if nursery.exists() {
        std::fs::remove_dir_all(&nursery)?;
    }
    let marker = Marker {
        format: FORMAT,
        store_id,
    };
    let bytes = serde_json::to_vec(&marker).map_err(std::io::Error::from)?;
    let db = open_sled(nursery.clone())?;
    db.insert(keys::MARKER, bytes)
        .and_then(|_| db.flush())
        .map_err(|error| sled_error(&nursery, error))?;
    drop(db);
    durable::sync_tree(&nursery)?;
    durable::rename_folder(&nursery, &layout.journal_folder())?;
    Ok(())
}

fn open_sled(folder: std::path::PathBuf) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(&folder)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    // sled 0.34 can panic on a damaged log; a message is worth more than a backtrace.
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(sled_error(&folder, error)),
        Err(_) => Err(sled_error(
            &folder,
            "sled panicked while recovering its log",
        )),
    }
}

fn sled_error(folder: &std::path::Path, reason: impl ToString) -> OpenError {
    OpenError::Sled {
        folder: folder.display().to_string(),
        reason: reason.to_string(),
    }
}

struct Writer {
    db: sled::Db,
    log: File,
    folder: File,
    failed: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// However the writer ends, nothing can be acknowledged after it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.failed.store(true, Ordering::Release);
    }
}

impl Writer {
    fn run(self, mut queue: mpsc::Receiver<Request>) {
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
    fn commit_group(&self, group: &[Request]) -> Vec<Result<(), WriteError>> {
        if self.failed.load(Ordering::Acquire) {
            return self.refuse(group, "an earlier write failed");
        }
        let applied = self.db.transaction(|tree| {
            group
                .iter()
                .map(|request| apply(tree, &request.write))
                .collect::<Result<Vec<_>, ConflictableTransactionError<()>>>()
        });
        let outcomes = match applied {
            Ok(outcomes) => outcomes,
            Err(TransactionError::Storage(error)) => return self.fail(group, &error.to_string()),
            Err(TransactionError::Abort(())) => return self.fail(group, "transaction aborted"),
        };
        let synced = self
            .db
            .flush()
            .map_err(std::io::Error::from)
            .and_then(|_| self.log.sync_data())
            .and_then(|()| self.folder.sync_all());
        match synced {
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
