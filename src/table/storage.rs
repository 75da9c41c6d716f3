//! Where a table's files are. One implementation: folders below the warehouse, every file durable before
//! its writer is told so. Locations are `file:///absolute/path`, the one spelling all readers take.
//!
//! [`DurableFiles`] is the iceberg crate's view of the same folders; the crate's own local storage neither
//! syncs metadata files nor folders, and overwrites in place.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::Target;
use crate::error::{Error, Result};
use crate::store::durable;
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

    /// Reading and writing of metadata, for the iceberg crate. Its futures block.
    fn files(&self) -> &FileIO;

    /// Makes the table's folders.
    fn prepare(&self, target: &Target) -> Result<()>;

    /// Makes a staged data file one of the table's, without moving its bytes if possible. The name must
    /// be new. Durable after [`TableStorage::sync_data`]. Returns its location.
    fn adopt(&self, target: &Target, staged: &Path, name: &str) -> Result<String>;

    /// A local path to write a new data file of the table to, and its location. Durable after
    /// [`TableStorage::sync_data`].
    fn new_data_file(&self, target: &Target, name: &str) -> (PathBuf, String);

    /// Makes the names of the table's new data files durable.
    fn sync_data(&self, target: &Target) -> Result<()>;

    /// Says in the table's folder which metadata file is current, for readers without a catalog.
    fn write_version_hint(&self, target: &Target, metadata_location: &str) -> Result<()>;

    /// Removes every file of a commit attempt that was not published; gives their number.
    fn remove_attempt(&self, target: &Target, attempt: Uuid) -> Result<usize>;
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
            files: FileIOBuilder::new(Arc::new(DurableFilesFactory)).build(),
        }
    }

    fn data_folder(&self, target: &Target) -> PathBuf {
        self.layout.table_folder(target).join("data")
    }

    fn metadata_folder(&self, target: &Target) -> PathBuf {
        self.layout.table_folder(target).join("metadata")
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

    fn sync_data(&self, target: &Target) -> Result<()> {
        durable::sync_folder(Artifact::DataFile, &self.data_folder(target))
            .map_err(|error| Error::storage("syncing a table's folder", &error))
    }

    fn write_version_hint(&self, target: &Target, metadata_location: &str) -> Result<()> {
        let path = self.metadata_folder(target).join(VERSION_HINT_FILE);
        durable::write_file(
            Artifact::VersionHint,
            &path,
            version_hint(metadata_location).as_bytes(),
        )
        .map_err(|error| Error::storage("writing a version hint", &error))
    }

    fn remove_attempt(&self, target: &Target, attempt: Uuid) -> Result<usize> {
        let name_part = attempt.to_string();
        let mut removed = 0;
        for folder in [self.data_folder(target), self.metadata_folder(target)] {
            removed += durable::remove_files(&folder, |name| name.contains(&name_part))
                .map_err(|error| Error::storage("removing the files of a commit", &error))?;
        }
        Ok(removed)
    }
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

fn failed(doing: &str, path: &Path, error: std::io::Error) -> iceberg::Error {
    iceberg::Error::new(
        iceberg::ErrorKind::Unexpected,
        format!("{doing} {}", path.display()),
    )
    .with_source(error)
}

/// The iceberg crate's storage: local files, written durably. Its futures never wait, they block; so it
/// is used from blocking threads only.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct DurableFiles;

/// Makes [`DurableFiles`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct DurableFilesFactory;

#[typetag::serde(name = "CalveDurableFilesFactory")]
impl StorageFactory for DurableFilesFactory {
    fn build(&self, _config: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(DurableFiles))
    }
}

#[async_trait]
#[typetag::serde(name = "CalveDurableFiles")]
impl Storage for DurableFiles {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        Ok(local_path(path).exists())
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let path = local_path(path);
        let metadata = fs::metadata(&path).map_err(|error| failed("reading", &path, error))?;
        Ok(FileMetadata {
            size: metadata.len(),
        })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        let path = local_path(path);
        let bytes = fs::read(&path).map_err(|error| failed("reading", &path, error))?;
        Ok(bytes.into())
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        Ok(Box::new(LocalFileRead(local_path(path))))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        let path = local_path(path);
        durable::write_file(metadata_artifact(&path), &path, &bytes)
            .map_err(|error| failed("writing", &path, error))
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        Ok(Box::new(LocalFileWrite {
            path: local_path(path),
            bytes: Vec::new(),
        }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        let path = local_path(path);
        fs::remove_file(&path).map_err(|error| failed("removing", &path, error))
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        let path = local_path(path);
        fs::remove_dir_all(&path).map_err(|error| failed("removing", &path, error))
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(*self), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(*self), path.to_owned()))
    }
}

#[derive(Debug)]
struct LocalFileRead(PathBuf);

#[async_trait]
impl FileRead for LocalFileRead {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        let path = &self.0;
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let mut bytes = vec![0; length];
        fs::File::open(path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(range.start))?;
                file.read_exact(&mut bytes)
            })
            .map_err(|error| failed("reading", path, error))?;
        Ok(bytes.into())
    }
}

/// Manifests and manifest lists are small and come in one piece, so they are held until `close`.
#[derive(Debug)]
struct LocalFileWrite {
    path: PathBuf,
    bytes: Vec<u8>,
}

#[async_trait]
impl FileWrite for LocalFileWrite {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        durable::write_file(metadata_artifact(&self.path), &self.path, &self.bytes)
            .map_err(|error| failed("writing", &self.path, error))
    }
}
