//! Removes what expired snapshots alone needed, some time after they expired, so that a query that began before can end.
//!
//! What is due is in the journal since the publication that expired it. Data files go first, then manifests, then lists; each is
//! durable before the next, and all before the record goes. So a crash leaves a record of which everything that is not yet removed
//! can still be found ([`history`]). What cannot be read or removed now stays due.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;

use super::catalog::{Catalog, DueRemoval};
use super::history::{self, Superfluous};
use super::storage::TableStorage;
use crate::error::Result;

/// Records that are settled together: their folders are synced once.
const RECORDS_AT_ONCE_MAX: usize = 1000;

/// Removes what became superfluous at this time or earlier; gives the number of files. Blocks; must run on a thread of a tokio
/// runtime's blocking pool.
pub fn remove_due(
    catalog: &dyn Catalog,
    storage: &dyn TableStorage,
    until: DateTime<Utc>,
) -> Result<usize> {
    let mut removed_files = 0;
    let mut failed = BTreeSet::new();
    loop {
        let due = catalog.due_removals(until, &failed, RECORDS_AT_ONCE_MAX)?;
        if due.is_empty() {
            return Ok(removed_files);
        }
        let mut removed = Vec::new();
        for one in due {
            match remove(storage, &one) {
                Ok(files) => {
                    removed_files += files;
                    removed.push(one);
                }
                Err(error) => {
                    tracing::warn!(table = %one.target, %error, "files of expired snapshots stay for now");
                    failed.insert(one.key);
                }
            }
        }
        let targets: BTreeSet<_> = removed.iter().map(|one| &one.target).collect();
        for target in targets {
            storage.sync_metadata_folder(target)?;
        }
        let keys: Vec<Vec<u8>> = removed.into_iter().map(|one| one.key).collect();
        if !keys.is_empty() {
            Handle::current().block_on(catalog.removed(keys))?;
        }
    }
}

fn remove(storage: &dyn TableStorage, due: &DueRemoval) -> Result<usize> {
    let target = &due.target;
    let Superfluous {
        data_files,
        manifests,
        lists_and_metadata,
    } = history::superfluous(storage, target, &due.expired)?;
    let mut removed = 0;
    if !data_files.is_empty() {
        removed += storage.remove_data_files(target, &data_files)?;
    }
    if !manifests.is_empty() {
        removed += storage.remove_metadata_files(target, &manifests)?;
        storage.sync_metadata_folder(target)?;
    }
    Ok(removed + storage.remove_metadata_files(target, &lists_and_metadata)?)
}
