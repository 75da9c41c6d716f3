//! Mends what can be mended without a doubt, one finding at a time.
//!
//! A finding carries its [`Repair`] only where the check knew enough to say so; nothing here decides what is unreferenced.
//! What is decided here: a file must not have changed for `cleaning.grace`, it must be below the staging folder or the
//! warehouse, and when the journal turns out to be older than the tables, no file is removed at all.

use std::fmt;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::Serialize;

use super::Context;
use super::files;
use super::report::{Finding, Kind};
use crate::domain::Target;
use crate::error::Error;
use crate::store::durable;
use crate::store::journal::{Expectation, Journal, Write};
use crate::table::TableStorage;

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Repair {
    /// Remove a file that nothing refers to.
    RemoveFile(PathBuf),
    /// Write a table's version hint anew.
    WriteHint {
        /// The table.
        target: Target,
        /// Its current metadata file.
        metadata_location: String,
    },
    /// Correct a counter of the journal.
    SetCounter {
        /// Its key.
        key: Vec<u8>,
        /// The value it has.
        recorded: Option<Vec<u8>>,
        /// The value it should have.
        counted: u64,
    },
    /// Remove records of the journal that belong to nothing.
    RemoveRecords(Vec<Vec<u8>>),
}

/// How a repair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was made.
    Done,
    /// It was left for later.
    Kept,
    /// It failed.
    Failed,
}

/// One repair, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// The finding's kind.
    pub kind: Kind,
    /// What was done, or why it was not.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl fmt::Display for Repaired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.action)
    }
}

/// Why a repair was not made.
enum NotMade {
    Kept(String),
    Failed(String),
}

/// Makes the repairs of the findings. What is mended is no longer among them afterwards.
pub(super) fn apply(
    context: &Context,
    journal: &Journal,
    findings: &mut Vec<Finding>,
) -> Vec<Repaired> {
    let is_journal_old = findings.iter().any(|finding| {
        matches!(
            finding.kind,
            Kind::JournalBehindTable | Kind::TableWithoutPointer
        )
    });
    let mut repairs = Vec::new();
    findings.retain(|finding| {
        let Some(repair) = &finding.repair else {
            return true;
        };
        let made = match repair {
            Repair::RemoveFile(path) if is_journal_old => Err(NotMade::Kept(format!(
                "kept {}: the journal seems to be older than the tables",
                context.relative(path)
            ))),
            Repair::RemoveFile(path) => remove_file(context, path, finding.bytes),
            Repair::WriteHint {
                target,
                metadata_location,
            } => write_hint(context, target, metadata_location),
            Repair::SetCounter {
                key,
                recorded,
                counted,
            } => set_counter(context, journal, key, recorded.as_deref(), *counted),
            Repair::RemoveRecords(keys) => remove_records(context, journal, keys),
        };
        let (action, outcome) = match made {
            Ok(action) => (action, Outcome::Done),
            Err(NotMade::Kept(action)) => (action, Outcome::Kept),
            Err(NotMade::Failed(action)) => (action, Outcome::Failed),
        };
        repairs.push(Repaired {
            kind: finding.kind,
            action,
            outcome,
        });
        outcome != Outcome::Done
    });
    remove_empty_folders(context);
    repairs
}

fn remove_file(context: &Context, path: &Path, bytes: u64) -> Result<String, NotMade> {
    let name = context.relative(path);
    let failed =
        |error: &dyn fmt::Display| NotMade::Failed(format!("cannot remove {name}: {error}"));
    let layout = &context.layout;
    let ours = [
        layout.staging_folder(),
        layout.packs_folder(),
        layout.warehouse_folder(),
    ];
    if !ours.iter().any(|folder| path.starts_with(folder)) {
        return Err(NotMade::Kept(format!("kept {name}: not ours to remove")));
    }
    let found = files::found(path).map_err(|error| failed(&error))?;
    if !context.is_settled(found.changed_at) {
        return Err(NotMade::Kept(format!(
            "kept {name}: it changed within `cleaning.grace`"
        )));
    }
    durable::remove_file(path).map_err(|error| failed(&error))?;
    Ok(format!("removed {name} ({})", ByteSize(bytes)))
}

fn write_hint(context: &Context, target: &Target, location: &str) -> Result<String, NotMade> {
    context
        .storage
        .write_version_hint(target, location)
        .map(|()| format!("wrote the version hint of {target}"))
        .map_err(|error| NotMade::Failed(format!("cannot write the hint of {target}: {error}")))
}

fn set_counter(
    context: &Context,
    journal: &Journal,
    key: &[u8],
    recorded: Option<&[u8]>,
    counted: u64,
) -> Result<String, NotMade> {
    let write = Write {
        expectations: vec![Expectation {
            key: key.to_vec(),
            value: recorded.map(<[u8]>::to_vec),
        }],
        puts: vec![(key.to_vec(), counted.to_be_bytes().to_vec())],
        ..Write::default()
    };
    record(context, journal, write)?;
    let name = String::from_utf8_lossy(key);
    Ok(format!("set the counter {name} to {counted}"))
}

fn remove_records(
    context: &Context,
    journal: &Journal,
    keys: &[Vec<u8>],
) -> Result<String, NotMade> {
    let write = Write {
        removes: keys.to_vec(),
        ..Write::default()
    };
    record(context, journal, write)?;
    Ok(format!("removed {} records from the journal", keys.len()))
}

fn record(context: &Context, journal: &Journal, write: Write) -> Result<(), NotMade> {
    journal
        .write(write)
        .and_then(|queued| context.runtime.block_on(queued))
        .map_err(|error| {
            NotMade::Failed(format!("cannot write the journal: {}", Error::from(error)))
        })
}

/// Sessions' folders that the repair has emptied, or found empty.
fn remove_empty_folders(context: &Context) {
    for folder in files::folders_in(&context.layout.staging_folder()).unwrap_or_default() {
        // Fails when it is not empty, which is the point.
        let _ = std::fs::remove_dir(folder);
    }
}
