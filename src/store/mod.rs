//! What is on the disk, apart from tables: durable file primitives, the journal (sled) with its
//! records, the staging folder, and the packs that small parts share.
//!
//! Order of durability of a part: file bytes, file name, folder (of a small one: the pack's bytes), then the journal's record,
//! then the acknowledgement. A file without a record is garbage; a record without its file cannot happen.

pub mod credentials;
pub mod durable;
pub mod fault;
pub mod journal;
pub mod keys;
pub mod layout;
pub mod pace;
pub mod packs;
pub mod records;
pub mod staging;
