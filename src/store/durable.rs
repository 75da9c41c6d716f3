//! The only place that makes files durable: write, fsync, rename, fsync of folders.
//!
//! Why each step is there (POSIX promises nothing less): `fsync` of a file makes its bytes durable but
//! not its name; the name needs an `fsync` of the folder; a new folder's name needs one of *its*
//! parent. `rename` is atomic for readers. A failed `fsync` means that the kernel may have dropped the
//! dirty pages, so it is an error for good: nothing here retries it, and the caller must not
//! acknowledge.
//!
//! All functions block; call them from blocking threads only. How many of them run at once is bounded
//! by the callers (about eight concurrent syncs is best on the disks that were measured).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes the names in `folder` durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
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
            sync_folder(parent_of(path))?;
            break;
        }
        missing.push(path);
        current = path.parent();
    }
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Ok(()) => {}
            // Another thread may create the same folder; its name is synced below all the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error),
        }
        sync_folder(parent_of(path))?;
    }
    Ok(())
}

/// Creates a new file for writing; its folder must exist.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Makes a finished file durable under its final name: fsync, rename. The folder is synced by
/// [`sync_folder`], once for all the names that belong together.
pub fn sync_and_rename(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_data()?;
    fs::rename(from, to)
}

/// Writes `bytes` durably as `path`, atomically replacing what was there.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        sync_and_rename(&file, &temporary, path)?;
        sync_folder(parent_of(path))
    })();
    if result.is_err() {
        remove_quietly(&temporary);
    }
    result
}

/// Gives an immutable, synced file a second name; where the file system has no links, or the name is on
/// another one, a copy. The name is durable after [`sync_folder`].
pub fn link_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
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
            copy_file(from, to)
        }
        Err(error) => Err(error),
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = temporary_name(to);
    let copied = fs::copy(from, &temporary)
        .and_then(|_| File::open(&temporary))
        .and_then(|file| sync_and_rename(&file, &temporary, to));
    if copied.is_err() {
        remove_quietly(&temporary);
    }
    copied
}

/// Renames a folder durably.
pub fn rename_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(parent_of(to))
}

/// Makes every file and folder below `folder`, and the folder itself, durable.
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// Bytes that may still be written below `folder`.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(folder)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
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
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_name_keeps_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_file(&from, b"x").unwrap();
        link_file(&from, &to).unwrap();
        assert!(
            link_file(&from, &to).is_err(),
            "a name is never overwritten"
        );
        let copy = folder.path().join("copy");
        copy_file(&from, &copy).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), b"x");
        fs::remove_file(&from).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"x");
    }

    #[test]
    fn a_failed_write_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_file(&folder.path().join("missing/file"), b"x").is_err());
    }
}
