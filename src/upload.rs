//! One part, from the socket to the acknowledgement.
//!
//! 1. Refuse what can be refused before a byte is read: size, session, state, then what [`crate::admission`] says.
//! 2. Receive the body: into the staging folder, hashing, slowly while many parts wait ([`crate::turns`]); or, when it ends
//!    early, into memory.
//! 3. Decode it, find its format, and read all of it in one of the bounded turns; of large text, where there is a place for
//!    that, while it still arrives; of a few KiB at once, because another thread would cost more. Of a large part, or one in
//!    Parquet, the data file is written; a small one of text is put into a pack, and a commit makes one data file of all of those.
//! 4. Sync both files, give them their final names, sync the folder. (A pack is written and synced by the journal.)
//! 5. Let the session's actor record it: when that is durable, the part is acknowledged.
//!
//! A failure or a vanished client at any step removes what the step before left; the older part of that
//! number, if there is one, was not touched.

mod reading;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::actors::supervisor::PartLease;
use crate::actors::{Sessions, Surroundings};
use crate::admission::Admission;
use crate::blocking::{at_once, blocking};
use crate::config::PartsConfig;
use crate::domain::part::Coding;
use crate::domain::{Caller, PartKind, PartNumber, PartRecord, SessionId};
use crate::error::{Error, Result};
use crate::ingest::Limits;
use crate::ingest::arrival::Arrival;
use crate::ingest::csv::dialect::Given;
use crate::ingest::digest::{ExpectedDigests, Hasher};
use crate::ingest::format::Hints;
use crate::ingest::part_bytes::PartBytes;
use crate::schema::TableColumns;
use crate::store::pace::{Pace, PacedBody};
use crate::store::packs::Packs;
use crate::store::staging::{self, Received, Reception, Sink, StagedFiles, Start};
use crate::turns::{Turns, turn};
use reading::{HowToRead, PartReading};

/// Announced bytes from which on it is worth while to read a part before it is complete.
const EARLY_BYTES_MIN: u64 = 1024 * 1024;

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
    /// How slowly a body may arrive.
    pub pace: Pace,
    /// Decides which parts may come.
    pub admission: Admission,
    /// Turns at converting parts that were received.
    pub conversions: Arc<Turns>,
    /// One permit per sync that may run at once.
    pub syncs: Arc<Semaphore>,
    /// One permit per small part that may be read at once.
    pub small: Arc<Semaphore>,
    /// One permit per part that may be read while it arrives.
    pub early: Arc<Semaphore>,
}

/// Ends an arrival whose receiver has ended without all bytes.
struct FailedOnDrop(Arc<Arrival>);

impl Drop for FailedOnDrop {
    fn drop(&mut self) {
        self.0.fail();
    }
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
    pub async fn store<S>(&self, upload: Upload, caller: &Caller, body: S) -> Result<Acknowledged>
    where
        S: Stream<Item = std::result::Result<Bytes, PayloadError>>,
    {
        let wire_bytes_max = self.config.wire_bytes_max.as_u64();
        staging::check_size(upload.content_length.unwrap_or(0), wire_bytes_max)?;
        let lease = self
            .sessions
            .begin_part(&upload.session, upload.part, caller)
            .await?;
        let announced = upload.content_length.unwrap_or(0);
        self.surroundings
            .usage
            .check_staged(caller.user(), announced)?;
        let admitted = self.admission.admit(upload.content_length).await;
        let admitted = Arc::new(admitted.map_err(|error| error.in_part(upload.part.0))?);
        let reception = Reception {
            wire_bytes_max,
            digests: upload.digests.clone(),
            admitted: admitted.clone(),
            arrival: Arrival::new(upload.content_length.unwrap_or(0)),
            conversions: None,
        };
        let body = std::pin::pin!(body);
        let mut body = PacedBody::new(body, self.pace);
        let small_bytes_max = self.config.packed_bytes_max.as_u64();
        let may_be_small = |bytes| bytes <= small_bytes_max;
        let start = if small_bytes_max > 0 && upload.content_length.is_none_or(may_be_small) {
            Start::read(&mut body, small_bytes_max, &reception).await?
        } else {
            Start::default()
        };
        let small = match start.whole() {
            Some(bytes) => self.stage_small(&upload, &lease, bytes).await?,
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
    ) -> Result<Option<Staged>> {
        let how = self.how_to_read(upload, lease);
        let (packs, digests) = (self.surroundings.packs.clone(), upload.digests.clone());
        let is_quick = how.is_quick(&bytes);
        let read = move || read_small(how, bytes, digests, &packs);
        let staged = if is_quick {
            at_once(read)
        } else {
            let turn = turn(&self.small).await?;
            blocking(move || {
                let _turn = turn;
                read()
            })
            .await
        };
        let staged = staged.map_err(|error| error.in_part(upload.part.0))?;
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
        body: PacedBody<S>,
        mut reception: Reception,
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
        let sink = Sink::create(&raw, &reception).await?;
        let arrival = FailedOnDrop(reception.arrival.clone());
        let early = self.read_early(upload, lease, [&raw, &data], &temporary, &arrival.0);
        // One that is read while it arrives will not wait.
        reception.conversions = early.is_none().then(|| self.conversions.clone());
        let received = staging::receive(start, body, sink, reception).await?;
        let metrics = &self.surroundings.metrics;
        metrics.received_bytes.inc_by(received.wire_bytes);
        let early = match early {
            Some(reading) => reading.await.map_err(Error::internal)?,
            None => Ok(None),
        };
        let reading = match early {
            Ok(Some(reading)) => Ok(reading),
            Err(error) if !arrival.0.is_given_up() => Err(error),
            Ok(None) | Err(_) => {
                let turn = self.conversions.take().await?;
                let (how, guard) = (self.how_to_read(upload, lease), temporary.clone());
                let (bytes, output) = (PartBytes::File(raw.clone()), data.clone());
                blocking(move || {
                    // Both end with the work, also when the client goes away before: the turn is not given to
                    // another while this one runs, and the files are removed after they were written.
                    let (_turn, _guard) = (turn, guard);
                    let source = how.source(bytes)?;
                    how.read(source, &output)
                })
                .await
            }
        };
        let reading = reading.map_err(|error| error.in_part(upload.part.0))?;
        let (record, table) = reading.record(received, None);
        let files = self.seal(&upload.session, &record, &raw, &data).await?;
        drop(temporary);
        Ok(Staged {
            record,
            table,
            files,
        })
    }

    /// Starts reading a part while it arrives, if it is large, of text, and there is a place for that. The answer is worth
    /// nothing when the arrival was given up.
    fn read_early(
        &self,
        upload: &Upload,
        lease: &PartLease,
        [raw, data]: [&Path; 2],
        guard: &StagedFiles,
        arrival: &Arc<Arrival>,
    ) -> Option<JoinHandle<Result<Option<PartReading>>>> {
        if upload.content_length? < EARLY_BYTES_MIN {
            return None;
        }
        let place = self.early.clone().try_acquire_owned().ok()?;
        let (how, guard) = (self.how_to_read(upload, lease), guard.clone());
        let bytes = PartBytes::Arriving(raw.to_path_buf(), arrival.clone());
        let output = data.to_path_buf();
        Some(tokio::task::spawn_blocking(move || {
            let (_place, _guard) = (place, guard);
            let source = how.source(bytes)?;
            match source.kind {
                // Its footer comes last.
                PartKind::Parquet => Ok(None),
                PartKind::Csv | PartKind::Tsv | PartKind::Ndjson => {
                    how.read(source, &output).map(Some)
                }
            }
        }))
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

/// Reads a small text part and puts its bytes into a pack.
fn read_small(
    how: HowToRead,
    bytes: Bytes,
    digests: ExpectedDigests,
    packs: &Packs,
) -> Result<Option<Staged>> {
    let mut hasher = Hasher::new(digests);
    hasher.update(&bytes);
    let received = Received {
        wire_bytes: bytes.len() as u64,
        sha256: hasher.finish()?,
    };
    let source = how.source(PartBytes::Memory(bytes.clone()))?;
    if source.kind == PartKind::Parquet || !reading::is_small(&source)? {
        return Ok(None);
    }
    let reading = how.read_small(source)?;
    let slot = packs.put(&bytes);
    let (record, table) = reading.record(received, Some(slot.place()));
    Ok(Some(Staged {
        record,
        table,
        files: StagedFiles::packed(slot),
    }))
}
