//! Where everything is below the data folder.
//!
//! ```text
//! DATA/
//!   calve.json                      which store this is (written after the journal exists, and when its format is raised)
//!   journal/                        sled: sessions, parts, table pointers
//!   staging/<session>/              one file per part as it was sent, one data file made from it (an
//!                                 adopted Parquet part is both: the bytes as sent, then a second footer)
//!     00012-<generation>.csv.zst
//!     00012-<generation>.data.parquet
//!   packs/<number>.pack             the bytes of small parts of any session, one behind the other
//!   control.sock                    while a server runs: lists its records for `calve check`
//!   warehouse/<workspace>/<collection>/<dataset>/{data,metadata}/
//! ```
//!
//! Part files say number, generation, format and coding in their names, so that the journal's part
//! records could be made again from the folder alone. Of parts in packs only the records know where they are.

use std::path::{Path, PathBuf};

use super::packs;
use crate::domain::{PartNumber, PartRecord, SessionId, Target};
use crate::ingest::part_bytes::PartBytes;

/// The paths below one data folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`, which must be absolute: table locations are made from it.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The data folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that says which store this is.
    pub fn marker_file(&self) -> PathBuf {
        self.root.join("calve.json")
    }

    /// The journal's folder.
    pub fn journal_folder(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The socket of a running server.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Where the journal is made before it is renamed into place.
    pub fn journal_nursery(&self) -> PathBuf {
        self.root.join("journal.new")
    }

    /// The folder of all sessions' staged parts.
    pub fn staging_folder(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The folder of one session's staged parts.
    pub fn session_folder(&self, session: &SessionId) -> PathBuf {
        self.staging_folder().join(session.as_str())
    }

    /// The folder of packs.
    pub fn packs_folder(&self) -> PathBuf {
        self.root.join("packs")
    }

    /// Where an upload's bytes, and the data file made from them, grow before they have their final names.
    pub fn incoming_files(
        &self,
        session: &SessionId,
        part: PartNumber,
        generation: u64,
    ) -> [PathBuf; 2] {
        let stem = file_stem(part, generation);
        ["raw.tmp", "data.tmp"].map(|suffix| {
            self.session_folder(session)
                .join(format!("{stem}.{suffix}"))
        })
    }

    /// Where a part's bytes are read from.
    pub fn part_bytes(&self, session: &SessionId, record: &PartRecord) -> PartBytes {
        match record.packed {
            None => PartBytes::File(self.part_file(session, record)),
            Some(place) => PartBytes::Packed {
                path: packs::path(&self.packs_folder(), place.pack),
                offset: place.offset,
                length: record.wire_bytes,
            },
        }
    }

    /// The files that are a part's alone: its bytes, and its data file, which may be one; none of a part in a pack.
    pub fn part_files(&self, session: &SessionId, record: &PartRecord) -> Vec<PathBuf> {
        if record.packed.is_some() {
            return Vec::new();
        }
        let mut files = vec![self.part_file(session, record)];
        if record.data_file.is_some() && !record.is_own_data_file() {
            files.push(self.part_data_file(session, record));
        }
        files
    }

    /// The bytes, as they were sent, of a part with a file of its own; an adopted one has a footer more after them.
    pub fn part_file(&self, session: &SessionId, record: &PartRecord) -> PathBuf {
        self.session_folder(session).join(format!(
            "{}.{}{}",
            part_stem(record),
            record.kind.name(),
            record.coding.suffix()
        ))
    }

    /// The data file made from a part on arrival; the part's own file when that was adopted as it was sent.
    pub fn part_data_file(&self, session: &SessionId, record: &PartRecord) -> PathBuf {
        if record.is_own_data_file() {
            return self.part_file(session, record);
        }
        self.session_folder(session)
            .join(format!("{}.data.parquet", part_stem(record)))
    }

    /// The folder of all tables.
    pub fn warehouse_folder(&self) -> PathBuf {
        self.root.join("warehouse")
    }

    /// The folder of one table.
    pub fn table_folder(&self, target: &Target) -> PathBuf {
        self.warehouse_folder().join(target.relative_path())
    }
}

/// What a part's files' names start with: number and generation.
pub fn part_stem(record: &PartRecord) -> String {
    file_stem(record.part, record.generation)
}

fn file_stem(part: PartNumber, generation: u64) -> String {
    format!("{:05}-{generation}", part.0)
}
