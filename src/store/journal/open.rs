//! Opens the store: makes it on the first start, recognises it on every other, and raises an older one to this build's format.
//!
//! **Crashes.** The first start makes the journal in a side folder, syncs it, and renames it into place, because sled's own
//! first files can be left torn for ever; then a marker outside sled names the store. A journal without the marker is a first start
//! that was cut off in between; a marker without its journal, or with an emptied one, is refused.
//!
//! **sled's snapshots.** At every start sled writes what it read of its log into `snap.*.generating` and renames that when it is
//! complete. sled 0.34 takes one that a kill or a full disk left half-written for the newest and refuses to open, for ever; it holds
//! nothing that the log does not, so it is removed first. The lock on the data folder makes sure that nobody is writing it.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::fault::Artifact;
use crate::store::layout::Layout;
use crate::store::{durable, keys};

/// The newest store format this build understands, and the one it makes of older ones. Format 2 compresses part records; in
/// format 3 small parts are in packs; in format 4 sessions have owners. What a store has of an older format stays as it is and is read.
const FORMAT: u32 = 4;

/// sled's page cache. Records are small and hot ones live in the actors.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// How long sled's threads may take to let go of a database that was dropped, on a machine that is very busy.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at whether they have.
const RELEASE_POLL: Duration = Duration::from_millis(2);

/// Why the journal could not be opened; the text tells what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error(
        "cannot open the journal: {0}. Nothing is lost; start again when the disk takes writes"
    )]
    Io(#[from] std::io::Error),
    /// Another process has it open.
    #[error("another calve uses `{folder}`; stop it first")]
    InUse {
        /// The data folder.
        folder: String,
    },
    /// sled refused or panicked.
    #[error(
        "cannot open the journal in `{folder}`: {reason}. Restore the folder `journal` from a backup"
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
    /// There is no store, and none was to be made.
    #[error(
        "`{folder}` is no data folder of calve: it has neither `calve.json` nor `journal`. Give the folder that `calve serve` uses (--data-dir, or storage.data_dir in the configuration)"
    )]
    Missing {
        /// The folder.
        folder: String,
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

/// Names a store; once in the journal, once in a file beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    store_id: Uuid,
}

/// The store below the data folder, made first if there is none.
///
/// Without an id for a new store, none is made and none is raised to a newer format: for those who only look.
pub(super) fn open_store(
    layout: &Layout,
    new_store_id: Option<Uuid>,
) -> Result<sled::Db, OpenError> {
    let emptied = |problem| OpenError::Emptied {
        folder: layout.root().display().to_string(),
        problem,
    };
    let outer = read_marker(layout)?;
    if !layout.journal_folder().exists() {
        if outer.is_some() {
            return Err(emptied("is missing"));
        }
        let missing = || OpenError::Missing {
            folder: layout.root().display().to_string(),
        };
        make_store(layout, new_store_id.ok_or_else(missing)?)?;
    }
    // Keys are in it.
    let owners_alone = Permissions::from_mode(0o700);
    std::fs::set_permissions(layout.journal_folder(), owners_alone)?;
    let db = open_sled(layout.journal_folder())?;
    let inner = db
        .get(keys::MARKER)
        .map_err(|error| sled_error(&layout.journal_folder(), error))?
        .and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok());
    match (outer, inner) {
        (outer, Some(inner)) if format_of(outer.as_ref(), &inner) > FORMAT => {
            Err(OpenError::Newer {
                found: format_of(outer.as_ref(), &inner),
            })
        }
        (Some(outer), Some(inner)) if outer.store_id == inner.store_id => {
            if new_store_id.is_some() && (outer.format < FORMAT || inner.format < FORMAT) {
                raise_format(layout, &db, inner.store_id)?;
            }
            Ok(db)
        }
        (Some(_), Some(_)) => Err(emptied("belongs to another store")),
        (_, None) => Err(emptied("is empty")),
        (None, Some(inner)) => {
            // The first start ended between making the journal and naming it.
            let bytes = serde_json::to_vec(&inner).map_err(std::io::Error::from)?;
            durable::write_file(Artifact::Marker, &layout.marker_file(), &bytes)?;
            Ok(db)
        }
    }
}

/// Takes the data folder for this process, as long as the file is open.
pub(super) fn lock(layout: &Layout) -> Result<File, OpenError> {
    let folder = File::open(layout.root())?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(folder),
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse {
            folder: layout.root().display().to_string(),
        }),
        Err(error) => Err(OpenError::Io(error.into())),
    }
}

/// Waits until nobody has sled's files open. sled's own threads may hold its lock for a moment after the database was dropped,
/// which is so between making a store and opening it; an older calve, which does not lock the data folder, may hold it for good.
fn wait_until_released(folder: &Path) -> Result<(), OpenError> {
    let log = match File::open(folder.join("db")) {
        Ok(log) => log,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::Io(error)),
    };
    let started = Instant::now();
    loop {
        match flock(&log, FlockOperation::NonBlockingLockExclusive) {
            // Released again with the file, at the end of this function.
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if started.elapsed() < RELEASE_PATIENCE => {
                std::thread::sleep(RELEASE_POLL);
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse {
                    folder: folder.display().to_string(),
                });
            }
            Err(error) => return Err(OpenError::Io(error.into())),
        }
    }
}

/// The newer of what the two markers say.
fn format_of(outer: Option<&Marker>, inner: &Marker) -> u32 {
    outer.map_or(0, |outer| outer.format).max(inner.format)
}

/// Says in both markers that the store has this build's format, so that an older build refuses it. The journal's own goes
/// first; a crash in between leaves two that differ, and the next start does it again.
fn raise_format(layout: &Layout, db: &sled::Db, store_id: Uuid) -> Result<(), OpenError> {
    let marker = Marker {
        format: FORMAT,
        store_id,
    };
    let bytes = serde_json::to_vec(&marker).map_err(std::io::Error::from)?;
    db.insert(keys::MARKER, bytes.as_slice())
        .and_then(|_| db.flush())
        .map_err(|error| sled_error(&layout.journal_folder(), error))?;
    durable::sync_tree(Artifact::Journal, &layout.journal_folder())?;
    durable::write_file(Artifact::Marker, &layout.marker_file(), &bytes)?;
    tracing::info!(
        format = FORMAT,
        "the data folder has a new format; older versions of calve refuse it from now on"
    );
    Ok(())
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
    durable::sync_tree(Artifact::Journal, &nursery)?;
    durable::rename_folder(Artifact::Journal, &nursery, &layout.journal_folder())?;
    Ok(())
}

pub(super) fn open_sled(folder: std::path::PathBuf) -> Result<sled::Db, OpenError> {
    wait_until_released(&folder)?;
    let is_unfinished = |name: &str| name.starts_with("snap.") && name.ends_with(".generating");
    durable::remove_files(&folder, is_unfinished)?;
    let config = sled::Config::new()
        .path(&folder)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    // sled 0.34 can panic on a damaged log; a message is worth more than a backtrace.
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) => Err(OpenError::Io(error)),
        Ok(Err(error)) => Err(sled_error(&folder, error)),
        Err(_) => Err(sled_error(
            &folder,
            "sled panicked while recovering its log",
        )),
    }
}

fn sled_error(folder: &Path, reason: impl ToString) -> OpenError {
    OpenError::Sled {
        folder: folder.display().to_string(),
        reason: reason.to_string(),
    }
}
