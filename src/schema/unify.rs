//! One list of columns from all parts of a session.
//!
//! Columns are matched by name and stand in the order in which they first appear. Text columns meet by
//! intersecting what their values allow, which no order of parts can change. A typed column decides over
//! text columns of the same name, if their values fit it. What cannot meet is a [`Disagreement`].

use std::collections::HashMap;

use iceberg::spec::{PrimitiveType, Type};

use super::evidence::{Evidence, TextType};
use super::nested::{Nested, Shape, TextCause};
use super::text_value::{DateForm, DateForms};
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

impl UnifiedType {
    /// The type that the column gets where nothing else decides; `None` while it is open.
    pub fn own_type(&self) -> Option<Type> {
        match self {
            Self::Text(evidence) => types::of_evidence(evidence),
            Self::Typed(r#type) => Some(r#type.clone()),
            Self::Open => None,
        }
    }
}

impl UnifiedColumn {
    /// The type that the column gets where nothing else decides; `None` while it is open.
    pub fn own_type(&self) -> Option<Type> {
        self.content.own_type()
    }
}

/// Parts that cannot share a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Disagreement {
    /// The column.
    pub column: String,
    /// The part that does not fit the others.
    pub part: PartNumber,
    /// The type of the others.
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

/// In which form columns write their dates, where it is not `YYYY-MM-DD`.
pub type ColumnDates = HashMap<String, DateForm>;

/// In which form each column writes its dates, over all that is known of it. One whose parts do not agree has none.
pub fn column_dates<'a>(
    evidence: impl IntoIterator<Item = (&'a str, &'a Evidence)>,
) -> ColumnDates {
    let mut forms: HashMap<&str, DateForms> = HashMap::new();
    for (name, evidence) in evidence {
        if let Some(found) = evidence.date_forms() {
            let known = forms.entry(name).or_insert(DateForms::ALL);
            *known = known.intersection(found);
        }
    }
    let decided = forms.into_iter().filter_map(|(name, forms)| {
        let form = forms.decided().filter(|form| *form != DateForm::ISO);
        Some((name.to_owned(), form?))
    });
    decided.collect()
}

/// [`column_dates`] of the text columns of parts.
pub fn dates_of_parts<'a>(parts: impl IntoIterator<Item = &'a PartRecord>) -> ColumnDates {
    let columns = parts.into_iter().flat_map(|record| &record.columns);
    column_dates(columns.filter_map(|column| match &column.content {
        ColumnType::Text(evidence) => Some((column.name.as_str(), evidence)),
        ColumnType::Typed { .. } | ColumnType::Void => None,
    }))
}

/// Whether text values fit a type, without looking at them again.
pub fn fit(evidence: &Evidence, r#type: &Type) -> Fit {
    if evidence.text_type().is_none() {
        return Fit::Yes;
    }
    let Type::Primitive(primitive) = r#type else {
        return evidence
            .nested()
            .map_or(Fit::No, |nested| fit_nested(nested, r#type));
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

/// Whether nested values fit a type: it must have every field that they have, and may have more.
fn fit_nested(nested: &Nested, r#type: &Type) -> Fit {
    match (&nested.shape, r#type) {
        (Shape::Object(fields), Type::Struct(target)) => {
            let lacks = |name: &str| fields.iter().all(|field| field.name != name);
            if target
                .fields()
                .iter()
                .any(|field| field.required && lacks(&field.name))
            {
                return Fit::No;
            }
            let each = fields.iter().map(|field| {
                let target = target.field_by_name(&field.name);
                target.map_or(Fit::No, |target| fit(&field.evidence, &target.field_type))
            });
            each.fold(Fit::Yes, Fit::and)
        }
        (Shape::Array(element), Type::List(target)) => {
            fit(element, &target.element_field.field_type)
        }
        (Shape::Object(_) | Shape::Array(_) | Shape::Text(_), _) => Fit::No,
    }
}

impl Fit {
    /// Of two that must both hold.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Untold, _) | (_, Self::Untold) => Self::Untold,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// Keeps a nested column as JSON text where the path of a field in it would be another column's name, as with
/// a field `b` of `a` beside a column `a.b`.
pub fn keep_names_apart(columns: &mut [UnifiedColumn]) {
    let dotted: Vec<String> = columns
        .iter()
        .map(|column| &column.name)
        .filter(|name| name.contains('.'))
        .cloned()
        .collect();
    for column in columns.iter_mut().filter(|_| !dotted.is_empty()) {
        let prefix = format!("{}.", column.name);
        if let UnifiedType::Text(evidence) = &mut column.content
            && evidence.nested().is_some()
            && dotted.iter().any(|name| name.starts_with(&prefix))
        {
            evidence.keep_as_json_text(TextCause::Beside);
        }
    }
}

/// What the parts say about one column.
#[derive(Default)]
struct Statements<'a> {
    text: Vec<(PartNumber, &'a Evidence)>,
    typed: Vec<(PartNumber, &'a Type)>,
}

/// The columns of all parts, or every disagreement.
pub fn unify<'a>(
    parts: impl IntoIterator<Item = &'a PartRecord>,
) -> Result<Vec<UnifiedColumn>, Vec<Disagreement>> {
    let mut names: Vec<&str> = Vec::new();
    let mut statements: Vec<Statements<'a>> = Vec::new();
    let mut index_by_name: HashMap<&str, usize> = HashMap::new();
    for record in parts {
        for column in &record.columns {
            let index = *index_by_name.entry(&column.name).or_insert_with(|| {
                names.push(&column.name);
                statements.push(Statements::default());
                names.len() - 1
            });
            match &column.content {
                ColumnType::Text(evidence) => statements[index].text.push((record.part, evidence)),
                ColumnType::Typed { r#type, .. } => {
                    statements[index].typed.push((record.part, r#type));
                }
                ColumnType::Void => {}
            }
        }
    }
    let mut columns = Vec::with_capacity(names.len());
    let mut disagreements = Vec::new();
    for (name, statements) in names.into_iter().zip(&statements) {
        columns.push(UnifiedColumn {
            name: name.to_owned(),
            content: statements.meet(name, &mut disagreements),
        });
    }
    keep_names_apart(&mut columns);
    if disagreements.is_empty() {
        Ok(columns)
    } else {
        Err(disagreements)
    }
}

impl Statements<'_> {
    /// What the column is. Typed parts first, so that no order of parts matters.
    fn meet(&self, name: &str, disagreements: &mut Vec<Disagreement>) -> UnifiedType {
        let mut disagree = |part, expected: &UnifiedType, found| {
            disagreements.push(Disagreement {
                column: name.to_owned(),
                part,
                expected: describe(expected),
                found,
            });
        };
        let mut content = UnifiedType::Open;
        for (part, r#type) in &self.typed {
            let known = match &content {
                UnifiedType::Typed(known) => types::common(known, r#type),
                UnifiedType::Text(_) | UnifiedType::Open => Some((*r#type).clone()),
            };
            match known {
                Some(known) => content = UnifiedType::Typed(known),
                None => disagree(*part, &content, types::logical_name(r#type)),
            }
        }
        if let UnifiedType::Typed(r#type) = &content {
            // A part whose dates nothing decides takes the form of the others.
            let mut forms = DateForms::ALL;
            for found in self.text.iter().filter_map(|(_, one)| one.date_forms()) {
                forms = forms.intersection(found);
            }
            for (part, evidence) in &self.text {
                let evidence = evidence.with_date_forms(forms);
                if fit(&evidence, r#type) == Fit::No {
                    let found = describe_part(&ColumnType::Text(evidence.into_owned()));
                    disagree(*part, &content, found);
                }
            }
            return content;
        }
        let mut merged = Evidence::default();
        for (_, evidence) in &self.text {
            merged.merge(evidence);
        }
        match merged.text_type() {
            Some(_) => UnifiedType::Text(merged),
            None => UnifiedType::Open,
        }
    }
}

fn describe(content: &UnifiedType) -> String {
    types::name_or_null(content.own_type().as_ref())
}

/// A part's own type of a column; `None` when it has only nulls.
pub fn part_type(content: &ColumnType) -> Option<Type> {
    match content {
        ColumnType::Text(evidence) => types::of_evidence(evidence),
        ColumnType::Typed { r#type, .. } => Some(r#type.clone()),
        ColumnType::Void => None,
    }
}

/// A part's own type of a column, for people.
pub fn describe_part(content: &ColumnType) -> String {
    types::name_or_null(part_type(content).as_ref())
}

#[cfg(test)]
mod tests;
