//! The common type of the objects and arrays of one column.
//!
//! Owns [`Nested`], the part of a column's evidence that says what stands inside of its JSON values: a
//! struct has the fields of all objects (one that an object lacks is null there), a list has one
//! element that stands for all. Each field and element has evidence of its own, by the same rules as
//! a column, so a field whose values have no common type is text in a struct that goes on.
//!
//! Values are kept as JSON text, exactly as they were sent, where they have no common nested type; why is a
//! [`TextCause`]: scalars beside objects or arrays, objects beside arrays, objects without any key,
//! names that a table cannot keep apart, or more levels, fields or elements than the limits here.
//!
//! Invariants:
//! * Fields are only ever added and text stays text, so the type does not depend on the order of
//!   values or parts; limits aside, which are looked at as a column grows. The order of fields is that of their
//!   first appearance, parts in the order of their numbers.
//! * A field of which only nulls are known is text, since Iceberg has no type for it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::json;

/// Levels of a struct or list column. Records and table metadata nest several JSON levels for each, and their readers
/// stop at 128.
pub const NESTED_LEVELS_MAX: usize = 16;
/// Fields and elements, at all levels together, of one column.
pub const NESTED_FIELDS_MAX: usize = 1000;
/// Cells that the elements of one value may make: a list of structs has every field for every element.
const NESTED_CELLS_MAX: u64 = 4_000_000;
/// Bytes of a field's name.
const FIELD_NAME_BYTES_MAX: usize = 255;

/// What the nested values of a column, seen so far, have in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Nested {
    /// The common shape.
    pub shape: Shape,
    /// Elements, of arrays at all levels, of the value that has most of them.
    elements_max: u64,
}

/// A shape.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Objects only, with the fields of all of them.
    Object(Vec<Field>),
    /// Arrays only, with what their elements are.
    Array(Box<Evidence>),
    /// No common shape.
    Text(TextCause),
}

/// A field of a struct.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Field {
    /// Its key.
    pub name: String,
    /// What its values are. An object that lacks the key is not counted.
    pub evidence: Evidence,
}

/// Why values have no common nested type. Where several causes hold, the one found first is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextCause {
    /// Scalars, objects and arrays are mixed.
    Mixed,
    /// A key is empty, too long, or has a dot or a control character.
    Names,
    /// Two keys differ only in letter case.
    LetterCase,
    /// A key stands twice in one object.
    Repeated,
    /// A field's path would be the name of another column.
    Beside,
    /// More levels, fields or elements than the limits.
    TooLarge,
}

impl TextCause {
    /// Half a sentence for people, after the column's name.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Mixed => "holds values of different shapes (plain values, objects, arrays)",
            Self::Names => {
                "has a key that is empty, longer than 255 bytes, or has a dot or a control character"
            }
            Self::LetterCase => "has keys that differ only in letter case",
            Self::Repeated => "has a key that stands twice in one object",
            Self::Beside => "has a field whose path is the name of another column",
            Self::TooLarge => "has more levels, fields or elements than a nested column may have",
        }
    }
}

/// What one top-level value added.
#[derive(Default)]
pub(super) struct Tally {
    elements: u64,
    new_fields: usize,
}

impl Nested {
    /// Text, for this reason.
    pub(super) const fn text(cause: TextCause) -> Self {
        Self {
            shape: Shape::Text(cause),
            elements_max: 0,
        }
    }

    /// The shape of no value, to observe this one as the first.
    pub(super) fn for_value(text: &str) -> Self {
        let shape = if text.starts_with('{') {
            Shape::Object(Vec::new())
        } else {
            Shape::Array(Box::default())
        };
        Self {
            shape,
            elements_max: 0,
        }
    }

    /// Whether the values are kept as JSON text.
    pub const fn is_text(&self) -> bool {
        matches!(self.shape, Shape::Text(_))
    }

    /// Fields and elements, each with what is nested in it.
    pub fn leaves(&self) -> usize {
        let inner = |evidence: &Evidence| 1 + evidence.nested().map_or(0, Self::leaves);
        match &self.shape {
            Shape::Object(fields) => fields.iter().map(|field| inner(&field.evidence)).sum(),
            Shape::Array(element) => inner(element),
            Shape::Text(_) => 0,
        }
    }

    /// Takes a value of a column into account.
    pub(super) fn observe(&mut self, text: &str) {
        let mut tally = Tally::default();
        self.observe_at(text, 1, &mut tally);
        if tally.new_fields > 0 || tally.elements > self.elements_max {
            self.elements_max = self.elements_max.max(tally.elements);
            self.limit();
        }
    }

    /// Takes a value on this level into account.
    pub(super) fn observe_at(&mut self, text: &str, level: usize, tally: &mut Tally) {
        let observed = match &mut self.shape {
            Shape::Text(_) => return,
            _ if level > NESTED_LEVELS_MAX => Err(TextCause::TooLarge),
            Shape::Object(fields) if text.starts_with('{') => {
                observe_object(fields, text, level, tally)
            }
            Shape::Array(element) if text.starts_with('[') => {
                for value in json::elements(text) {
                    tally.elements += 1;
                    let (kind, text) = json::cell(value);
                    element.observe_at(kind, &text, level + 1, tally);
                }
                Ok(())
            }
            Shape::Object(_) | Shape::Array(_) => Err(TextCause::Mixed),
        };
        if let Err(cause) = observed {
            *self = Self::text(cause);
        }
    }

    /// Takes everything into account that the other saw.
    pub(super) fn merge(&mut self, other: &Self) {
        let merged = match (&mut self.shape, &other.shape) {
            (Shape::Text(_), _) => return,
            (_, Shape::Text(cause)) => Err(*cause),
            (Shape::Object(fields), Shape::Object(others)) => merge_fields(fields, others),
            (Shape::Array(element), Shape::Array(other)) => {
                element.merge(other);
                Ok(())
            }
            (Shape::Object(_) | Shape::Array(_), _) => Err(TextCause::Mixed),
        };
        match merged {
            Ok(()) => {
                self.elements_max = self.elements_max.max(other.elements_max);
                self.limit();
            }
            Err(cause) => *self = Self::text(cause),
        }
    }

    fn limit(&mut self) {
        let leaves = self.leaves();
        let cells = (leaves as u64).saturating_mul(self.elements_max);
        if leaves > NESTED_FIELDS_MAX || cells > NESTED_CELLS_MAX {
            *self = Self::text(TextCause::TooLarge);
        }
    }

    /// Gives each place that fell back to text, as its path below the column, with the cause.
    pub fn for_each_text(&self, path: &str, found: &mut dyn FnMut(&str, TextCause)) {
        match &self.shape {
            Shape::Text(cause) => found(path, *cause),
            Shape::Object(fields) => {
                for field in fields {
                    if let Some(nested) = field.evidence.nested() {
                        nested.for_each_text(&format!("{path}.{}", field.name), found);
                    }
                }
            }
            Shape::Array(element) => {
                if let Some(nested) = element.nested() {
                    nested.for_each_text(&format!("{path}[]"), found);
                }
            }
        }
    }
}

fn observe_object(
    fields: &mut Vec<Field>,
    text: &str,
    level: usize,
    tally: &mut Tally,
) -> Result<(), TextCause> {
    // Keys mostly come in the order of the fields, so the search starts behind the last one found.
    let mut expected = 0;
    let mut is_in_order = true;
    for (key, value) in json::members(text) {
        let index = match position(fields, &key, expected) {
            Some(index) => index,
            None => {
                check_name(fields, &key)?;
                tally.new_fields += 1;
                if tally.new_fields > NESTED_FIELDS_MAX {
                    return Err(TextCause::TooLarge);
                }
                fields.push(Field {
                    name: key.into_owned(),
                    evidence: Evidence::default(),
                });
                fields.len() - 1
            }
        };
        is_in_order &= index >= expected;
        expected = index + 1;
        let (kind, text) = json::cell(value);
        fields[index]
            .evidence
            .observe_at(kind, &text, level + 1, tally);
    }
    // A key can stand twice only where one came again after a later one.
    if !is_in_order {
        let mut seen = HashSet::new();
        if !json::members(text).all(|(key, _)| seen.insert(key)) {
            return Err(TextCause::Repeated);
        }
    }
    Ok(())
}

/// The index of the field, searched from the expected one on and then from the front.
fn position(fields: &[Field], name: &str, expected: usize) -> Option<usize> {
    let (front, back) = fields.split_at(expected.min(fields.len()));
    back.iter()
        .position(|field| field.name == name)
        .map(|index| index + front.len())
        .or_else(|| front.iter().position(|field| field.name == name))
}

/// Refuses a new name that a table cannot keep apart from the others.
fn check_name(fields: &[Field], name: &str) -> Result<(), TextCause> {
    let is_odd = name.is_empty()
        || name.len() > FIELD_NAME_BYTES_MAX
        || name
            .chars()
            .any(|character| character == '.' || character.is_control());
    let clashes = || {
        let folded = name.to_lowercase();
        fields
            .iter()
            .any(|field| field.name.to_lowercase() == folded)
    };
    if is_odd {
        Err(TextCause::Names)
    } else if clashes() {
        Err(TextCause::LetterCase)
    } else {
        Ok(())
    }
}

fn merge_fields(fields: &mut Vec<Field>, others: &[Field]) -> Result<(), TextCause> {
    for (expected, other) in others.iter().enumerate() {
        match position(fields, &other.name, expected) {
            Some(index) => fields[index].evidence.merge(&other.evidence),
            None => {
                check_name(fields, &other.name)?;
                fields.push(other.clone());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
