//! From the columns of a session to a table's schema.
//!
//! * [`create`]: a new table takes the columns as they are, field ids from 1.
//! * [`append`]: columns meet the table's by name; what Iceberg allows is widened; everything else that
//!   does not fit is a [`Difference`], and all of them are reported at once.
//! * [`replace`]: the columns as they are; a column keeps its field id when its type stays.
//!
//! **Open columns.** A column of which only nulls are known is a text column for readers, and its field
//! id stands in the table property [`OPEN_COLUMNS_PROPERTY`]. When values arrive it becomes what they are:
//! text keeps the field id, anything else takes a new one in the same place. All data before is null either
//! way, so nothing is lost, and no all-null file ever pins a type.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Type};
use serde::Serialize;

use super::types::{self, FieldIds};
use super::unify::{Fit, UnifiedColumn, UnifiedType, fit};
use crate::domain::SchemaEvolution;

/// Table property: JSON list of the field ids of open columns.
pub const OPEN_COLUMNS_PROPERTY: &str = "calve.open-columns";

/// A table's columns as the rules need them.
#[derive(Debug, Clone, PartialEq)]
pub struct TableColumns {
    /// Top-level fields, in order.
    pub fields: Vec<NestedFieldRef>,
    /// Highest field id ever given out.
    pub last_column_id: i32,
    /// Ids of columns that are all null so far.
    pub open: BTreeSet<i32>,
}

impl TableColumns {
    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&NestedFieldRef> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn is_open(&self, field: &NestedField) -> bool {
        self.open.contains(&field.id)
    }
}

/// The schema that a commit will give a table.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaPlan {
    /// All top-level fields of the table, in order.
    pub fields: Vec<NestedFieldRef>,
    /// Which of them are open.
    pub open: BTreeSet<i32>,
}

impl SchemaPlan {
    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&NestedFieldRef> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Why a column does not fit a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The table has no such column.
    NewColumn,
    /// The types have no widening between them.
    IncompatibleType,
    /// The table requires a value and there is none.
    MissingRequired,
}

/// One way in which the parts do not fit a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The column.
    pub column: String,
    /// What is wrong.
    pub problem: Problem,
    /// The table's type.
    pub table_type: Option<String>,
    /// The parts' type.
    pub incoming_type: Option<String>,
    /// What would help.
    pub help: &'static str,
}

/// The schema of a new table.
pub fn create(columns: &[UnifiedColumn]) -> SchemaPlan {
    numbered(columns, &HashMap::new(), 0)
}

/// The schema of a table whose content and schema are replaced.
pub fn replace(columns: &[UnifiedColumn], table: &TableColumns) -> SchemaPlan {
    let mut kept = HashMap::new();
    for column in columns {
        let Some(field) = table.field(&column.name) else {
            continue;
        };
        let keeps = match column.own_type() {
            Some(r#type) => types::same_shape(&r#type, &field.field_type),
            // The table's type counts as the declaration that an all-null column waits for.
            None => true,
        };
        if keeps {
            kept.insert(column.name.as_str(), field);
        }
    }
    let mut plan = numbered(columns, &kept, table.last_column_id);
    for column in columns {
        // An all-null column that took over the table's type is open only if the table's was.
        if column.own_type().is_none()
            && let Some(field) = kept.get(column.name.as_str())
            && !table.is_open(field)
        {
            plan.open.remove(&field.id);
        }
    }
    plan
}

/// Fields for columns; a kept field stays as it is, but becomes optional.
fn numbered(
    columns: &[UnifiedColumn],
    kept: &HashMap<&str, &NestedFieldRef>,
    last_column_id: i32,
) -> SchemaPlan {
    let listed = columns
        .iter()
        .map(|column| match kept.get(column.name.as_str()) {
            Some(field) => (
                column.name.clone(),
                (*field.field_type).clone(),
                Some(field.id),
            ),
            None => (
                column.name.clone(),
                column.own_type().unwrap_or_else(types::open),
                None,
            ),
        })
        .collect();
    let fields = types::number_fields(listed, &mut FieldIds::after(last_column_id));
    let open = columns
        .iter()
        .zip(&fields)
        .filter(|(column, _)| column.own_type().is_none())
        .map(|(_, field)| field.id)
        .collect();
    SchemaPlan { fields, open }
}

/// The schema of a table after rows with these columns are added, or every difference.
pub fn append(
    columns: &[UnifiedColumn],
    table: &TableColumns,
    evolution: SchemaEvolution,
) -> Result<SchemaPlan, Vec<Difference>> {
    let incoming: HashMap<&str, &UnifiedColumn> = columns
        .iter()
        .map(|column| (column.name.as_str(), column))
        .collect();
    let mut ids = FieldIds::after(table.last_column_id);
    let mut plan = SchemaPlan {
        fields: Vec::with_capacity(table.fields.len()),
        open: table.open.clone(),
    };
    let mut differences = Vec::new();
    for field in &table.fields {
        match meet(incoming.get(field.name.as_str()).copied(), field, table) {
            Ok(Meeting::Same) => plan.fields.push(field.clone()),
            Ok(Meeting::Widened(r#type)) => {
                let mut widened = NestedField::clone(field);
                *widened.field_type = r#type;
                plan.fields.push(Arc::new(widened));
            }
            Ok(Meeting::Opened(r#type)) => {
                plan.open.remove(&field.id);
                let is_text = r#type == types::open();
                let id = if is_text { field.id } else { ids.take() };
                let r#type = ids.number(&r#type);
                plan.fields
                    .push(NestedField::optional(id, &field.name, r#type).into());
            }
            Err(difference) => differences.push(*difference),
        }
    }
    let is_new = |column: &&UnifiedColumn| table.field(&column.name).is_none();
    for column in columns.iter().filter(is_new) {
        if evolution == SchemaEvolution::AddColumns {
            let r#type = column.own_type().unwrap_or_else(types::open);
            let added = vec![(column.name.clone(), r#type, None)];
            let fields = types::number_fields(added, &mut ids);
            if column.own_type().is_none() {
                plan.open.extend(fields.iter().map(|field| field.id));
            }
            plan.fields.extend(fields);
        } else {
            differences.push(Difference {
                column: column.name.clone(),
                problem: Problem::NewColumn,
                table_type: None,
                incoming_type: column.own_type().as_ref().map(types::logical_name),
                help: "leave the column out of the file, commit with schema_evolution add_columns, or replace the table with conflict_resolution overwrite",
            });
        }
    }
    if differences.is_empty() {
        Ok(plan)
    } else {
        Err(differences)
    }
}

/// How a column of the parts meets one of the table.
enum Meeting {
    /// The table's field stays.
    Same,
    /// The table's field is widened to this type.
    Widened(Type),
    /// The table's open column becomes this.
    Opened(Type),
}

fn meet(
    column: Option<&UnifiedColumn>,
    field: &NestedFieldRef,
    table: &TableColumns,
) -> Result<Meeting, Box<Difference>> {
    let own_type = column.and_then(UnifiedColumn::own_type);
    let (Some(column), Some(own_type)) = (column, own_type) else {
        if field.required {
            return Err(Box::new(Difference {
                column: field.name.clone(),
                problem: Problem::MissingRequired,
                table_type: Some(types::logical_name(&field.field_type)),
                incoming_type: None,
                help: "the table requires a value in every row; add the column to the file",
            }));
        }
        return Ok(Meeting::Same);
    };
    if table.is_open(field) {
        return Ok(Meeting::Opened(own_type));
    }
    let widened = match &column.content {
        UnifiedType::Text(evidence) => match fit(evidence, &field.field_type) {
            Fit::Yes => Some((*field.field_type).clone()),
            // A decimal text is exact in a double; whether it is in a float only each value tells.
            Fit::Untold if is_float(&field.field_type) => widened_text(&own_type, field),
            Fit::Untold => Some((*field.field_type).clone()),
            Fit::No => widened_text(&own_type, field),
        },
        UnifiedType::Typed(r#type) => types::common(r#type, &field.field_type),
        UnifiedType::Open => Some((*field.field_type).clone()),
    };
    let is_undecided =
        matches!(&column.content, UnifiedType::Text(evidence) if evidence.is_ambiguous());
    match widened {
        Some(r#type) if types::same_shape(&r#type, &field.field_type) => Ok(Meeting::Same),
        Some(r#type) => Ok(Meeting::Widened(r#type)),
        None => Err(Box::new(Difference {
            column: field.name.clone(),
            problem: Problem::IncompatibleType,
            table_type: Some(types::logical_name(&field.field_type)),
            incoming_type: Some(types::logical_name(&own_type)),
            help: if is_undecided {
                "no value tells whether the dates are day-first or month-first: write them as YYYY-MM-DD"
            } else {
                "change the values to the table's type, or replace the table with conflict_resolution overwrite"
            },
        })),
    }
}

fn is_float(r#type: &Type) -> bool {
    matches!(r#type, Type::Primitive(PrimitiveType::Float))
}

/// The wider type of a table's column that text values need, if Iceberg allows it.
fn widened_text(own_type: &Type, field: &NestedFieldRef) -> Option<Type> {
    let whole_number = Type::Primitive(PrimitiveType::Long);
    let fraction = Type::Primitive(PrimitiveType::Double);
    // Whole numbers are exact in a double only if each was found to be; then the fit was "yes" or
    // the column is a float, which a double widens.
    if is_float(&field.field_type) && (*own_type == fraction || *own_type == whole_number) {
        return Some(fraction);
    }
    types::widens_to(&field.field_type, own_type).then(|| own_type.clone())
}

/// Fields for a part's data file, made when it arrives: the table's where the session is bound to one
/// and has the column, else numbered as a new table's would be. A guess that the commit corrects.
pub fn arrival(columns: &[UnifiedColumn], table: Option<&TableColumns>) -> Vec<NestedFieldRef> {
    let Some(table) = table else {
        return create(columns).fields;
    };
    let mut ids = FieldIds::after(table.last_column_id);
    columns
        .iter()
        .map(|column| match table.field(&column.name) {
            Some(field) => match meet(Some(column), field, table) {
                Ok(Meeting::Widened(r#type)) => {
                    let mut widened = NestedField::clone(field);
                    *widened.field_type = r#type;
                    Arc::new(widened)
                }
                Ok(Meeting::Opened(r#type)) if r#type != types::open() => {
                    let id = ids.take();
                    let r#type = ids.number(&r#type);
                    Arc::new(NestedField::optional(id, &field.name, r#type))
                }
                Ok(Meeting::Same | Meeting::Opened(_)) | Err(_) => field.clone(),
            },
            None => {
                let id = ids.take();
                let r#type = ids.number(&column.own_type().unwrap_or_else(types::open));
                Arc::new(NestedField::optional(id, &column.name, r#type))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
