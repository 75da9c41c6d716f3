//! Where a table's files are. One implementation: folders below the warehouse, every file durable before
//! its writer is told so. Locations are `file:///absolute/path`, the one spelling all readers take.
//!
//! The iceberg crate only reads through its own file access; what it writes goes to memory and from there through
//! [`TableStorage::write_metadata`], which makes all files of a commit durable together.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use iceberg::io::FileIO;
use uuid::Uuid;

use crate::domain::Target;
use crate::error::{Error, Result};
use crate::store::durable::{self, NewFile};
use crate::store::fault::Artifact;
use crate::store::layout::Layout;

/// Prefix of every location.
const SCHEME: &str = "file://";

/// Name of the file that says which metadata file is current.
pub const VERSION_HINT_FILE: &str = "version-hint.text";

/// What a commit needs of a table's storage. Everything blocks.
pub trait TableStorage: Send + Sync {
    /// The table's location, as its metadata says it.
    fn location(&self, target: &Target) -> String;

    /// Reading of metadata, for the iceberg crate. Its futures block.
    fn files(&self) -> &FileIO;

    /// Makes the table's folders.
    fn prepare(&self, target: &Target) -> Result<()>;

    /// Makes a staged data file one of the table's, without moving its bytes if possible. The name must
    /// be new. Durable after [`TableStorage::write_metadata`]. Returns its location.
    fn adopt(&self, target: &Target, staged: &Path, name: &str) -> Result<String>;

    /// A local path to write a new data file of the table to, and its location. Its name is durable after
    /// [`TableStorage::write_metadata`], which can make its bytes durable too.
    fn new_data_file(&self, target: &Target, name: &str) -> (PathBuf, String);

    /// A file of the table's folder of metadata, given by its name; `None` when it is not there.
    fn read_metadata_file(&self, target: &Target, name: &str) -> Result<Option<Bytes>>;

    /// Writes the metadata of a commit (locations and contents): these files, the bytes of these data files, and the names of all
    /// new data files are durable when this returns.
    fn write_metadata(
        &self,
        target: &Target,
        files: &[(String, Bytes)],
        data_files: Vec<File>,
    ) -> Result<()>;

    /// Says in the table's folder which metadata file is current, for readers without a catalog. Durable.
    fn write_version_hint(&self, target: &Target, metadata_location: &str) -> Result<()>;

    /// The same, but readers see it at once and a power cut may undo it, until [`TableStorage::sync_version_hint`].
    fn show_version_hint(&self, target: &Target, metadata_location: &str) -> Result<()>;

    /// Whether the version hint says this; it is durable then.
    fn sync_version_hint(&self, target: &Target, metadata_location: &str) -> Result<bool>;

    /// Whether the version hint says this.
    fn has_version_hint(&self, target: &Target, metadata_location: &str) -> bool;

    /// Removes every file of commit attempts that were not published; gives their number.
    fn remove_attempts(&self, target: &Target, attempts: &[Uuid]) -> Result<usize>;

    /// Removes data files that no snapshot needs any more, given by their locations; those that are not in the table's folder are
    /// left. Durable. Gives their number.
    fn remove_data_files(&self, target: &Target, locations: &[String]) -> Result<usize>;

    /// Removes files from the table's folder of metadata, given by their names. Gives their number. Durable after
    /// [`TableStorage::sync_metadata_folder`].
    fn remove_metadata_files(&self, target: &Target, names: &[String]) -> Result<usize>;

    /// Makes the names in the table's folder of metadata durable.
    fn sync_metadata_folder(&self, target: &Target) -> Result<()>;
}

/// Tables as folders below the warehouse.
#[derive(Debug, Clone)]
pub struct LocalStorage {
    layout: Layout,
    files: FileIO,
}

impl LocalStorage {
    /// The storage below a data folder.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            files: FileIO::new_with_fs(),
        }
    }

    fn data_folder(&self, target: &Target) -> PathBuf {
        self.layout.table_folder(target).join("data")
    }

    fn metadata_folder(&self, target: &Target) -> PathBuf {
        self.layout.table_folder(target).join("metadata")
    }

    fn hint_file(&self, target: &Target) -> PathBuf {
        self.metadata_folder(target).join(VERSION_HINT_FILE)
    }
}

impl TableStorage for LocalStorage {
    fn location(&self, target: &Target) -> String {
        format!("{SCHEME}{}", self.layout.table_folder(target).display())
    }

    fn files(&self) -> &FileIO {
        &self.files
    }

    fn prepare(&self, target: &Target) -> Result<()> {
        durable::create_folders(&self.data_folder(target))
            .and_then(|()| durable::create_folders(&self.metadata_folder(target)))
            .map_err(|error| Error::storage("making a table's folders", &error))
    }

    fn adopt(&self, target: &Target, staged: &Path, name: &str) -> Result<String> {
        let (path, location) = self.new_data_file(target, name);
        durable::link_file(Artifact::DataFile, staged, &path)
            .map_err(|error| Error::storage("linking a data file into its table", &error))?;
        Ok(location)
    }

    fn new_data_file(&self, target: &Target, name: &str) -> (PathBuf, String) {
        let path = self.data_folder(target).join(name);
        let location = format!("{SCHEME}{}", path.display());
        (path, location)
    }

    fn read_metadata_file(&self, target: &Target, name: &str) -> Result<Option<Bytes>> {
        match std::fs::read(self.metadata_folder(target).join(name)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::storage("reading a table's metadata", &error)),
        }
    }

    fn write_metadata(
        &self,
        target: &Target,
        files: &[(String, Bytes)],
        data_files: Vec<File>,
    ) -> Result<()> {
        let new_file = |(location, bytes): &(String, Bytes)| {
            let path = local_path(location);
            NewFile {
                artifact: metadata_artifact(&path),
                path,
                bytes: bytes.clone(),
            }
        };
        let files: Vec<NewFile> = files.iter().map(new_file).collect();
        let data_files = data_files.into_iter();
        let written = data_files.map(|file| (Artifact::DataFile, file));
        durable::write_new_files(&files, written.collect())
            .and_then(|()| {
                durable::sync_folder(Artifact::DataFile, &self.data_folder(target))?;
                durable::sync_folder(Artifact::Metadata, &self.metadata_folder(target))
            })
            .map_err(|error| Error::storage("writing a table's metadata", &error))
    }

    fn write_version_hint(&self, target: &Target, metadata_location: &str) -> Result<()> {
        let hint = version_hint(metadata_location);
        durable::write_file(
            Artifact::VersionHint,
            &self.hint_file(target),
            hint.as_bytes(),
        )
        .map_err(|error| Error::storage("writing a version hint", &error))
    }

    fn show_version_hint(&self, target: &Target, metadata_location: &str) -> Result<()> {
        let hint = version_hint(metadata_location);
        durable::replace_for_readers(
            Artifact::VersionHint,
            &self.hint_file(target),
            hint.as_bytes(),
        )
        .map_err(|error| Error::storage("writing a version hint", &error))
    }

    fn sync_version_hint(&self, target: &Target, metadata_location: &str) -> Result<bool> {
        let path = self.hint_file(target);
        // Opened before it is read: what is synced is what was read, whatever replaces it meanwhile.
        let synced = File::open(&path).and_then(|mut file| {
            let mut said = String::new();
            file.read_to_string(&mut said)?;
            if said != version_hint(metadata_location) {
                return Ok(false);
            }
            durable::sync_file(Artifact::VersionHint, &file)?;
            durable::sync_folder(Artifact::VersionHint, &self.metadata_folder(target))?;
            Ok(true)
        });
        match synced {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            synced => synced.map_err(|error| Error::storage("syncing a version hint", &error)),
        }
    }

    fn has_version_hint(&self, target: &Target, metadata_location: &str) -> bool {
        std::fs::read_to_string(self.hint_file(target))
            .is_ok_and(|said| said == version_hint(metadata_location))
    }

    fn remove_attempts(&self, target: &Target, attempts: &[Uuid]) -> Result<usize> {
        let name_parts: Vec<String> = attempts.iter().map(Uuid::to_string).collect();
        let is_theirs = |name: &str| name_parts.iter().any(|part| name.contains(part));
        let mut removed = 0;
        for folder in [self.data_folder(target), self.metadata_folder(target)] {
            removed += durable::remove_files(&folder, is_theirs)
                .map_err(|error| Error::storage("removing the files of a commit", &error))?;
        }
        Ok(removed)
    }

    fn remove_data_files(&self, target: &Target, locations: &[String]) -> Result<usize> {
        let folder = self.data_folder(target);
        let paths = locations.iter().map(|location| local_path(location));
        let own = paths.filter(|path| path.parent() == Some(&folder));
        let removed = remove_each(own, |_| Artifact::DataFile)?;
        durable::sync_folder(Artifact::DataFile, &folder).map_err(not_removed)?;
        Ok(removed)
    }

    fn remove_metadata_files(&self, target: &Target, names: &[String]) -> Result<usize> {
        let folder = self.metadata_folder(target);
        let paths = names.iter().map(|name| folder.join(name));
        let own = paths.filter(|path| path.parent() == Some(&folder));
        remove_each(own, metadata_artifact)
    }

    fn sync_metadata_folder(&self, target: &Target) -> Result<()> {
        durable::sync_folder(Artifact::Metadata, &self.metadata_folder(target)).map_err(not_removed)
    }
}

fn remove_each(
    paths: impl Iterator<Item = PathBuf>,
    artifact: impl Fn(&Path) -> Artifact,
) -> Result<usize> {
    let mut removed = 0;
    for path in paths {
        let was_there = durable::remove_expired(artifact(&path), &path).map_err(not_removed)?;
        removed += usize::from(was_there);
    }
    Ok(removed)
}

fn not_removed(error: std::io::Error) -> Error {
    Error::storage("removing files of expired snapshots", &error)
}

/// What a file in a table's metadata folder is, by its name.
fn metadata_artifact(path: &Path) -> Artifact {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".metadata.json") {
        Artifact::Metadata
    } else if name.starts_with("snap-") {
        Artifact::ManifestList
    } else {
        Artifact::Manifest
    }
}

/// What the version hint says when this metadata file is current.
pub fn version_hint(metadata_location: &str) -> &str {
    let file = metadata_location.rsplit('/').next().unwrap_or_default();
    file.strip_suffix(".metadata.json").unwrap_or(file)
}

/// The path of a location.
pub fn local_path(location: &str) -> PathBuf {
    PathBuf::from(location.strip_prefix(SCHEME).unwrap_or(location))
}
