//! What the parts hold, and the rules for its types, as the README has them, over cells whose type leaves no doubt.

use serde_json::{Value, json};

/// One value, written so that only one rule applies to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Boolean(bool),
    Whole(i32),
    /// The number and a half.
    Fraction(i32),
    /// A day of March 2024, from the 15th to the 28th.
    Date(u8),
    Text(u8),
}

/// The type of a column; `Null` while it has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Whole,
    Fraction,
    Date,
    Text,
}

impl Cell {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Boolean(_) => Kind::Boolean,
            Self::Whole(_) => Kind::Whole,
            Self::Fraction(_) => Kind::Fraction,
            Self::Date(_) => Kind::Date,
            Self::Text(_) => Kind::Text,
        }
    }

    /// As a CSV has it.
    pub fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Boolean(value) => value.to_string(),
            Self::Whole(value) => value.to_string(),
            Self::Fraction(value) => (f64::from(*value) + 0.5).to_string(),
            Self::Date(day) => format!("2024-03-{}", 15 + day % 14),
            Self::Text(value) => format!("word {value}"),
        }
    }

    /// As a reader must find it in a column of this type.
    pub fn read_as(&self, kind: Kind) -> Value {
        match (self, kind) {
            (Self::Null, _) => Value::Null,
            (Self::Boolean(value), Kind::Boolean) => json!(value),
            (Self::Whole(value), Kind::Whole) => json!(value),
            (Self::Whole(value), Kind::Fraction) => json!(f64::from(*value)),
            (Self::Fraction(value), Kind::Fraction) => json!(f64::from(*value) + 0.5),
            (Self::Date(_), Kind::Date) | (_, Kind::Text) => json!(self.text()),
            _ => panic!("{self:?} cannot be in a column of type {kind:?}"),
        }
    }
}

impl Kind {
    /// The type of a column with values of both types.
    pub fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, one) | (one, Self::Null) => one,
            (one, other) if one == other => one,
            (Self::Whole, Self::Fraction) | (Self::Fraction, Self::Whole) => Self::Fraction,
            _ => Self::Text,
        }
    }

    /// Whether a column of this type takes values of another without changing.
    pub fn takes(self, other: Self) -> bool {
        self.meet(other) == self
    }

    /// In answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Boolean => "BOOLEAN",
            Self::Whole => "INT64",
            Self::Fraction => "FLOAT64",
            Self::Date => "DATE",
            Self::Text => "VARCHAR",
        }
    }

    /// In a table; without a value it is text for readers.
    pub fn iceberg_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Whole => "long",
            Self::Fraction => "double",
            Self::Date => "date",
            Self::Null | Self::Text => "string",
        }
    }
}

/// A column of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: &'static str,
    pub cells: Vec<Cell>,
}

impl Column {
    pub fn kind(&self) -> Kind {
        kind_of(self.cells.iter())
    }

    /// What the server says of nulls: a column without a value has them.
    pub fn is_nullable(&self) -> bool {
        self.kind() == Kind::Null || self.cells.contains(&Cell::Null)
    }
}

fn kind_of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Kind {
    cells.map(Cell::kind).fold(Kind::Null, Kind::meet)
}

/// A part that can be read. Without columns it is an empty file.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub columns: Vec<Column>,
}

impl Part {
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.cells.len())
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn csv(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let mut lines = vec![names.join(",")];
        for row in 0..self.rows() {
            let texts: Vec<String> = self
                .columns
                .iter()
                .map(|column| column.cells[row].text())
                .collect();
            lines.push(texts.join(","));
        }
        match self.columns.is_empty() {
            true => String::new(),
            false => lines.join("\n") + "\n",
        }
    }
}

/// Names and types of the columns of several parts, in order of first appearance.
pub fn unified<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<(&'static str, Kind)> {
    let mut columns: Vec<(&'static str, Kind)> = Vec::new();
    for column in parts.flat_map(|part| &part.columns) {
        match columns.iter_mut().find(|(name, _)| *name == column.name) {
            Some((_, kind)) => *kind = kind.meet(column.kind()),
            None => columns.push((column.name, column.kind())),
        }
    }
    columns
}
