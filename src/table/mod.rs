//! Tables: how a commit becomes a snapshot of an Apache Iceberg table (format version 2).
//!
//! * [`storage`] keeps a table's files; [`storage::TableStorage`] is what a commit needs of it.
//! * [`catalog`] knows each table's current metadata and moves that pointer; [`catalog::Catalog`]; [`cache`] keeps what was
//!   written lately.
//! * `data_files` makes data files of parts.
//! * [`metrics`] makes a manifest's entry from a data file's footer.
//! * [`snapshot`] writes manifests and builds the next metadata from the crate's public spec types.
//! * [`settings`] are a table's properties, [`merging`] says which manifests become one; both are pure.
//! * [`history`] says what the expired part of a table's history alone needed; [`removal`] removes it.
//! * [`widening`] keeps older files' bounds in step with widened columns.
//! * [`commit`] plans a commit; [`group`] publishes commits, several of one table together.
//!
//! Ordering and durability of a commit: data files, manifests, manifest list and metadata file (made durable together; nothing refers
//! to them yet), then one journal transaction that moves the table's pointer and records the sessions as
//! committed. What is written before that transaction is invisible; after it everything is there. The version
//! hint follows, with a note in the same transaction that it is due; and so does the removal of what the transaction expired.

pub mod cache;
pub mod catalog;
pub mod commit;
mod data_files;
pub mod dry_run;
pub mod group;
pub mod history;
pub mod merging;
pub mod metrics;
pub mod recent;
pub mod removal;
pub mod settings;
pub mod snapshot;
pub mod storage;
mod values;
pub mod widening;

pub use catalog::{BaseTable, Catalog, JournalCatalog, Publication};
pub use storage::{LocalStorage, TableStorage};
