//! What the check needs to know of files and folders. A file that is not there is an answer; a folder that cannot be listed
//! ends the check, because nothing can be said about what is in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaDataReader;
use sha2::{Digest, Sha256};

use crate::ingest::part_bytes::PartBytes;

/// A file as a listing found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// When its content or its names changed last. A link into a table's folder has its file's old modification time, but
    /// its change time is that of the linking.
    pub(super) changed_at: DateTime<Utc>,
    /// Whether it is a plain file; else a link, a socket or the like.
    pub(super) is_plain: bool,
}

/// A file's facts.
pub(super) fn found(path: &Path) -> io::Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    let changed = metadata.ctime().max(metadata.mtime());
    Ok(Found {
        path: path.to_path_buf(),
        bytes: metadata.len(),
        changed_at: DateTime::from_timestamp(changed, 0).unwrap_or(DateTime::<Utc>::MAX_UTC),
        is_plain: metadata.is_file(),
    })
}

/// The size of a file; `None` when it is not there.
pub(super) fn size(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folders in a folder; links to folders count.
pub(super) fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let paths = listing(folder)?.into_iter();
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// The files directly in a folder.
pub(super) fn files_in(folder: &Path) -> Result<Vec<Found>, String> {
    let mut files = Vec::new();
    for path in listing(folder)? {
        if !path.is_dir() {
            push_found(&path, &mut files)?;
        }
    }
    Ok(files)
}

/// All files below a folder; links are files.
pub(super) fn files_below(folder: &Path) -> Result<Vec<Found>, String> {
    let mut files = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(current) = waiting.pop() {
        for path in listing(&current)? {
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path);
            } else {
                push_found(&path, &mut files)?;
            }
        }
    }
    Ok(files)
}

/// What is in a folder; nothing when it is not there, also when it goes away under a running server.
fn listing(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: io::Error| format!("cannot list {}: {error}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn push_found(path: &Path, files: &mut Vec<Found>) -> Result<(), String> {
    match found(path) {
        Ok(found) => files.push(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
    }
    Ok(())
}

/// SHA-256 of a part's first bytes in lower-case hex.
pub(super) fn sha256(part: &PartBytes, bytes: u64) -> io::Result<String> {
    let mut file = part.open()?.take(bytes);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// The number of rows in a Parquet file: as its footer says, or, `deep`, as decoding every page finds.
pub(super) fn parquet_rows(path: &Path, deep: bool) -> Result<u64, String> {
    guarded(|| {
        let file = File::open(path).map_err(|error| error.to_string())?;
        if deep {
            return decoded_rows(file);
        }
        let footer = ParquetMetaDataReader::new()
            .parse_and_finish(&file)
            .map_err(|error| error.to_string())?;
        u64::try_from(footer.file_metadata().num_rows()).map_err(|error| error.to_string())
    })
}

fn decoded_rows(file: File) -> Result<u64, String> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let batches = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| error.to_string())?;
    let mut rows = 0;
    for batch in batches {
        rows += batch.map_err(|error| error.to_string())?.num_rows() as u64;
    }
    Ok(rows)
}

/// The readers of damaged files can panic; that is an answer, too.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("the reader failed on it".to_owned()))
}
