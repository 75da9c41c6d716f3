//! The handlers, a file per resource.

pub mod commits;
pub mod health;
pub mod parts;
pub mod sessions;
pub mod tokens;
