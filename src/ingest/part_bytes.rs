//! Where a part's bytes, as they were sent, can be read from: a file of its own, one that is still being written, a place in
//! a pack, or memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::arrival::{Arrival, ArrivingRead};
use crate::error::{Error, Result};
use crate::store::packs::PACKED_BYTES_MAX;

/// Read buffer on a file.
const BUFFER_BYTES: usize = 128 * 1024;

/// A part's bytes.
#[derive(Debug, Clone)]
pub enum PartBytes {
    /// All of a file.
    File(PathBuf),
    /// A file that the part's bytes are being written to.
    Arriving(PathBuf, Arc<Arrival>),
    /// A place in a pack; read whole when it is opened, because only small parts are in packs.
    Packed {
        /// The pack.
        path: PathBuf,
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// Not on disk yet.
    Memory(Bytes),
}

impl PartBytes {
    /// Starts reading.
    pub fn open(&self) -> io::Result<PartRead> {
        Ok(match self {
            Self::File(path) => {
                PartRead::File(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?))
            }
            Self::Arriving(path, arrival) => {
                let read = arrival.read(File::open(path)?);
                PartRead::Arriving(BufReader::with_capacity(BUFFER_BYTES, read))
            }
            Self::Packed {
                path,
                offset,
                length,
            } => {
                let length = usize::try_from(*length).ok();
                let length = length.filter(|length| *length <= PACKED_BYTES_MAX);
                let too_long =
                    || io::Error::other("its record says more bytes than a pack takes of a part");
                let mut bytes = vec![0; length.ok_or_else(too_long)?];
                File::open(path)?.read_exact_at(&mut bytes, *offset)?;
                PartRead::Memory(Cursor::new(bytes.into()))
            }
            Self::Memory(bytes) => PartRead::Memory(Cursor::new(bytes.clone())),
        })
    }

    /// How many they are, if they are in a pack.
    pub fn packed_bytes(&self) -> Option<u64> {
        match self {
            Self::Packed { length, .. } => Some(*length),
            Self::File(_) | Self::Arriving(..) | Self::Memory(_) => None,
        }
    }

    /// The file, for formats that are read from files only.
    pub fn file(&self) -> Result<&Path> {
        match self {
            Self::File(path) => Ok(path),
            Self::Arriving(..) | Self::Packed { .. } | Self::Memory(_) => {
                Err(Error::internal("the part has no file of its own"))
            }
        }
    }
}

/// A part that is being read.
#[derive(Debug)]
pub enum PartRead {
    /// From a file.
    File(BufReader<File>),
    /// From a file that is being written.
    Arriving(BufReader<ArrivingRead>),
    /// From memory.
    Memory(Cursor<Bytes>),
}

impl PartRead {
    /// Bytes of the whole part.
    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.get_ref().metadata()?.len()),
            Self::Arriving(read) => Ok(read.get_ref().announced_bytes()),
            Self::Memory(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }
}

impl Read for PartRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Arriving(read) => read.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl BufRead for PartRead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::File(file) => file.fill_buf(),
            Self::Arriving(read) => read.fill_buf(),
            Self::Memory(bytes) => bytes.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::File(file) => file.consume(count),
            Self::Arriving(read) => read.consume(count),
            Self::Memory(bytes) => bytes.consume(count),
        }
    }
}
