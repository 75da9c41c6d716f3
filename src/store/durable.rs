//! The only place that makes files durable: write, fsync, rename, fsync of folders.
//!
//! Why each step is there (POSIX promises nothing less): `fsync` of a file makes its bytes durable but
//! not its name; the name needs an `fsync` of the folder; a new folder's name needs one of *its*
//! parent. `rename` is atomic for readers. A failed `fsync` means that the kernel may have dropped the
//! dirty pages, so it is an error for good: nothing here retries it, and the caller must not
//! acknowledge.
//!
//! All functions block; call them from blocking threads only. How many of them run at once is bounded
//! by the callers (about eight concurrent syncs is best on the disks that were measured). Callers say which
//! kind of file it is, so that tests can fail each step by name: see [`super::fault`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use super::fault::{Artifact, Operation, step};

/// Makes a file's bytes durable.
pub fn sync_file(artifact: Artifact, file: &File) -> io::Result<()> {
    step(Operation::Sync, artifact, || file.sync_data())
}

/// Makes the names in `folder` durable.
pub fn sync_folder(artifact: Artifact, folder: &Path) -> io::Result<()> {
    step(Operation::SyncFolder, artifact, || {
        File::open(folder)?.sync_all()
    })
}

/// Gives a synced file its final name, which is durable after [`sync_folder`].
pub fn rename_file(artifact: Artifact, from: &Path, to: &Path) -> io::Result<()> {
    step(Operation::Rename, artifact, || fs::rename(from, to))
}

/// Makes what sled was given durable: its log's bytes and names. sled's own flush is no sync.
pub fn sync_journal(db: &sled::Db, log: &File, folder: &File) -> io::Result<()> {
    step(Operation::Flush, Artifact::Journal, || Ok(db.flush()?))?;
    sync_file(Artifact::Journal, log)?;
    step(Operation::SyncFolder, Artifact::Journal, || {
        folder.sync_all()
    })
}

/// Creates `folder` and its missing parents, each of them durably. The deepest one that is there already is
/// made durable too: another thread may have created it just now, and not have come to sync it.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = Vec::new();
    let mut current = Some(folder);
    while let Some(path) = current {
        if path.as_os_str().is_empty() {
            break;
        }
        if path.is_dir() {
            sync_folder(Artifact::Folder, parent_of(path))?;
            break;
        }
        missing.push(path);
        current = path.parent();
    }
    for path in missing.into_iter().rev() {
        step(Operation::Create, Artifact::Folder, || {
            match fs::create_dir(path) {
                // Another thread may create the same folder; its name is synced below all the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                    Ok(())
                }
                created => created,
            }
        })?;
        sync_folder(Artifact::Folder, parent_of(path))?;
    }
    Ok(())
}

/// Creates a new file for writing; its folder must exist.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Writes `bytes` durably as `path`, atomically replacing what was there.
pub fn write_file(artifact: Artifact, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        sync_file(artifact, &file)?;
        rename_file(artifact, &temporary, path)?;
        sync_folder(artifact, parent_of(path))
    })();
    if result.is_err() {
        remove_quietly(&temporary);
    }
    result
}

/// A file that is to be written.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its kind.
    pub artifact: Artifact,
    /// Its name, which must be new.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Bytes,
}

/// Writes new files, each under its final name at once: nothing refers to them yet, so nobody reads a half-written one. Their
/// bytes, and those of files that were written before, are durable when this returns; their names are after [`sync_folder`].
///
/// The kernel is asked to write all of them before the first is waited for, so that they share the file system's own
/// transaction: 33 files take about as long as two.
pub fn write_new_files(files: &[NewFile], mut written: Vec<(Artifact, File)>) -> io::Result<()> {
    for new in files {
        let mut file = create_new(&new.path)?;
        file.write_all(&new.bytes)?;
        written.push((new.artifact, file));
    }
    for (_, file) in &written {
        begin_to_write(file, 0, None);
    }
    for (artifact, file) in &written {
        sync_file(*artifact, file)?;
    }
    Ok(())
}

/// Asks the kernel to write what is dirty in `length` bytes of a file from `from` on, or in all that follows, and waits for nothing.
/// Only a hint: dirty pages of a file that is said to be needed no more are written soon, and stay in memory meanwhile.
pub fn begin_to_write(file: &File, from: u64, length: Option<NonZeroU64>) {
    let _ = rustix::fs::fadvise(file, from, length, Advice::DontNeed);
}

/// Replaces a file, atomically for readers. It is not durable: a power cut may leave the old file, the new one, or one that is
/// torn, until [`sync_file`] and [`sync_folder`].
pub fn replace_for_readers(artifact: Artifact, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let replaced =
        fs::write(&temporary, bytes).and_then(|()| rename_file(artifact, &temporary, path));
    if replaced.is_err() {
        remove_quietly(&temporary);
    }
    replaced
}

/// Removes a file that nothing refers to any more; one that is gone already is fine. Durable after [`sync_folder`].
pub fn remove_expired(artifact: Artifact, path: &Path) -> io::Result<bool> {
    step(Operation::Remove, artifact, || {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    })
}

/// Gives an immutable, synced file a second name; where the file system has no links, or the name is on
/// another one, a copy. The name is durable after [`sync_folder`].
pub fn link_file(artifact: Artifact, from: &Path, to: &Path) -> io::Result<()> {
    match step(Operation::Link, artifact, || fs::hard_link(from, to)) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::CrossesDevices
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::TooManyLinks
            ) =>
        {
            copy_file(artifact, from, to)
        }
        Err(error) => Err(error),
    }
}

fn copy_file(artifact: Artifact, from: &Path, to: &Path) -> io::Result<()> {
    let temporary = temporary_name(to);
    let copied = fs::copy(from, &temporary)
        .and_then(|_| File::open(&temporary))
        .and_then(|file| sync_file(artifact, &file))
        .and_then(|()| rename_file(artifact, &temporary, to));
    if copied.is_err() {
        remove_quietly(&temporary);
    }
    copied
}

/// Renames a folder durably.
pub fn rename_folder(artifact: Artifact, from: &Path, to: &Path) -> io::Result<()> {
    rename_file(artifact, from, to)?;
    sync_folder(artifact, parent_of(to))
}

/// Makes every file and folder below `folder`, and the folder itself, durable. All that is in it is one step, however many files
/// there are.
pub fn sync_tree(artifact: Artifact, folder: &Path) -> io::Result<()> {
    step(Operation::Sync, artifact, || sync_below(folder))?;
    sync_folder(artifact, folder)
}

fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        }
        File::open(entry.path())?.sync_all()?;
    }
    Ok(())
}

/// Keeps room on the disk for a file to grow into, without changing its length. File systems that cannot do that count as
/// having the room.
pub fn keep_room(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Fails when files cannot be made in a folder now.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let path = folder.join("writable.probe");
    File::create(&path)?.write_all(b"x")?;
    fs::remove_file(&path)
}

/// Bytes that may still be written below `folder`.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(folder)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

/// Removes a file that nothing refers to. Not synced: one that survives a crash is found again.
pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Removes a file that nothing refers to. That it may survive a crash is harmless, so it is not
/// synced; that it cannot be removed is logged.
pub fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a file that is no longer needed");
    }
}

/// Removes the files in `folder` whose names are wanted; gives their number. Nothing may refer to them. A folder that is not
/// there has none. Not synced: a file that survives a crash is found again.
pub fn remove_files(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<usize> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in listing {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_wanted) {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.txt");
        create_folders(path.parent().unwrap()).unwrap();
        create_folders(path.parent().unwrap()).unwrap();
        write_file(Artifact::Marker, &path, b"one").unwrap();
        write_file(Artifact::Marker, &path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn new_files_are_written_and_never_over_others() {
        let folder = tempfile::tempdir().unwrap();
        let new = |name: &str, bytes: &'static [u8]| NewFile {
            artifact: Artifact::Manifest,
            path: folder.path().join(name),
            bytes: Bytes::from_static(bytes),
        };
        let mut earlier = create_new(&folder.path().join("c")).unwrap();
        earlier.write_all(b"zero").unwrap();
        let files = [new("a", b"one"), new("b", b"two")];
        write_new_files(&files, vec![(Artifact::DataFile, earlier)]).unwrap();
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"two");
        assert!(write_new_files(&[new("a", b"three")], Vec::new()).is_err());
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"one");
        let path = folder.path().join("a");
        replace_for_readers(Artifact::VersionHint, &path, b"four").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four");
        assert!(remove_expired(Artifact::Manifest, &path).unwrap());
        assert!(!remove_expired(Artifact::Manifest, &path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_second_name_keeps_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_file(Artifact::Marker, &from, b"x").unwrap();
        link_file(Artifact::DataFile, &from, &to).unwrap();
        assert!(
            link_file(Artifact::DataFile, &from, &to).is_err(),
            "a name is never overwritten"
        );
        let copy = folder.path().join("copy");
        copy_file(Artifact::DataFile, &from, &copy).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), b"x");
        fs::remove_file(&from).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"x");
    }

    #[test]
    fn a_failed_write_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_file(Artifact::Marker, &folder.path().join("missing/file"), b"x").is_err());
    }
}
