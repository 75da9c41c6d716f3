//! What a commit would do, found without doing it.
//!
//! The plan is the commit's own, and values that only reading can tell to fit are read. Nothing is recorded and nothing is
//! written; a commit of the same session to the same table, with no other in between, does just what is answered.

use futures_util::stream::{self, StreamExt};
use iceberg::spec::Type;

use super::catalog::{self, BaseTable};
use super::commit::CommitContext;
use super::data_files::{FILES_AT_ONCE, file_groups};
use super::values::{all_or_refusal, check_values, plan_session};
use crate::domain::{CommitRequest, Session, Target};
use crate::error::Result;
use crate::schema::{SchemaPlan, TableColumns, types};

/// What a commit would do.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun {
    /// The table.
    pub target: Target,
    /// `create`, `append` or `overwrite`.
    pub action: &'static str,
    /// The table's columns after.
    pub columns: Vec<PlannedColumn>,
    /// Columns that the table has now and will not have.
    pub dropped_columns: Vec<String>,
    /// Rows added.
    pub rows_written: u64,
    /// Data files added.
    pub files_created: u64,
}

/// A column before and after a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedColumn {
    /// Its name.
    pub name: String,
    /// Its type before, if the table has it; inside, `None` while only nulls are known.
    pub before: Option<Option<Type>>,
    /// Its type after; `None` while only nulls are known.
    pub after: Option<Type>,
}

impl PlannedColumn {
    /// What happens to it.
    pub fn action(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "add",
            (Some(None), None) => "keep",
            (Some(Some(before)), Some(after)) if types::same_shape(before, after) => "keep",
            (Some(Some(before)), Some(after)) if types::widens_to(before, after) => "widen",
            (Some(_), _) => "settle",
        }
    }
}

/// What this commit would do now, or why it would be refused.
pub async fn dry_run(
    context: &CommitContext,
    session: &Session,
    request: &CommitRequest,
) -> Result<DryRun> {
    let base = catalog::load(&context.catalog, &request.target).await?;
    let table = base.as_ref().map(BaseTable::columns);
    let plan = plan_session(context, session, table.as_ref(), request).await?;
    let parts = session.records().filter(|record| record.rows > 0);
    let checks = parts.map(|record| check_values(context, &session.id, record, &plan));
    let outcomes: Vec<Result<()>> = stream::iter(checks).buffered(FILES_AT_ONCE).collect().await;
    all_or_refusal(outcomes)?;
    let action = match (&table, plan.replaces) {
        (None, _) => "create",
        (Some(_), true) => "overwrite",
        (Some(_), false) => "append",
    };
    Ok(DryRun {
        target: request.target.clone(),
        action,
        columns: planned_columns(table.as_ref(), &plan.schema),
        dropped_columns: dropped_columns(table.as_ref(), &plan.schema),
        rows_written: session.records().map(|record| record.rows).sum(),
        files_created: file_groups(session.records()).len() as u64,
    })
}

fn planned_columns(table: Option<&TableColumns>, plan: &SchemaPlan) -> Vec<PlannedColumn> {
    let columns = plan.fields.iter().map(|field| {
        let before = table.and_then(|table| Some((table, table.field(&field.name)?)));
        let known = |is_open: bool, r#type: &Type| (!is_open).then(|| r#type.clone());
        PlannedColumn {
            name: field.name.clone(),
            before: before
                .map(|(table, before)| known(table.open.contains(&before.id), &before.field_type)),
            after: known(plan.open.contains(&field.id), &field.field_type),
        }
    });
    columns.collect()
}

fn dropped_columns(table: Option<&TableColumns>, plan: &SchemaPlan) -> Vec<String> {
    let before = table.into_iter().flat_map(|table| &table.fields);
    before
        .filter(|field| plan.field(&field.name).is_none())
        .map(|field| field.name.clone())
        .collect()
}
