//! One list of columns from all parts of a session.
//!
//! Columns are matched by name and stand in the order in which they first appear. Text columns meet by
//! intersecting what their values allow, which no order of parts can change. A typed column decides over
//! text columns of the same name, if their values fit it. What cannot meet is a [`Disagreement`].

use std::collections::HashMap;

use iceberg::spec::{PrimitiveType, Type};

use super::evidence::{Evidence, TextType};
use super::types;
use crate::domain::{ColumnType, PartNumber, PartRecord};

/// What a column is over all parts.
#[derive(Debug, Clone, PartialEq)]
pub enum UnifiedType {
    /// Text formats only: what all values allow.
    Text(Evidence),
    /// At least one part says the type.
    Typed(Type),
    /// Nothing but nulls anywhere.
    Open,
}

/// A column over all parts.
#[derive(Debug, Clone, PartialEq)]
pub struct UnifiedColumn {
    /// Its name.
    pub name: String,
    /// What it is.
    pub content: UnifiedType,
}

impl UnifiedColumn {
    /// The type that the column gets where nothing else decides; `None` while it is open.
    pub fn own_type(&self) -> Option<Type> {
        match &self.content {
            UnifiedType::Text(evidence) => evidence.text_type().map(types::of_text),
            UnifiedType::Typed(r#type) => Some(r#type.clone()),
            UnifiedType::Open => None,
        }
    }
}

/// Parts that cannot share a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Disagreement {
    /// The column.
    pub column: String,
    /// The part that does not fit the ones before it.
    pub part: PartNumber,
    /// The type of the ones before.
    pub expected: String,
    /// The type in this part.
    pub found: String,
}

/// Whether values with this evidence fit a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Every one of them does.
    Yes,
    /// The evidence does not tell; converting will.
    Untold,
    /// At least one does not.
    No,
}

/// Whether text values fit a type, without looking at them again.
pub fn fit(evidence: &Evidence, r#type: &Type) -> Fit {
    if evidence.text_type().is_none() {
        return Fit::Yes;
    }
    let Type::Primitive(primitive) = r#type else {
        return Fit::No;
    };
    let allows = |text_type| {
        if evidence.allows(text_type) {
            Fit::Yes
        } else {
            Fit::No
        }
    };
    match primitive {
        PrimitiveType::String => Fit::Yes,
        PrimitiveType::Boolean => allows(TextType::Boolean),
        PrimitiveType::Int if evidence.fits_int32() => Fit::Yes,
        PrimitiveType::Int => Fit::No,
        PrimitiveType::Long => allows(TextType::Int64),
        PrimitiveType::Double => allows(TextType::Float64),
        PrimitiveType::Date => allows(TextType::Date),
        PrimitiveType::Timestamp => allows(TextType::Timestamp),
        PrimitiveType::Timestamptz => allows(TextType::TimestampTz),
        PrimitiveType::Float | PrimitiveType::Decimal { .. } | PrimitiveType::Time => Fit::Untold,
        PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs
        | PrimitiveType::Uuid
        | PrimitiveType::Fixed(_)
        | PrimitiveType::Binary => Fit::No,
    }
}

/// The columns of all parts, or every disagreement.
pub fn unify<'a>(
    parts: impl IntoIterator<Item = &'a PartRecord>,
) -> Result<Vec<UnifiedColumn>, Vec<Disagreement>> {
    let mut columns: Vec<UnifiedColumn> = Vec::new();
    let mut index_by_name: HashMap<&str, usize> = HashMap::new();
    // Text parts that came before a typed part of the same column fit it or not by all their values.
    let mut text_before: HashMap<usize, Evidence> = HashMap::new();
    let mut disagreements = Vec::new();
    for record in parts {
        for column in &record.columns {
            let index = *index_by_name.entry(&column.name).or_insert_with(|| {
                columns.push(UnifiedColumn {
                    name: column.name.clone(),
                    content: UnifiedType::Open,
                });
                columns.len() - 1
            });
            let before = text_before.entry(index).or_default();
            let unified = &mut columns[index];
            match meet(&unified.content, before, &column.content) {
                Some(content) => unified.content = content,
                None => disagreements.push(Disagreement {
                    column: column.name.clone(),
                    part: record.part,
                    expected: describe(&unified.content),
                    found: describe_part(&column.content),
                }),
            }
            if let ColumnType::Text(evidence) = &column.content {
                before.merge(evidence);
            }
        }
    }
    if disagreements.is_empty() {
        Ok(columns)
    } else {
        Err(disagreements)
    }
}

/// What a column is after one more part; `None` when the part does not fit. `text` is the evidence of
/// the text parts so far.
fn meet(so_far: &UnifiedType, text: &Evidence, incoming: &ColumnType) -> Option<UnifiedType> {
    let typed_over_text = |r#type: &Type, evidence: &Evidence| {
        (fit(evidence, r#type) != Fit::No).then(|| UnifiedType::Typed(r#type.clone()))
    };
    match (so_far, incoming) {
        (unchanged, ColumnType::Void) => Some(unchanged.clone()),
        (UnifiedType::Open | UnifiedType::Text(_), ColumnType::Text(evidence)) => {
            let mut merged = text.clone();
            merged.merge(evidence);
            Some(match merged.text_type() {
                Some(_) => UnifiedType::Text(merged),
                None => UnifiedType::Open,
            })
        }
        (UnifiedType::Typed(r#type), ColumnType::Text(evidence)) => {
            typed_over_text(r#type, evidence)
        }
        (UnifiedType::Open, ColumnType::Typed { r#type, .. }) => {
            Some(UnifiedType::Typed(r#type.clone()))
        }
        (UnifiedType::Text(evidence), ColumnType::Typed { r#type, .. }) => {
            typed_over_text(r#type, evidence)
        }
        (UnifiedType::Typed(known), ColumnType::Typed { r#type, .. }) => {
            types::common(known, r#type).map(UnifiedType::Typed)
        }
    }
}

fn describe(content: &UnifiedType) -> String {
    let column = UnifiedColumn {
        name: String::new(),
        content: content.clone(),
    };
    column
        .own_type()
        .map_or_else(|| "NULL".to_owned(), |r#type| types::logical_name(&r#type))
}

/// A part's own type of a column, for people.
pub fn describe_part(content: &ColumnType) -> String {
    match content {
        ColumnType::Text(evidence) => evidence.text_type().map(types::of_text),
        ColumnType::Typed { r#type, .. } => Some(r#type.clone()),
        ColumnType::Void => None,
    }
    .map_or_else(|| "NULL".to_owned(), |r#type| types::logical_name(&r#type))
}
