//! One part, from the socket to the acknowledgement.
//!
//! 1. Refuse what can be refused before a byte is read: size, session, state, then what [`crate::admission`] says.
//! 2. Receive the body: into the staging folder, hashing; or, when it ends early, into memory.
//! 3. Decode it, find its format, and read all of it in one of the bounded turns. Of a large part, or one in Parquet, the data
//!    file is written; a small one of text is put into a pack, and a commit makes one data file of all of those.
//! 4. Sync both files, give them their final names, sync the folder. (A pack is synced by the journal.)
//! 5. Let the session's actor record it: when that is durable, the part is acknowledged.
//!
//! A failure or a vanished client at any step removes what the step before left; the older part of that
//! number, if there is one, was not touched.

mod reading;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actors::supervisor::PartLease;
use crate::actors::{Sessions, Surroundings};
use crate::admission::Admission;
use crate::blocking::blocking;
use crate::config::PartsConfig;
use crate::domain::part::Coding;
use crate::domain::{PartKind, PartNumber, PartRecord, SessionId};
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::Limits;
use crate::ingest::convert;
use crate::ingest::csv::dialect::Given;
use crate::ingest::digest::{ExpectedDigests, Hasher};
use crate::ingest::format::Hints;
use crate::ingest::part_bytes::PartBytes;
use crate::schema::TableColumns;
use crate::store::staging::{self, Received, Reception, StagedFiles, Start};
use reading::HowToRead;

/// Longest wait for a turn at converting or syncing. The body is on disk by then, so waiting is cheap;
/// but beyond this the client is gone.
const TURN_DEADLINE: Duration = Duration::from_secs(60);

/// What a request says about the part it brings.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The session.
    pub session: SessionId,
    /// The part.
    pub part: PartNumber,
    /// Bytes announced.
    pub content_length: Option<u64>,
    /// Coding announced.
    pub coding: Option<Coding>,
    /// Format announced.
    pub hints: Hints,
    /// Dialect announced.
    pub csv: Given,
    /// Checksums announced.
    pub digests: ExpectedDigests,
}

/// An acknowledged part.
#[derive(Debug)]
pub struct Acknowledged {
    /// Its record.
    pub record: PartRecord,
    /// The columns of the table that the session is bound to, if it exists.
    pub table: Option<TableColumns>,
    /// Whether the session is bound to a table, existing or not.
    pub is_bound: bool,
}

/// Takes parts in.
pub struct Uploads {
    /// The sessions.
    pub sessions: Sessions,
    /// What actors need, too.
    pub surroundings: Arc<Surroundings>,
    /// What a part may be.
    pub config: PartsConfig,
    /// Longest silence in a body.
    pub body_idle_timeout: Duration,
    /// Decides which parts may come.
    pub admission: Admission,
    /// One permit per sync that may run at once.
    pub syncs: Arc<Semaphore>,
    /// One permit per small part that may be read at once.
    pub small: Arc<Semaphore>,
}

/// A part that is ready to be recorded.
struct Staged {
    record: PartRecord,
    /// The columns of the table that the session is bound to, if it exists.
    table: Option<TableColumns>,
    files: StagedFiles,
}

impl Uploads {
    /// Stores a part; it is on stable storage when this returns.
    pub async fn store<S>(&self, upload: Upload, body: S) -> Result<Acknowledged>
    where
        S: Stream<Item = std::result::Result<Bytes, PayloadError>>,
    {
        let wire_bytes_max = self.config.wire_bytes_max.as_u64();
        staging::check_size(upload.content_length.unwrap_or(0), wire_bytes_max)?;
        let lease = self
            .sessions
            .begin_part(&upload.session, upload.part)
            .await?;
        let admitted = Arc::new(self.admission.admit(upload.content_length).await?);
        let reception = Reception {
            wire_bytes_max,
            idle_timeout: self.body_idle_timeout,
            digests: upload.digests.clone(),
            admitted: admitted.clone(),
        };
        let mut body = std::pin::pin!(body);
        let small_bytes_max = self.config.packed_bytes_max.as_u64();
        let may_be_small = |bytes| bytes <= small_bytes_max;
        let start = if small_bytes_max > 0 && upload.content_length.is_none_or(may_be_small) {
            Start::read(&mut body, small_bytes_max, &reception).await?
        } else {
            Start::default()
        };
        let small = match start.whole() {
            Some(bytes) => self.stage_small(&upload, &lease, bytes, &reception).await?,
            None => None,
        };
        let staged = match small {
            Some(staged) => staged,
            None => {
                self.stage_file(&upload, &lease, start, body, reception)
                    .await?
            }
        };
        let Staged {
            record,
            table,
            files,
        } = staged;
        self.sessions
            .finish_part(&upload.session, Box::new(record.clone()), files)
            .await?;
        drop(admitted);
        let metrics = &self.surroundings.metrics;
        metrics.parts.with_label_values(&[record.kind.name()]).inc();
        Ok(Acknowledged {
            record,
            table,
            is_bound: lease.target.is_some(),
        })
    }

    /// Reads a small text part and puts it into a pack; `None` when it is something else, or large once it is decoded.
    async fn stage_small(
        &self,
        upload: &Upload,
        lease: &PartLease,
        bytes: Bytes,
        reception: &Reception,
    ) -> Result<Option<Staged>> {
        let turn = turn(&self.small).await?;
        let how = self.how_to_read(upload, lease);
        let (packs, reception) = (self.surroundings.packs.clone(), reception.clone());
        let staged = blocking(move || {
            let _turn = turn;
            reception.admitted.write(bytes.len() as u64)?;
            let mut hasher = Hasher::new(reception.digests);
            hasher.update(&bytes);
            let received = Received {
                wire_bytes: bytes.len() as u64,
                sha256: hasher.finish()?,
            };
            let source = how.source(PartBytes::Memory(bytes.clone()))?;
            if source.kind == PartKind::Parquet || !reading::is_small(&source)? {
                return Ok(None);
            }
            let table = how.table()?;
            let found = convert::discover_text(&source, table.as_ref())?;
            let slot = packs
                .put(&bytes)
                .map_err(|error| Error::storage("writing a part into a pack", &error))?;
            Ok(Some(Staged {
                record: how.record(&source, found, received, Some(slot.place())),
                table,
                files: StagedFiles::packed(slot),
            }))
        })
        .await
        .map_err(|error| error.with("part", upload.part.0))?;
        if let Some(staged) = &staged {
            let metrics = &self.surroundings.metrics;
            metrics.received_bytes.inc_by(staged.record.wire_bytes);
        }
        Ok(staged)
    }

    /// Receives a part into a file of its own, reads it, writes its data file, and makes both durable.
    async fn stage_file<S>(
        &self,
        upload: &Upload,
        lease: &PartLease,
        start: Start,
        body: S,
        reception: Reception,
    ) -> Result<Staged>
    where
        S: Stream<Item = std::result::Result<Bytes, PayloadError>> + Unpin,
    {
        let incoming =
            self.surroundings
                .layout
                .incoming_files(&upload.session, upload.part, lease.generation);
        let temporary = StagedFiles::guard(incoming.to_vec());
        let [raw, data] = incoming;
        let received = staging::receive(start, body, &raw, reception).await?;
        let metrics = &self.surroundings.metrics;
        metrics.received_bytes.inc_by(received.wire_bytes);
        let turn = turn(&self.surroundings.commits.conversions).await?;
        let how = self.how_to_read(upload, lease);
        let (bytes, output) = (PartBytes::File(raw.clone()), data.clone());
        let guard = temporary.clone();
        let read = blocking(move || {
            // Both end with the work, also when the client goes away before: the turn is not given to
            // another while this one runs, and the files are removed after they were written.
            let (_turn, _guard) = (turn, guard);
            let source = how.source(bytes)?;
            let table = how.table()?;
            let found = convert::discover(&source, table.as_ref(), &output)?;
            Ok((how.record(&source, found, received, None), table))
        });
        let (record, table) = read
            .await
            .map_err(|error| error.with("part", upload.part.0))?;
        let files = self.seal(&upload.session, &record, &raw, &data).await?;
        drop(temporary);
        Ok(Staged {
            record,
            table,
            files,
        })
    }

    fn how_to_read(&self, upload: &Upload, lease: &PartLease) -> HowToRead {
        HowToRead {
            part: upload.part,
            generation: lease.generation,
            clock: self.surroundings.clock.clone(),
            catalog: self.surroundings.commits.catalog.clone(),
            target: lease.target.clone(),
            announced: upload.coding,
            hints: upload.hints.clone(),
            given: upload.csv.clone(),
            limits: Limits::from(&self.config),
        }
    }

    /// Gives the files their final names, durably.
    async fn seal(
        &self,
        session: &SessionId,
        record: &PartRecord,
        raw: &Path,
        data: &Path,
    ) -> Result<StagedFiles> {
        let layout = &self.surroundings.layout;
        let final_raw = layout.part_file(session, record);
        let final_data = layout.part_data_file(session, record);
        let has_data = record.data_file.is_some() && !record.is_own_data_file();
        let files = StagedFiles::guard(vec![final_raw.clone(), final_data.clone()]);
        let (raw, data): (PathBuf, PathBuf) = (raw.to_path_buf(), data.to_path_buf());
        let turn = turn(&self.syncs).await?;
        let guard = files.clone();
        blocking(move || {
            let (_turn, _guard) = (turn, guard);
            let renamed_data = has_data.then_some((data.as_path(), final_data.as_path()));
            staging::seal((&raw, &final_raw), renamed_data)
        })
        .await?;
        Ok(files)
    }
}

/// A turn at something bounded.
async fn turn(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let overloaded = || {
        Error::new(
            ErrorCode::Overloaded,
            "The server has more parts to convert than it can in time; nothing was stored. Send the part again, with fewer at once.",
        )
    };
    tokio::time::timeout(TURN_DEADLINE, permits.clone().acquire_owned())
        .await
        .map_err(|_| overloaded())?
        .map_err(|_| overloaded())
}
