//! How much one user may do: sessions open, bytes staged ([`usage`]); requests and bytes a second ([`rates`]).
//!
//! Users are those of [`crate::auth`]; without authentication there are none, and nothing of this applies. Everything is counted
//! in memory, and nothing is counted that has no limit.

mod bucket;
pub mod rates;
pub mod usage;
