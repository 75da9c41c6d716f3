//! Checks every table: pointer, metadata, snapshots, version hint; and looks for files in the warehouse that nothing refers to.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use iceberg::spec::TableMetadata;
use uuid::Uuid;

use super::Context;
use super::files::{self, Found};
use super::records::Records;
use super::repair::Repair;
use super::report::{Finding, Kind, Looked, Mode};
use super::snapshots::{SnapshotCheck, TableFacts};
use super::staging::push_foreign;
use crate::domain::{Expired, Target};
use crate::table::storage::{VERSION_HINT_FILE, local_path, version_hint};
use crate::table::{TableStorage, history};

/// What is known of a table that could be read.
pub(super) type Tables = BTreeMap<Target, TableFacts>;

/// Files of commit attempts that have not ended: number and bytes.
type AttemptFiles = BTreeMap<Uuid, (u64, u64)>;

/// Checks every table and the whole warehouse.
pub(super) fn check(
    context: &Context,
    records: &Records,
    looked: &mut Looked,
    findings: &mut Vec<Finding>,
) -> Result<Tables, String> {
    let mut tables = Tables::new();
    let mut attempt_files: AttemptFiles = records
        .attempts
        .iter()
        .map(|attempt| (*attempt, (0, 0)))
        .collect();
    for (target, location) in &records.tables {
        looked.tables += 1;
        let mut table = TableCheck::new(context, target, &mut attempt_files);
        let expired = records.expired.get(target).map_or(&[][..], Vec::as_slice);
        let is_hint_due = records.due_hints.contains(target);
        let facts = table.run(location, is_hint_due, expired, looked)?;
        findings.append(&mut table.findings);
        tables.extend(facts.map(|facts| (target.clone(), facts)));
    }
    check_folders_without_pointer(context, records, &mut attempt_files, findings)?;
    if context.mode == Mode::Offline {
        findings.extend(attempt_files.into_iter().map(|(attempt, (files, bytes))| {
            let detail = format!("commit attempt {attempt}; files of it: {files}");
            Finding::new(Kind::CommitCutOff, detail).bytes(bytes)
        }));
    }
    Ok(tables)
}

/// One table while it is checked.
struct TableCheck<'a> {
    context: &'a Context,
    target: &'a Target,
    folder: PathBuf,
    attempt_files: &'a mut AttemptFiles,
    findings: Vec<Finding>,
}

impl<'a> TableCheck<'a> {
    fn new(context: &'a Context, target: &'a Target, attempt_files: &'a mut AttemptFiles) -> Self {
        Self {
            context,
            target,
            folder: context.layout.table_folder(target),
            attempt_files,
            findings: Vec::new(),
        }
    }

    /// Checks the table; `None` when its metadata cannot be read. What refers to which file is then not known, so nothing is
    /// said of the files in its folder.
    fn run(
        &mut self,
        location: &str,
        is_hint_due: bool,
        expired: &[Expired],
        looked: &mut Looked,
    ) -> Result<Option<TableFacts>, String> {
        let Some(metadata) = self.metadata(location) else {
            return Ok(None);
        };
        let mut snapshots = SnapshotCheck::new(self.context, self.target, &metadata, looked);
        let facts = snapshots.run();
        let is_complete = snapshots.is_complete;
        let mut referenced = std::mem::take(&mut snapshots.referenced);
        self.findings.append(&mut snapshots.findings);
        self.check_hint(location, is_hint_due);
        self.add_referenced(location, &metadata, &mut referenced);
        if is_complete {
            let due = self.expired_files(expired);
            self.check_files(&metadata, &referenced, &due)?;
        }
        Ok(Some(facts))
    }

    fn push(&mut self, kind: Kind, detail: impl Into<String>, path: &Path) {
        let finding = Finding::new(kind, detail).table(self.target);
        self.findings
            .push(finding.path(self.context.relative(path)));
    }

    /// The metadata that the pointer names, if it can be read and is this table's.
    fn metadata(&mut self, location: &str) -> Option<TableMetadata> {
        let path = local_path(location);
        let table_location = self.context.storage.location(self.target);
        if !location.starts_with(&format!("{table_location}/metadata/")) {
            let detail = format!("its pointer names {location}");
            self.push(Kind::MetadataMisplaced, detail, &self.folder.clone());
            return None;
        }
        if matches!(files::size(&path), Ok(None)) {
            self.push(Kind::MetadataMissing, "it is not there", &path);
            return None;
        }
        let (runtime, storage) = (&self.context.runtime, &self.context.storage);
        let read = files::guarded(|| {
            runtime
                .block_on(TableMetadata::read_from(storage.files(), location))
                .map_err(|error| error.to_string())
        });
        match read {
            Ok(metadata) if metadata.location() == table_location => Some(metadata),
            Ok(metadata) => {
                let detail = format!("it says that the table is at {}", metadata.location());
                self.push(Kind::MetadataMisplaced, detail, &path);
                None
            }
            Err(reason) => {
                self.push(Kind::MetadataUnreadable, reason, &path);
                None
            }
        }
    }

    /// Adds what the metadata refers to outside snapshots, and says what of it is gone.
    fn add_referenced(
        &mut self,
        location: &str,
        metadata: &TableMetadata,
        referenced: &mut HashSet<PathBuf>,
    ) {
        referenced.insert(local_path(location));
        for entry in metadata.metadata_log() {
            let path = local_path(&entry.metadata_file);
            if matches!(files::size(&path), Ok(None)) {
                self.push(Kind::OldMetadataMissing, "it is not there", &path);
            }
            referenced.insert(path);
        }
        let statistics = metadata.statistics_iter().map(|file| &file.statistics_path);
        let partition = metadata
            .partition_statistics_iter()
            .map(|file| &file.statistics_path);
        referenced.extend(statistics.chain(partition).map(|path| local_path(path)));
    }

    fn check_hint(&mut self, location: &str, is_due: bool) {
        let path = self.folder.join("metadata").join(VERSION_HINT_FILE);
        let expected = version_hint(location);
        let said = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let said = match said.as_deref().map(str::trim) {
            Ok(said) if said == expected => return,
            Ok(said) => said.to_owned(),
            Err(error) => error.clone(),
        };
        let named = path.with_file_name(format!("{said}.metadata.json"));
        if version(&said) > version(expected) && named.exists() {
            let detail = format!("the hint names {said}, the journal {expected}");
            return self.push(Kind::JournalBehindTable, detail, &path);
        }
        if is_due {
            if self.context.mode == Mode::Offline {
                self.push(
                    Kind::VersionHintDue,
                    format!("it will name {expected}"),
                    &path,
                );
            }
            return;
        }
        let detail = format!("it should name {expected}, and says: {said}");
        let finding = Finding::new(Kind::VersionHintWrong, detail).table(self.target);
        self.findings.push(
            finding
                .path(self.context.relative(&path))
                .repair(Repair::WriteHint {
                    target: self.target.clone(),
                    metadata_location: location.to_owned(),
                }),
        );
    }

    /// Files that only expired snapshots needed. Of those that cannot be read nothing is known to be due.
    fn expired_files(&self, expired: &[Expired]) -> HashSet<PathBuf> {
        let metadata_folder = self.folder.join("metadata");
        let mut due = HashSet::new();
        for one in expired {
            let found = files::guarded(|| {
                history::superfluous(&self.context.storage, self.target, one)
                    .map_err(|error| error.to_string())
            });
            if let Ok(found) = found {
                due.extend(found.data_files.iter().map(|location| local_path(location)));
                let names = found.manifests.iter().chain(&found.lists_and_metadata);
                due.extend(names.map(|name| metadata_folder.join(name)));
            }
        }
        due
    }

    /// Looks for files that nothing refers to.
    fn check_files(
        &mut self,
        metadata: &TableMetadata,
        referenced: &HashSet<PathBuf>,
        due: &HashSet<PathBuf>,
    ) -> Result<(), String> {
        let hint = self.folder.join("metadata").join(VERSION_HINT_FILE);
        let log = metadata.metadata_log().iter();
        let oldest_listed = log
            .filter_map(|entry| version(version_hint(&entry.metadata_file)))
            .min();
        let (mut due_files, mut due_bytes) = (0, 0);
        for file in files::files_below(&self.folder)? {
            if file.path == hint || referenced.contains(&file.path) {
                continue;
            }
            if due.contains(&file.path) {
                due_files += 1;
                due_bytes += file.bytes;
                continue;
            }
            let Some(mut finding) =
                unreferenced(self.context, &self.folder, &file, self.attempt_files)
            else {
                continue;
            };
            let name = file.path.to_string_lossy();
            let is_unlisted = name.ends_with(".metadata.json")
                && oldest_listed.is_some_and(|oldest| {
                    version(version_hint(&name)).is_some_and(|version| version < oldest)
                });
            if is_unlisted && finding.kind == Kind::TableFileUnreferenced {
                finding.kind = Kind::OldMetadataUnlisted;
            }
            self.findings.push(finding.table(self.target));
        }
        if due_files > 0 && self.context.mode == Mode::Offline {
            let finding = Finding::new(Kind::ExpiredFilesDue, format!("{due_files} files"));
            let finding = finding.table(self.target).bytes(due_bytes);
            self.findings.push(finding);
        }
        Ok(())
    }
}

/// The number that a metadata file's name starts with.
fn version(name: &str) -> Option<u64> {
    name.split('-').next()?.parse().ok()
}

/// What to say of a file in a table's folder that nothing refers to; files of attempts are counted instead.
fn unreferenced(
    context: &Context,
    folder: &Path,
    file: &Found,
    attempt_files: &mut AttemptFiles,
) -> Option<Finding> {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    for (attempt, (files, bytes)) in attempt_files.iter_mut() {
        if name.contains(&attempt.to_string()) || name.contains(&attempt.simple().to_string()) {
            *files += 1;
            *bytes += file.bytes;
            return None;
        }
    }
    // Under a running server it may be one of a commit that began after the records were read.
    if context.mode == Mode::Running && !context.is_settled(file.changed_at) {
        return None;
    }
    let parent = file.path.parent();
    let is_where_calve_writes = ["data", "metadata"]
        .iter()
        .any(|name| parent == Some(&folder.join(name)));
    if !is_where_calve_writes || !file.is_plain {
        let mut foreign = Vec::new();
        push_foreign(context, file, &mut foreign);
        return foreign.pop();
    }
    let finding = Finding::new(Kind::TableFileUnreferenced, "nothing refers to it");
    Some(
        finding
            .path(context.relative(&file.path))
            .bytes(file.bytes)
            .repair(Repair::RemoveFile(file.path.clone())),
    )
}

/// Looks through the folders that are no table's, and for files beside tables' folders.
fn check_folders_without_pointer(
    context: &Context,
    records: &Records,
    attempt_files: &mut AttemptFiles,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let mut level = vec![context.layout.warehouse_folder()];
    for _ in 0..3 {
        let mut next = Vec::new();
        for folder in level {
            for file in files::files_in(&folder)? {
                push_foreign(context, &file, findings);
            }
            next.extend(files::folders_in(&folder)?);
        }
        level = next;
    }
    for folder in level {
        let target = target_of(context, &folder);
        let is_known = target.as_ref().is_some_and(|target| {
            records.tables.contains_key(target) || records.opaque_tables.contains(target)
        });
        if !is_known {
            check_folder_without_pointer(
                context,
                &folder,
                target.as_ref(),
                attempt_files,
                findings,
            )?;
        }
    }
    Ok(())
}

/// The target whose table would be in this folder.
fn target_of(context: &Context, folder: &Path) -> Option<Target> {
    let relative = folder
        .strip_prefix(context.layout.warehouse_folder())
        .ok()?;
    let mut names = relative.iter().map(|name| name.to_str());
    let target = Target::new(names.next()??, names.next()??, names.next()??).ok()?;
    // Names are lower case; another spelling is another folder.
    (context.layout.table_folder(&target) == folder).then_some(target)
}

fn check_folder_without_pointer(
    context: &Context,
    folder: &Path,
    target: Option<&Target>,
    attempt_files: &mut AttemptFiles,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let files = files::files_below(folder)?;
    let hint = folder.join("metadata").join(VERSION_HINT_FILE);
    // The hint is written after the commit: what has one was published.
    if let Some(target) = target
        && files.iter().any(|file| file.path == hint)
    {
        let detail = format!("{} files", files.len());
        let finding = Finding::new(Kind::TableWithoutPointer, detail).table(target);
        let bytes = files.iter().map(|file| file.bytes).sum();
        findings.push(finding.path(context.relative(folder)).bytes(bytes));
        return Ok(());
    }
    for file in files {
        let Some(target) = target else {
            push_foreign(context, &file, findings);
            continue;
        };
        if let Some(mut finding) = unreferenced(context, folder, &file, attempt_files) {
            if finding.kind == Kind::TableFileUnreferenced {
                finding.detail = "no table of this name was ever published".to_owned();
            }
            findings.push(finding.table(target));
        }
    }
    Ok(())
}
