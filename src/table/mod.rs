//! Tables: how a commit becomes a snapshot of an Apache Iceberg table (format version 2).
//!
//! * [`storage`] keeps a table's files; [`storage::TableStorage`] is what a commit needs of it.
//! * [`catalog`] knows each table's current metadata and moves that pointer; [`catalog::Catalog`].
//! * [`data_files`] makes data files of parts.
//! * [`metrics`] makes a manifest's entry from a data file's footer.
//! * [`snapshot`] writes manifests and builds the next metadata from the crate's public spec types.
//! * [`widening`] keeps older files' bounds in step with widened columns.
//! * [`commit`] puts them together.
//!
//! Ordering and durability of a commit: data files, manifests, manifest list, metadata file (each synced
//! with its folder), then one journal transaction that moves the table's pointer and records the session as
//! committed. What is written before that transaction is invisible; after it everything is there. The version
//! hint follows, with a note in the same transaction that it is due.

pub mod catalog;
pub mod commit;
mod data_files;
pub mod dry_run;
pub mod metrics;
pub mod snapshot;
pub mod storage;
mod values;
pub mod widening;

pub use catalog::{BaseTable, Catalog, JournalCatalog, Publication};
pub use storage::{LocalStorage, TableStorage};
