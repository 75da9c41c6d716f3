//! A table's snapshots as the chain that they form, and which files only its expired part needed.
//!
//! The rules are [`crate::domain::expiry`]'s. Here they meet metadata, manifest lists and manifests:
//!
//! * a manifest goes when a snapshot's list has it and the next one's has not, and the first of the two expired;
//! * a data file goes when a snapshot up to the oldest that stayed deleted it, which a manifest of that snapshot says;
//! * an expired snapshot's list goes.
//!
//! Removing is done in this order: data files, manifests, lists; each made durable before the next. So where a list or manifest is
//! missing, all that could be found through it is gone already, and a removal that was cut off can be done again.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use iceberg::spec::{
    FormatVersion, Manifest, ManifestFile, ManifestList, ManifestStatus, Operation, Snapshot,
    SnapshotRef, TableMetadata,
};

use super::storage::TableStorage;
use crate::domain::{Expired, ListedSnapshot, Target};
use crate::error::Result;

/// In a summary: how many manifests of its parent a snapshot has not.
pub const MANIFESTS_REPLACED: &str = "manifests-replaced";

/// All snapshots, oldest first, if each one's parent is the one before it and the last is current.
pub fn chain(metadata: &TableMetadata) -> Option<Vec<SnapshotRef>> {
    let mut chain = Vec::new();
    let mut next = metadata.current_snapshot();
    while let Some(snapshot) = next {
        if chain.len() >= metadata.snapshots().len() {
            return None;
        }
        chain.push(snapshot.clone());
        let parent = snapshot.parent_snapshot_id();
        next = parent.and_then(|parent| metadata.snapshot_by_id(parent));
    }
    chain.reverse();
    (chain.len() == metadata.snapshots().len()).then_some(chain)
}

/// Whether a snapshot's list is in the table's folder of metadata.
pub fn is_in_folder(metadata: &TableMetadata, snapshot: &Snapshot) -> bool {
    name_in_folder(metadata, snapshot.manifest_list()).is_some()
}

/// The name of a file in the table's folder of metadata.
fn name_in_folder<'a>(metadata: &TableMetadata, location: &'a str) -> Option<&'a str> {
    metadata_file_name(metadata.location(), location)
}

/// The name of a file in the folder of metadata of the table at this location.
pub fn metadata_file_name<'a>(table_location: &str, location: &'a str) -> Option<&'a str> {
    let name = location
        .strip_prefix(table_location)?
        .strip_prefix("/metadata/")?;
    (!name.contains('/')).then_some(name)
}

/// A snapshot as the record of what expired says it. One that does not say what it replaced may have dropped something.
pub fn listed(metadata: &TableMetadata, snapshot: &Snapshot) -> Option<ListedSnapshot> {
    let summary = snapshot.summary();
    let replaced = summary.additional_properties.get(MANIFESTS_REPLACED);
    let is_plain_append =
        summary.operation == Operation::Append && replaced.is_some_and(|count| count == "0");
    Some(ListedSnapshot {
        id: snapshot.snapshot_id(),
        list: name_in_folder(metadata, snapshot.manifest_list())?.to_owned(),
        drops: !is_plain_append,
    })
}

/// Files that nothing needs any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Superfluous {
    /// Locations of data files.
    pub data_files: Vec<String>,
    /// Names of manifests.
    pub manifests: Vec<String>,
    /// Names of manifest lists and metadata files.
    pub lists_and_metadata: Vec<String>,
}

/// What an expired part of a table's history alone needed, as far as it is still there. Blocks.
pub fn superfluous(
    storage: &dyn TableStorage,
    target: &Target,
    expired: &Expired,
) -> Result<Superfluous> {
    let mut lists = Lists {
        storage,
        target,
        read: HashMap::new(),
    };
    let (mut data_files, mut manifests) = (BTreeSet::new(), BTreeSet::new());
    let table_location = storage.location(target);
    for (before, after) in expired.drops() {
        let (Some(before), Some(dropping)) = (lists.get(&before.list)?, lists.get(&after.list)?)
        else {
            continue;
        };
        let kept: BTreeSet<&str> = paths(&dropping).collect();
        let dropped = paths(&before).filter(|path| !kept.contains(path));
        let names = dropped.filter_map(|path| metadata_file_name(&table_location, path));
        manifests.extend(names.map(str::to_owned));
        for manifest in dropping.iter() {
            if manifest.added_snapshot_id == after.id
                && manifest.has_deleted_files()
                && let Some(name) = metadata_file_name(&table_location, &manifest.manifest_path)
                && let Some(bytes) = storage.read_metadata_file(target, name)?
            {
                data_files.extend(deleted_files(&bytes)?);
            }
        }
    }
    let snapshots = expired.snapshots.iter();
    let lists = snapshots.map(|snapshot| snapshot.list.clone());
    Ok(Superfluous {
        data_files: data_files.into_iter().collect(),
        manifests: manifests.into_iter().collect(),
        lists_and_metadata: lists.chain(expired.metadata_files.clone()).collect(),
    })
}

/// Locations of the files that a manifest says are deleted.
fn deleted_files(manifest: &[u8]) -> Result<Vec<String>> {
    let manifest = Manifest::parse_avro(manifest)?;
    let entries = manifest.entries().iter();
    let deleted = entries.filter(|entry| entry.status() == ManifestStatus::Deleted);
    Ok(deleted.map(|entry| entry.file_path().to_owned()).collect())
}

fn paths(manifests: &[ManifestFile]) -> impl Iterator<Item = &str> {
    manifests
        .iter()
        .map(|manifest| manifest.manifest_path.as_str())
}

/// Manifest lists, each read once.
struct Lists<'a> {
    storage: &'a dyn TableStorage,
    target: &'a Target,
    read: HashMap<String, Option<Rc<Vec<ManifestFile>>>>,
}

impl Lists<'_> {
    /// A list; `None` when it is not there.
    fn get(&mut self, name: &str) -> Result<Option<Rc<Vec<ManifestFile>>>> {
        if let Some(list) = self.read.get(name) {
            return Ok(list.clone());
        }
        let list = match self.storage.read_metadata_file(self.target, name)? {
            Some(bytes) => {
                let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2)?;
                Some(Rc::new(list.entries().to_vec()))
            }
            None => None,
        };
        self.read.insert(name.to_owned(), list.clone());
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
