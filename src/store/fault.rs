//! Every durable step by name, and the points before and after each where a test lets the server die or the disk refuse.
//!
//! [`STEPS`] is the whole list: what [`super::durable`] does to make things durable, and to which kind of file. A
//! test runs the server through all of them, fails each one in each way, and asserts what the next start finds.
//!
//! Only builds with debug assertions have the points. There, two environment variables arm them:
//!
//! * `FAULT_LOG=FILE`: every point that is passed is appended to the file, one a line, in order.
//! * `FAULT_AT=N:HOW`: at the N-th point passed (from 0) the server is killed (`kill`), or the step fails once
//!   as a disk would make it fail (`eio`, `enospc`, `erofs`); `HOW+` fails that step from then on, every time.
//!
//! A release build has neither the points nor the variables.

use std::fmt;
use std::io;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A folder is created.
    Create,
    /// sled hands its log's bytes to the system.
    Flush,
    /// A file's bytes are synced.
    Sync,
    /// A file gets its final name.
    Rename,
    /// A file gets a second name.
    Link,
    /// A folder's names are synced.
    SyncFolder,
    /// A file that nothing refers to any more loses its name.
    Remove,
}

/// To what it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifact {
    /// A new folder; its names are those of its parent.
    Folder,
    /// sled's files; their folder.
    Journal,
    /// The file that says which store this is.
    Marker,
    /// A part's bytes as sent; the folder of its session.
    PartBytes,
    /// The bytes of many small parts; the folder of such files.
    Pack,
    /// A data file, staged or in its table; the table's folder of them.
    DataFile,
    /// A manifest.
    Manifest,
    /// A manifest list.
    ManifestList,
    /// A table's metadata file; the table's folder of them, of manifests and of manifest lists.
    Metadata,
    /// A table's version hint.
    VersionHint,
}

/// Every durable step there is.
pub const STEPS: &[(Operation, Artifact)] = &[
    (Operation::Create, Artifact::Folder),
    (Operation::SyncFolder, Artifact::Folder),
    (Operation::Rename, Artifact::Journal),
    (Operation::Flush, Artifact::Journal),
    (Operation::Sync, Artifact::Journal),
    (Operation::SyncFolder, Artifact::Journal),
    (Operation::Sync, Artifact::Marker),
    (Operation::Rename, Artifact::Marker),
    (Operation::SyncFolder, Artifact::Marker),
    (Operation::Sync, Artifact::PartBytes),
    (Operation::Rename, Artifact::PartBytes),
    (Operation::SyncFolder, Artifact::PartBytes),
    (Operation::SyncFolder, Artifact::Pack),
    (Operation::Sync, Artifact::Pack),
    (Operation::Sync, Artifact::DataFile),
    (Operation::Rename, Artifact::DataFile),
    (Operation::Link, Artifact::DataFile),
    (Operation::SyncFolder, Artifact::DataFile),
    (Operation::Remove, Artifact::DataFile),
    (Operation::Sync, Artifact::Manifest),
    (Operation::Remove, Artifact::Manifest),
    (Operation::Sync, Artifact::ManifestList),
    (Operation::Remove, Artifact::ManifestList),
    (Operation::Sync, Artifact::Metadata),
    (Operation::SyncFolder, Artifact::Metadata),
    (Operation::Remove, Artifact::Metadata),
    (Operation::Sync, Artifact::VersionHint),
    (Operation::Rename, Artifact::VersionHint),
    (Operation::SyncFolder, Artifact::VersionHint),
];

/// A point beside a durable step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the step has happened.
    Before,
    /// All of it has.
    After,
}

/// Does a durable step, between its two points.
pub(super) fn step<T>(
    operation: Operation,
    artifact: Artifact,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    pass(Moment::Before, operation, artifact)?;
    let done = act()?;
    pass(Moment::After, operation, artifact)?;
    Ok(done)
}

#[cfg(not(debug_assertions))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "a build with faults may fail here"
)]
#[inline]
fn pass(_: Moment, _: Operation, _: Artifact) -> io::Result<()> {
    Ok(())
}

#[cfg(debug_assertions)]
fn pass(moment: Moment, operation: Operation, artifact: Artifact) -> io::Result<()> {
    armed::pass(Point {
        moment,
        operation,
        artifact,
    })
}

/// A point's name, as in `Before Sync ManifestList`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Before or after.
    pub moment: Moment,
    /// What is done.
    pub operation: Operation,
    /// To what.
    pub artifact: Artifact,
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?} {:?} {:?}", self.moment, self.operation, self.artifact);
        formatter.write_str(&name)
    }
}

/// What the environment asks for.
#[cfg(debug_assertions)]
mod armed {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::io::Errno;
    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    static PLAN: OnceLock<Plan> = OnceLock::new();

    struct Plan {
        log: Option<File>,
        fault: Option<Fault>,
        state: Mutex<State>,
    }

    struct Fault {
        at: u64,
        how: How,
        lasts: bool,
    }

    #[derive(Clone, Copy)]
    enum How {
        Kill,
        Fail(Errno),
    }

    #[derive(Default)]
    struct State {
        passed: u64,
        hit: Option<Point>,
    }

    impl Plan {
        fn from_environment() -> Self {
            let variable = |name| std::env::var(name).ok();
            let log = variable("FAULT_LOG")
                .and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok());
            Self {
                log,
                fault: variable("FAULT_AT").and_then(|text| Fault::parse(&text)),
                state: Mutex::default(),
            }
        }
    }

    impl Fault {
        fn parse(text: &str) -> Option<Self> {
            let (at, how) = text.split_once(':')?;
            let (how, lasts) = match how.strip_suffix('+') {
                Some(how) => (how, true),
                None => (how, false),
            };
            let how = match how {
                "kill" => How::Kill,
                "eio" => How::Fail(Errno::IO),
                "enospc" => How::Fail(Errno::NOSPC),
                "erofs" => How::Fail(Errno::ROFS),
                _ => return None,
            };
            Some(Self {
                at: at.parse().ok()?,
                how,
                lasts,
            })
        }
    }

    pub(super) fn pass(point: Point) -> io::Result<()> {
        let plan = PLAN.get_or_init(Plan::from_environment);
        if plan.log.is_none() && plan.fault.is_none() {
            return Ok(());
        }
        // One lock for number and line, so that the log's order is the numbers' order.
        let mut state = plan.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.passed;
        state.passed += 1;
        if let Some(mut log) = plan.log.as_ref() {
            log.write_all(format!("{point}\n").as_bytes())?;
        }
        let Some(fault) = &plan.fault else {
            return Ok(());
        };
        if number == fault.at {
            state.hit = Some(point);
        }
        let is_hit = number == fault.at || (fault.lasts && state.hit == Some(point));
        match fault.how {
            _ if !is_hit => Ok(()),
            How::Fail(errno) => {
                tracing::warn!(%point, %errno, "injected a fault");
                Err(errno.into())
            }
            How::Kill => loop {
                // Does not return; the loop is for the type.
                let _ = kill_process(getpid(), Signal::KILL);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_listed_twice() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(!STEPS[..index].contains(step), "{step:?}");
        }
    }
}
