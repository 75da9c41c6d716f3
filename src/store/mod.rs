//! What is on the disk, apart from tables: durable file primitives, the journal (sled) with its
//! records, and the staging folder.
//!
//! Order of durability of a part: file bytes, file name, folder, then the journal's record, then the
//! acknowledgement. A file without a record is garbage; a record without its file cannot happen.

pub mod durable;
pub mod fault;
pub mod journal;
pub mod keys;
pub mod layout;
pub mod records;
pub mod staging;
