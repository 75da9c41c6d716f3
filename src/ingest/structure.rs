//! Checks how a Parquet file is put together before a reader believes a number in it.
//!
//! Two steps. [`check_footer`] is pure: it walks the footer's thrift, so that every list is as long as it says and nobody
//! allocates for elements that are not there. [`check_pages`] then walks every page of every column: where it lies, what
//! sizes and counts it claims, its checksum if it has one (CRC-32 of the page as stored: parquet.thrift, `PageHeader.crc`).
//! Nothing is decoded, and what a reader may allocate for a page is bounded by the bytes that are there.

mod unfolding;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::thrift::{self, Field, Malformed, Reader, Walk};

pub use unfolding::rows_at_once;

/// Largest footer: the parsed form takes many times its bytes.
const FOOTER_BYTES_MAX: usize = 32 << 20;
/// Levels of a schema, the root among them.
const SCHEMA_DEPTH_MAX: usize = 64;
/// Bytes first read for a page header; one with long statistics takes more.
const HEADER_BYTES: u64 = 4 << 10;
/// Largest page header.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// A page may claim this much whatever its size.
const PAGE_BYTES_FREE: u64 = 64 << 20;
/// What a reader may hold of one row group: of each column its largest page, unpacked.
const OPEN_PAGES_BYTES_MAX: u64 = 1 << 30;
/// Values of a column inside lists, in one row group: a reader builds one row at once, however many values it has.
const NESTED_VALUES_MAX: i64 = 1 << 26;

/// What is wrong with a file.
#[derive(Debug)]
pub enum Damage {
    /// It is not put together as it says.
    Wrong(String),
    /// It cannot be read from the disk.
    Io(io::Error),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Walks a footer's thrift.
pub fn check_footer(metadata: &[u8]) -> Walk<()> {
    const NUM_ROWS: i16 = 3;
    if metadata.len() > FOOTER_BYTES_MAX {
        return Err(Malformed("it is larger than 32 MiB"));
    }
    let fields = Reader::new(metadata).fields()?;
    if fields.iter().any(|field| matches!(field.id, 8 | 9)) {
        return Err(Malformed("it is encrypted; upload the file unencrypted"));
    }
    let rows = integer(&fields, NUM_ROWS).ok_or(Malformed("it does not say how many rows"))?;
    check_schema(required(&fields, 2, "it has no schema")?)?;
    let mut rows_found = 0i64;
    for group in thrift::structs(required(&fields, 4, "it has no list of row groups")?)? {
        let (_, group) = group?;
        let group_rows =
            integer(&group, 3).ok_or(Malformed("a row group does not say how many rows"))?;
        rows_found = Some(group_rows)
            .filter(|rows| *rows >= 0)
            .and_then(|rows| rows_found.checked_add(rows))
            .ok_or(Malformed("a row group has an impossible number of rows"))?;
        for chunk in thrift::structs(required(&group, 1, "a row group has no columns")?)? {
            check_chunk(&chunk?.1)?;
        }
    }
    if rows != rows_found {
        return Err(Malformed(
            "its row groups have another number of rows than it says",
        ));
    }
    Ok(())
}

/// Walks the elements of a schema, which stand in depth-first order: readers descend into them, one level of their stack for each of
/// the schema's, and make room for as many children as a group says it has.
fn check_schema(field: Field<'_>) -> Walk<()> {
    let elements = thrift::structs(field)?;
    let count = elements.len();
    // Of each group that is open, the children that are still to come; first the root itself.
    let mut open = vec![1];
    for element in elements {
        let (_, element) = element?;
        required(&element, 4, "a schema element has no name")?;
        let children = element.iter().find(|field| field.id == 5);
        let children = children.map_or(Ok(0), Field::integer)?;
        let children = usize::try_from(children)
            .ok()
            .filter(|children| *children < count)
            .ok_or(Malformed("a group has an impossible number of children"))?;
        while open.pop_if(|left| *left == 0).is_some() {}
        let left = open.last_mut();
        *left.ok_or(Malformed("its schema has more elements than its groups"))? -= 1;
        if children > 0 {
            open.push(children);
        }
        if open.len() > SCHEMA_DEPTH_MAX {
            return Err(Malformed("its schema is nested more than 64 levels deep"));
        }
    }
    if open.iter().any(|left| *left > 0) {
        return Err(Malformed("its schema has fewer elements than its groups"));
    }
    Ok(())
}

fn check_chunk(chunk: &[Field<'_>]) -> Walk<()> {
    if chunk.iter().any(|field| matches!(field.id, 8 | 9)) {
        return Err(Malformed(
            "a column is encrypted; upload the file unencrypted",
        ));
    }
    let elsewhere = chunk.iter().find(|field| field.id == 1);
    if elsewhere.is_some_and(|path| Reader::new(path.value).binary() != Ok(b"")) {
        return Err(Malformed("a column's pages are in another file"));
    }
    let metadata = required(chunk, 3, "a column has no metadata")?;
    let fields = Reader::new(metadata.value).fields()?;
    // Type, encodings, path, codec, values, sizes, data page.
    for id in [1, 2, 3, 4, 5, 6, 7, 9] {
        required(&fields, id, "a column's metadata is incomplete")?;
    }
    for id in [2, 3] {
        let (_, count) =
            Reader::new(required(&fields, id, "a column's metadata is incomplete")?.value)
                .list()?;
        if count > SCHEMA_DEPTH_MAX {
            return Err(Malformed(
                "a column has too many encodings or too long a path",
            ));
        }
    }
    Ok(())
}

fn required<'a>(fields: &[Field<'a>], id: i16, otherwise: &'static str) -> Walk<Field<'a>> {
    let found = fields.iter().find(|field| field.id == id);
    found.copied().ok_or(Malformed(otherwise))
}

fn integer(fields: &[Field<'_>], id: i16) -> Option<i64> {
    let field = fields.iter().find(|field| field.id == id)?;
    field.integer().ok()
}

/// Walks every page of the file, whose pages lie before `pages_end`.
pub fn check_pages(file: &File, pages_end: u64, footer: &ParquetMetaData) -> Result<(), Damage> {
    let mut chunk_bytes = 0u64;
    for (index, group) in footer.row_groups().iter().enumerate() {
        let mut open_bytes = 0u64;
        for chunk in group.columns() {
            if chunk.num_values() == 0 && group.num_rows() == 0 {
                // Writers of no rows put such a column anywhere.
                continue;
            }
            let told = |reason: String| {
                let column = chunk.column_path().string();
                format!("column `{column}` of row group {}: {reason}", index + 1)
            };
            let range =
                chunk_range(chunk, pages_end).map_err(|reason| Damage::Wrong(told(reason)))?;
            chunk_bytes = chunk_bytes.saturating_add(range.end - range.start);
            if chunk_bytes > pages_end {
                return Err(Damage::Wrong(told("its pages are another's".to_owned())));
            }
            let is_nested = chunk.column_descr().max_rep_level() > 0;
            if !is_nested && chunk.num_values() != group.num_rows() {
                return Err(Damage::Wrong(told(format!(
                    "it has {} values for {} rows",
                    chunk.num_values(),
                    group.num_rows()
                ))));
            }
            if is_nested && chunk.num_values() > NESTED_VALUES_MAX {
                return Err(Damage::Wrong(told(format!(
                    "it has {} values; write smaller row groups",
                    chunk.num_values()
                ))));
            }
            let page_bytes = walk_chunk(file, range, chunk).map_err(|damage| match damage {
                Damage::Wrong(reason) => Damage::Wrong(told(reason)),
                Damage::Io(error) => Damage::Io(error),
            })?;
            open_bytes = open_bytes.saturating_add(page_bytes);
            if open_bytes > OPEN_PAGES_BYTES_MAX {
                return Err(Damage::Wrong(told(
                    "with it the largest pages of all columns unpack to more than 1 GiB; write smaller pages".to_owned(),
                )));
            }
        }
    }
    Ok(())
}

/// Where a column's pages lie.
fn chunk_range(chunk: &ColumnChunkMetaData, pages_end: u64) -> Result<Range<u64>, String> {
    // Writers say 0 where there is no dictionary, and where there is no page of data because there is no row.
    let dictionary = chunk.dictionary_page_offset().filter(|offset| *offset > 0);
    let data = chunk.data_page_offset();
    let start = match dictionary {
        Some(dictionary) if data > 0 && dictionary > data => {
            return Err("its dictionary is not before its data".to_owned());
        }
        Some(dictionary) => dictionary,
        None => data,
    };
    let numbers = (u64::try_from(start), u64::try_from(chunk.compressed_size()));
    let (Ok(start), Ok(bytes)) = numbers else {
        return Err("it has a place or size below zero".to_owned());
    };
    let end = start.checked_add(bytes).filter(|end| *end <= pages_end);
    match end {
        Some(end) if start >= 4 || bytes == 0 => Ok(start..end),
        Some(_) | None => Err(format!(
            "its {bytes} bytes at byte {start} are not inside the file, whose pages end at byte {pages_end}"
        )),
    }
}

/// What a page header says.
struct PageHeader {
    header_bytes: u64,
    compressed_bytes: u64,
    uncompressed_bytes: u64,
    /// Bytes of levels that are not compressed.
    level_bytes: u64,
    crc: Option<u32>,
    /// None for pages without data.
    values: Option<i64>,
    /// How they are encoded, as parquet.thrift numbers it.
    encoding: Option<i64>,
    is_compressed: bool,
}

/// Walks a column's pages; gives the size of the largest, unpacked.
fn walk_chunk(file: &File, range: Range<u64>, chunk: &ColumnChunkMetaData) -> Result<u64, Damage> {
    let mut at = range.start;
    let mut largest = 0;
    let mut values = 0i64;
    let mut page = 0u32;
    while values < chunk.num_values() {
        page += 1;
        let told = |reason: &str| Damage::Wrong(format!("page {page}, at byte {at}: {reason}"));
        if at >= range.end {
            return Err(told(&format!(
                "it is missing: {values} of {} values were found",
                chunk.num_values()
            )));
        }
        let header = read_header(file, at..range.end)?
            .map_err(|malformed| told(&format!("its header cannot be read: {}", malformed.0)))?;
        let body = at + header.header_bytes;
        if header.compressed_bytes > range.end - body {
            return Err(told(&format!(
                "it claims {} bytes, and {} are left of the column",
                header.compressed_bytes,
                range.end - body
            )));
        }
        check_sizes(&header, chunk.compression()).map_err(|reason| told(&reason))?;
        if let Some(crc) = header.crc {
            let found = crc_of(file, body, header.compressed_bytes)?;
            if found != crc {
                return Err(told(&format!(
                    "its checksum is {crc:08x}, and its bytes have {found:08x}"
                )));
            }
        }
        if header.is_compressed {
            let stored = body + header.level_bytes;
            let bytes = header.compressed_bytes - header.level_bytes;
            let claimed = header.uncompressed_bytes - header.level_bytes;
            if !unpacks_within(file, stored, bytes, claimed, chunk.compression())? {
                return Err(told(&format!(
                    "it unpacks to more than the {claimed} bytes it claims"
                )));
            }
        }
        largest = header.uncompressed_bytes.max(largest);
        values = values.saturating_add(header.values.unwrap_or(0));
        at = body + header.compressed_bytes;
    }
    if values > chunk.num_values() {
        return Err(Damage::Wrong(format!(
            "its pages have {values} values, and it claims {}",
            chunk.num_values()
        )));
    }
    Ok(largest)
}

/// Reads the header at the start of a range.
fn read_header(file: &File, range: Range<u64>) -> io::Result<Walk<PageHeader>> {
    let available = (range.end - range.start).min(HEADER_BYTES_MAX);
    let mut window = HEADER_BYTES.min(available);
    loop {
        let mut bytes = vec![0; usize::try_from(window).unwrap_or(0)];
        file.read_exact_at(&mut bytes, range.start)?;
        match page_header(&bytes) {
            Err(_) if window < available => window = (window * 16).min(available),
            read => return Ok(read),
        }
    }
}

/// parquet.thrift, `PageHeader`.
fn page_header(bytes: &[u8]) -> Walk<PageHeader> {
    const DATA: i64 = 0;
    const INDEX: i64 = 1;
    const DICTIONARY: i64 = 2;
    const DATA_V2: i64 = 3;
    let mut reader = Reader::new(bytes);
    let fields = reader.fields()?;
    let header_bytes = (bytes.len() - reader.remaining()) as u64;
    let size = |id| {
        let size = integer(&fields, id).ok_or(Malformed("it has no size"))?;
        u64::try_from(size).map_err(|_| Malformed("a size is below zero"))
    };
    let inner = |id| {
        let inner = required(&fields, id, "it is of another kind than it says")?;
        Reader::new(inner.value).fields()
    };
    let values_of = |inner: &[Field<'_>]| {
        integer(inner, 1)
            .filter(|values| *values >= 0)
            .ok_or(Malformed("it does not say how many values it has"))
    };
    let (mut level_bytes, mut is_compressed, mut encoding) = (0, true, None);
    let values = match integer(&fields, 1) {
        Some(DATA) => {
            let inner = inner(5)?;
            encoding = integer(&inner, 2);
            Some(values_of(&inner)?)
        }
        Some(INDEX) => None,
        Some(DICTIONARY) => {
            values_of(&inner(7)?)?;
            None
        }
        Some(DATA_V2) => {
            let inner = inner(8)?;
            for id in [5, 6] {
                let levels = integer(&inner, id).and_then(|bytes| u64::try_from(bytes).ok());
                level_bytes +=
                    levels.ok_or(Malformed("it does not say how long its levels are"))?;
            }
            encoding = integer(&inner, 4);
            let flag = inner.iter().find(|field| field.id == 7);
            is_compressed = flag.is_none_or(|flag| flag.kind == thrift::TRUE);
            Some(values_of(&inner)?)
        }
        Some(_) | None => return Err(Malformed("it is of an unknown kind")),
    };
    // A 32-bit number without a sign, stored as one with it.
    let crc = integer(&fields, 4).and_then(|crc| i32::try_from(crc).ok());
    let header = PageHeader {
        header_bytes,
        uncompressed_bytes: size(2)?,
        compressed_bytes: size(3)?,
        level_bytes,
        crc: crc.map(i32::cast_unsigned),
        values,
        encoding,
        is_compressed,
    };
    if level_bytes > header.compressed_bytes || level_bytes > header.uncompressed_bytes {
        return Err(Malformed("its levels are longer than it is"));
    }
    Ok(header)
}

/// How many times its size a page may be after unpacking, at the most that the codec can reach.
fn ratio_max(codec: Compression) -> u64 {
    match codec {
        Compression::UNCOMPRESSED => 1,
        Compression::SNAPPY => 64,
        Compression::LZ4 | Compression::LZ4_RAW => 256,
        Compression::GZIP(_) | Compression::LZO => 1100,
        Compression::BROTLI(_) | Compression::ZSTD(_) => 1 << 17,
    }
}

/// A reader allocates what a page claims to unpack to.
fn check_sizes(header: &PageHeader, codec: Compression) -> Result<(), String> {
    let possible = header.compressed_bytes.saturating_mul(ratio_max(codec));
    if header.uncompressed_bytes > possible.max(PAGE_BYTES_FREE) {
        return Err(format!(
            "it claims that {} bytes unpack to {}",
            header.compressed_bytes, header.uncompressed_bytes
        ));
    }
    Ok(())
}

/// Whether a page unpacks to what it claims at the most. Looked at only where the reader would unpack to the end
/// whatever was claimed, and the end can be far.
fn unpacks_within(
    file: &File,
    at: u64,
    bytes: u64,
    claimed: u64,
    codec: Compression,
) -> io::Result<bool> {
    if bytes.saturating_mul(ratio_max(codec)) <= claimed.max(PAGE_BYTES_FREE) {
        return Ok(true);
    }
    let stored = io::BufReader::new(RangeReader {
        file,
        range: at..at + bytes,
    });
    let limit = claimed.saturating_add(1);
    let unpacked: Box<dyn Read + '_> = match codec {
        Compression::GZIP(_) => Box::new(flate2::read::MultiGzDecoder::new(stored)),
        Compression::BROTLI(_) => Box::new(brotli::Decompressor::new(stored, 4096)),
        Compression::LZ4 => Box::new(lz4_flex::frame::FrameDecoder::new(stored)),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::LZ4_RAW
        | Compression::ZSTD(_)
        | Compression::LZO => return Ok(true),
    };
    // What cannot be unpacked is for the reader to say.
    let unpacked = io::copy(&mut unpacked.take(limit), &mut io::sink());
    Ok(unpacked.is_err() || unpacked.is_ok_and(|bytes| bytes < limit))
}

fn crc_of(file: &File, at: u64, bytes: u64) -> io::Result<u32> {
    let mut crc = flate2::CrcReader::new(io::BufReader::with_capacity(
        128 << 10,
        RangeReader {
            file,
            range: at..at + bytes,
        },
    ));
    io::copy(&mut crc, &mut io::sink())?;
    Ok(crc.crc().sum())
}

/// Reads a part of a file, without moving its position.
struct RangeReader<'a> {
    file: &'a File,
    range: Range<u64>,
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..count], self.range.start)?;
        self.range.start += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
