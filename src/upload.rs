//! One part, from the socket to the acknowledgement.
//!
//! 1. Refuse what can be refused before a byte is read: size, session, state, then what [`crate::admission`] says.
//! 2. Receive the body into the staging folder, hashing.
//! 3. Decode it, find its format, read all of it and write its data file, in one of the bounded turns.
//! 4. Sync both files, give them their final names, sync the folder.
//! 5. Let the session's actor record it: when that is durable, the part is acknowledged.
//!
//! A failure or a vanished client at any step removes what the step before left; the older part of that
//! number, if there is one, was not touched.

use std::io::Read;
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
use crate::ingest::charset::{self, CharsetReader};
use crate::ingest::convert::{self, Discovered, Source};
use crate::ingest::csv::dialect::{Dialect, Given};
use crate::ingest::csv::sniff::{self, Sample};
use crate::ingest::digest::ExpectedDigests;
use crate::ingest::format::{self, Hints};
use crate::ingest::{Limits, codec, text};
use crate::schema::TableColumns;
use crate::store::staging::{self, Reception, StagedFiles};

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
}

/// What reading a part told.
struct PartReading {
    kind: PartKind,
    coding: Coding,
    found: Discovered,
    table: Option<TableColumns>,
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
        let incoming =
            self.surroundings
                .layout
                .incoming_files(&upload.session, upload.part, lease.generation);
        let temporary = StagedFiles::guard(incoming.to_vec());
        let [raw, data] = incoming;
        let reception = Reception {
            wire_bytes_max,
            idle_timeout: self.body_idle_timeout,
            digests: upload.digests.clone(),
            admitted: admitted.clone(),
        };
        let received = staging::receive(body, &raw, reception).await?;
        let metrics = &self.surroundings.metrics;
        metrics.received_bytes.inc_by(received.wire_bytes);
        let read = self
            .read_part(&upload, &lease, &raw, &data, temporary.clone())
            .await?;
        let record = PartRecord {
            part: upload.part,
            generation: lease.generation,
            kind: read.kind,
            coding: read.coding,
            file_name: upload.hints.file_name,
            wire_bytes: received.wire_bytes,
            decoded_bytes: read.found.decoded_bytes,
            rows: read.found.rows,
            sha256: received.sha256,
            uploaded_at: self.surroundings.clock.now(),
            columns: read.found.columns,
            csv: read.found.csv,
            issues: read.found.issues,
            data_file: read.found.data_file,
            parquet: read.found.parquet,
        };
        let files = self.seal(&upload.session, &record, &raw, &data).await?;
        self.sessions
            .finish_part(&upload.session, Box::new(record.clone()), files)
            .await?;
        drop((temporary, admitted));
        metrics.parts.with_label_values(&[record.kind.name()]).inc();
        Ok(Acknowledged {
            record,
            table: read.table,
            is_bound: lease.target.is_some(),
        })
    }

    /// Decodes and reads all of a part, and writes its data file.
    async fn read_part(
        &self,
        upload: &Upload,
        lease: &PartLease,
        raw: &Path,
        data: &Path,
        guard: StagedFiles,
    ) -> Result<PartReading> {
        let turn = turn(&self.surroundings.commits.conversions).await?;
        let limits = Limits::from(&self.config);
        let catalog = self.surroundings.commits.catalog.clone();
        let (announced, hints, given) = (upload.coding, upload.hints.clone(), upload.csv.clone());
        let target = lease.target.clone();
        let (raw, data) = (raw.to_path_buf(), data.to_path_buf());
        let reading = blocking(move || {
            // Both end with the work, also when the client goes away before: the turn is not given to
            // another while this one runs, and the files are removed after they were written.
            let (_turn, _guard) = (turn, guard);
            let table = match &target {
                Some(target) => catalog.load(target)?.map(|table| table.columns()),
                None => None,
            };
            let (coding, kind) = recognise(&raw, announced, &hints, &limits)?;
            let csv = match kind {
                PartKind::Csv | PartKind::Tsv => {
                    Some(dialect(&raw, coding, kind, &given, &limits)?)
                }
                PartKind::Ndjson | PartKind::Parquet => None,
            };
            let source = Source {
                path: raw,
                kind,
                coding,
                csv,
                limits,
            };
            let mut found = convert::discover(&source, table.as_ref(), &data)?;
            if given.header_rows.is_none() && !found.columns.is_empty() {
                found
                    .issues
                    .extend(found.csv.as_ref().and_then(Dialect::header_issue));
            }
            Ok(PartReading {
                kind,
                coding,
                found,
                table,
            })
        });
        reading
            .await
            .map_err(|error| error.with("part", upload.part.0))
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
        let [final_raw, final_data] = layout.part_files(session, record);
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

/// Finds a body's coding and format.
fn recognise(
    raw: &Path,
    announced: Option<Coding>,
    hints: &Hints,
    limits: &Limits,
) -> Result<(Coding, PartKind)> {
    let coding = match announced {
        Some(coding) => coding,
        None => coding_of(raw, hints)?,
    };
    let unreadable = |error: std::io::Error| convert::format_error(error.into());
    let mut first_bytes = Vec::with_capacity(format::SNIFF_BYTES);
    codec::open(raw, coding, limits.decoded_bytes_max)
        .map_err(unreadable)?
        .take(format::SNIFF_BYTES as u64)
        .read_to_end(&mut first_bytes)
        .map_err(unreadable)?;
    Ok((coding, format::detect(hints, &first_bytes)?))
}

/// Finds how a CSV part is written.
fn dialect(
    raw: &Path,
    coding: Coding,
    kind: PartKind,
    given: &Given,
    limits: &Limits,
) -> Result<sniff::Found> {
    let unreadable = |error: std::io::Error| convert::format_error(error.into());
    let read = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        let count = reader
            .take(sniff::SAMPLE_BYTES as u64)
            .read_to_end(&mut bytes);
        count.map(|_| bytes).map_err(unreadable)
    };
    let open = || codec::open(raw, coding, limits.decoded_bytes_max).map_err(unreadable);
    let start = read(&mut open()?)?;
    let charset = given.charset.unwrap_or_else(|| charset::detect(&start));
    let bytes = read(&mut CharsetReader::new(open()?, charset))?;
    let sample = Sample {
        is_whole: bytes.len() < sniff::SAMPLE_BYTES,
        bytes: &bytes,
    };
    let mut found = sniff::sniff(sample, text::usual_delimiter(kind), given);
    found.dialect.charset = charset;
    Ok(found)
}

/// The coding that the file's name says, else its first bytes.
fn coding_of(raw: &Path, hints: &Hints) -> Result<Coding> {
    let named = hints.file_name.as_deref();
    if let Some(coding) = named.and_then(|name| codec::from_file_name(name).0) {
        return Ok(coding);
    }
    let mut magic = Vec::with_capacity(4);
    std::fs::File::open(raw)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(|error| Error::storage("reading a part", &error))?;
    Ok(codec::from_magic(&magic))
}
