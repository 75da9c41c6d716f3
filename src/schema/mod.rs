//! The schema rules, all of them pure: which values a text column may become what for, how the parts
//! of a session agree on one schema, and how that schema meets a table's.
//!
//! * [`text_value`] recognises single values; [`evidence`] keeps what all values of a column allow,
//!   and [`nested`] what the objects and arrays among them have in common; [`json`] walks their text.
//! * [`types`] compares, widens and names Iceberg types and gives out field ids.
//! * [`unify`] makes one list of columns from the parts of a session.
//! * [`plan`] turns that list into a table schema: for a new table, an append, or a replacement.

pub mod evidence;
pub mod json;
pub mod nested;
pub mod plan;
pub mod text_value;
pub mod types;
pub mod unify;

pub use evidence::{CellKind, Evidence, TextType};
pub use plan::{Difference, SchemaPlan, TableColumns};
pub use unify::{Disagreement, UnifiedColumn, UnifiedType};
