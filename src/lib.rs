//! Calve takes files in over HTTP, part by part; one commit turns them into a snapshot of an Apache Iceberg
//! table.
//!
//! # Bird's-eye view
//!
//! ```text
//!            http ───────> upload ──────> ingest ──────> schema
//!             │              │ bytes to disk │ data file    (pure rules)
//!             v              v               v
//!          actors: supervisor ─> session ─> committer ──> table ──> warehouse (Iceberg)
//!                                   │                       │
//!                                   └──── store: journal (sled), staging ────┘
//! ```
//!
//! # Code map
//!
//! * [`domain`]: what an upload is. Ids, parts, the session's state machine. *Invariant: no I/O, no actix, no
//!   clock; time comes in as an argument.*
//! * [`schema`]: which values may become which type, how parts agree, how they meet a table. *Invariant: pure;
//!   a decision never depends on the order of rows or parts.*
//! * [`ingest`]: from bytes to a data file. *Invariant: memory is bounded by limits, not by what a file claims.*
//! * [`store`]: durable file primitives, journal, staging folder. *Invariant: nobody else calls fsync or rename;
//!   nothing is acknowledged before the sync that covers it.*
//! * [`table`]: Iceberg metadata, catalog, commit. *Invariant: a table's pointer and its session's record change in
//!   one transaction.*
//! * [`actors`]: who owns what, and in which order. *Invariant: part bytes never pass through a mailbox; no handler
//!   blocks.*
//! * [`auth`]: who asks. *Invariant: a credential that proves nothing is refused in one way; what somebody may do is decided
//!   in [`domain::access`].*
//! * [`quotas`]: how much one user may do. [`audit`]: who changed what. [`mod@tls`]: the certificate.
//! * [`admission`]: whether a part may come: space, bytes staged, parts in flight. [`turns`]: when it is converted.
//! * [`upload`]: one part, from the socket to the acknowledgement.
//! * [`http`]: routes, who may come to them, answers, errors, the OpenAPI document. *Invariant: the only home of status codes.*
//! * [`mod@check`]: compares all of this with each other. *Invariant: it removes nothing unless asked to.*
//! * [`control`]: how other commands reach a running server.
//! * [`serve`]: puts it together, and takes it apart in order.
//!
//! # Invariants
//!
//! What is promised to users, with the tests that try to break it, is the README's table of guarantees; the ids are the same.
//!
//! | id | what always holds | kept by |
//! |---|---|---|
//! | P1 | a part that was acknowledged is on stable storage: bytes, name, record | [`upload`], [`store::staging`], [`store::journal`] |
//! | P2 | a part number has one content; a replacement is seen whole or not at all | [`actors`] (session), [`store::records`] |
//! | P3 | an acknowledged deletion stays one | [`store::records`] |
//! | S1 | a session's state only changes as its diagram says | [`domain::session`] |
//! | C1 | a session is in at most one snapshot | [`table::catalog`] |
//! | C2 | rows in the snapshot = rows read from the parts | [`mod@ingest::convert`], [`table::commit`] |
//! | C3 | the snapshots of a table form one chain | [`table::catalog`], [`actors`] (committer) |
//! | G1 | nothing that a record refers to is removed | [`actors::janitor`], [`domain::cleaning`] |
//! | G2 | what nothing refers to goes by itself | [`actors::janitor`], [`table::commit`] |
//! | R1 | recovery can be cut off and done again | [`store::journal`], [`serve`] |
//! | R2 | a start reads no session and no table | [`serve`] |
//! | D1 | after a failed sync nothing is acknowledged; a full disk is refused before it is met | [`store::journal`], [`admission`] |
//! | U1 | every record and store has a version; older ones are read, newer ones refused | [`store::records`], [`store::journal`] |
//! | K1 | a repair removes nothing that is referenced, or of which that cannot be told | [`mod@check`] |
//! | A1 | nobody does what nothing allows them | [`auth`], [`domain::access`], [`http::guard`] |
//! | V1 | a value is stored as what it says, or refused by row, column and value | [`schema::evidence`], [`ingest::encode`] |
//!
//! # Walkthrough: a part
//!
//! `PUT /v1/upload/{id}?part=3` arrives. [`http::routes::parts`] reads parameters and headers and calls
//! [`upload::Uploads::store`], which asks the session's actor whether part 3 may come (it answers with a
//! generation, which names the upload's files), streams the body to the staging folder, and has
//! [`ingest::convert::discover`] read all of it on a blocking thread: columns, types, rows, and a Parquet file with
//! the types as they look. Both files are synced and renamed, the folder is synced, then the actor queues the
//! part's record in the journal. When the group of writes it belongs to is synced, the client gets its 201. A small text part
//! goes into a pack ([`store::packs`]) instead, which the journal syncs before the records of its group, and has no data file yet.
//!
//! # Walkthrough: a commit
//!
//! `POST …/commit` becomes a message to the session's actor, which freezes its parts and hands itself to the
//! target's committer. [`table::commit`] loads the table, plans the schema ([`schema::plan`]), records its intent, links the early data
//! files into the table's folder (or converts a part again when its early types were not the final ones), writes
//! manifests and metadata, and publishes: one journal transaction. The answer is stored with the session, so
//! every repeat gets it.

pub mod actors;
pub mod admission;
pub mod audit;
pub mod auth;
pub mod bench;
pub mod blocking;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod domain;
pub mod error;
pub mod http;
pub mod ingest;
pub mod quotas;
pub mod schema;
pub mod serve;
pub mod store;
pub mod table;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod turns;
pub mod upload;
