//! How a part's bytes are read: coding, format, dialect, declared columns; and the record of what reading told. Blocks.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::SharedClock;
use crate::domain::part::{Coding, PackPlace};
use crate::domain::{PartKind, PartNumber, PartRecord, Target};
use crate::error::Result;
use crate::ingest::charset::{self, CharsetReader};
use crate::ingest::convert::{self, Discovered, Source};
use crate::ingest::csv::dialect::{Dialect, Given};
use crate::ingest::csv::sample::{SAMPLE_BYTES, Sample};
use crate::ingest::csv::sniff;
use crate::ingest::format::{self, Hints};
use crate::ingest::part_bytes::PartBytes;
use crate::ingest::{Limits, codec, text};
use crate::schema::TableColumns;
use crate::store::staging::Received;
use crate::table::Catalog;

/// Decoded bytes beyond which a part is not small, however few were sent: a commit reads the small ones once more.
const SMALL_DECODED_BYTES_MAX: u64 = 512 * 1024;
/// Bytes up to which a part is read without another thread.
const QUICK_BYTES_MAX: usize = 16 * 1024;
/// Bytes that tell a coding.
const MAGIC_BYTES: usize = 4;

/// What is needed to read a part's bytes, on a blocking thread.
pub(super) struct HowToRead {
    pub(super) part: PartNumber,
    pub(super) generation: u64,
    pub(super) clock: SharedClock,
    pub(super) catalog: Arc<dyn Catalog>,
    /// The table that the session is bound to.
    pub(super) target: Option<Target>,
    /// The coding that the request says.
    pub(super) announced: Option<Coding>,
    pub(super) hints: Hints,
    pub(super) given: Given,
    pub(super) limits: Limits,
}

impl HowToRead {
    /// The columns of the table that the session is bound to.
    fn table(&self) -> Result<Option<TableColumns>> {
        let Some(target) = &self.target else {
            return Ok(None);
        };
        Ok(self.catalog.load(target)?.map(|table| table.columns()))
    }

    /// Finds the coding, the format, and of CSV the dialect.
    pub(super) fn source(&self, bytes: PartBytes) -> Result<Source> {
        let coding = self.coding(&bytes)?;
        let first_bytes = self.decoded_start(&bytes, coding, format::SNIFF_BYTES)?;
        let kind = format::detect(&self.hints, &first_bytes)?;
        let csv = match kind {
            PartKind::Csv | PartKind::Tsv => Some(self.dialect(&bytes, coding, kind)?),
            PartKind::Ndjson | PartKind::Parquet => None,
        };
        Ok(Source {
            bytes,
            kind,
            coding,
            csv,
            limits: self.limits,
        })
    }

    /// Whether all of this takes less than handing it to another thread: it is a few KiB, not packed, and there is no table to
    /// look up. Reading it does not block then.
    pub(super) fn is_quick(&self, bytes: &Bytes) -> bool {
        let is_plain = || {
            let coding = self.coding(&PartBytes::Memory(bytes.clone()));
            coding == Ok(Coding::Identity)
        };
        bytes.len() <= QUICK_BYTES_MAX && self.target.is_none() && is_plain()
    }

    /// The coding that the request says, else the file's name, else its first bytes.
    fn coding(&self, bytes: &PartBytes) -> Result<Coding> {
        if let Some(coding) = self.announced {
            return Ok(coding);
        }
        let named = self.hints.file_name.as_deref();
        if let Some(coding) = named.and_then(|name| codec::from_file_name(name).0) {
            return Ok(coding);
        }
        let magic = self.decoded_start(bytes, Coding::Identity, MAGIC_BYTES)?;
        Ok(codec::from_magic(&magic))
    }

    /// Finds how a CSV part is written.
    fn dialect(&self, bytes: &PartBytes, coding: Coding, kind: PartKind) -> Result<sniff::Found> {
        let start = self.decoded_start(bytes, coding, SAMPLE_BYTES)?;
        let given = &self.given;
        let charset = given.charset.unwrap_or_else(|| charset::detect(&start));
        let decoded = codec::open(bytes, coding, self.limits.decoded_bytes_max);
        let decoded = decoded.map_err(|error| convert::format_error(error.into()))?;
        let text = CharsetReader::new(decoded, charset);
        let text = first_bytes(text, SAMPLE_BYTES, start.len())?;
        let sample = Sample {
            is_whole: text.len() < SAMPLE_BYTES,
            bytes: &text,
        };
        let mut found = sniff::sniff(sample, text::usual_delimiter(kind), given);
        found.dialect.charset = charset;
        Ok(found)
    }

    fn decoded_start(
        &self,
        bytes: &PartBytes,
        coding: Coding,
        bytes_max: usize,
    ) -> Result<Vec<u8>> {
        let decoded = codec::open(bytes, coding, self.limits.decoded_bytes_max);
        let decoded = decoded.map_err(|error| convert::format_error(error.into()))?;
        let capacity = decoded.buffer_bytes(bytes_max);
        first_bytes(decoded, bytes_max, capacity)
    }

    /// Reads a part and writes its data file.
    pub(super) fn read(self, source: Source, output: &Path) -> Result<PartReading> {
        let table = self.table()?;
        let found = convert::discover(&source, table.as_ref(), output)?;
        Ok(self.reading(source, found, table))
    }

    /// Reads a small text part.
    pub(super) fn read_small(self, source: Source) -> Result<PartReading> {
        let table = self.table()?;
        let found = convert::discover_text(&source, table.as_ref())?;
        Ok(self.reading(source, found, table))
    }

    fn reading(
        self,
        source: Source,
        found: Discovered,
        table: Option<TableColumns>,
    ) -> PartReading {
        PartReading {
            how: self,
            source,
            found,
            table,
        }
    }
}

/// What reading a part told.
pub(super) struct PartReading {
    how: HowToRead,
    source: Source,
    found: Discovered,
    table: Option<TableColumns>,
}

impl PartReading {
    /// The part's record, and the columns of the table that its session is bound to.
    pub(super) fn record(
        self,
        received: Received,
        packed: Option<PackPlace>,
    ) -> (PartRecord, Option<TableColumns>) {
        let Self {
            how,
            source,
            found,
            table,
        } = self;
        let mut issues = found.issues;
        if how.given.header_rows.is_none() && !found.columns.is_empty() {
            // Nobody told us of the header.
            issues.extend(found.csv.as_ref().and_then(Dialect::header_issue));
        }
        let record = PartRecord {
            part: how.part,
            generation: how.generation,
            kind: source.kind,
            coding: source.coding,
            file_name: how.hints.file_name,
            wire_bytes: received.wire_bytes,
            decoded_bytes: found.decoded_bytes,
            rows: found.rows,
            sha256: received.sha256,
            uploaded_at: how.clock.now(),
            columns: found.columns,
            csv: found.csv,
            issues,
            data_file: found.data_file,
            packed,
            parquet: found.parquet,
        };
        (record, table)
    }
}

fn first_bytes(read: impl Read, bytes_max: usize, capacity: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(capacity);
    read.take(bytes_max as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| convert::format_error(error.into()))?;
    Ok(bytes)
}

/// Whether a part that was sent small stays so when it is decoded.
pub(super) fn is_small(source: &Source) -> Result<bool> {
    if source.coding == Coding::Identity {
        return Ok(true);
    }
    let unreadable = |error: std::io::Error| convert::format_error(error.into());
    let decoded = codec::open(
        &source.bytes,
        source.coding,
        source.limits.decoded_bytes_max,
    )
    .map_err(unreadable)?;
    let bytes = std::io::copy(
        &mut decoded.take(SMALL_DECODED_BYTES_MAX + 1),
        &mut std::io::sink(),
    );
    Ok(bytes.map_err(unreadable)? <= SMALL_DECODED_BYTES_MAX)
}
