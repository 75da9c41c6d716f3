//! Whether the values of all parts fit a table, and which stand in the way: of all parts, in one refusal.

use futures_util::stream::{self, StreamExt};
use iceberg::spec::NestedFieldRef;
use serde_json::Value;

use super::commit::{CommitContext, CommitPlan, plan_commit, unify_parts};
use super::data_files::{FILES_AT_ONCE, conversion_fields, has_final_file, part_source};
use crate::blocking::blocking;
use crate::domain::{CommitRequest, PartRecord, Session, SessionId};
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::convert;
use crate::schema::TableColumns;
use crate::schema::plan::{self, Problem};
use crate::schema::unify::{self, ColumnDates};

/// Key of the list of values in a refusal.
const MISFITS: &str = "misfits";

/// Plans the commit of a session; a refusal names the values that do not fit.
pub(super) async fn plan_session(
    context: &CommitContext,
    session: &Session,
    table: Option<&TableColumns>,
    request: &CommitRequest,
) -> Result<CommitPlan> {
    let (resolution, evolution) = (request.conflict_resolution, request.schema_evolution);
    match plan_commit(session.records(), table, resolution, evolution) {
        Ok(plan) => Ok(plan),
        Err(refusal) => Err(explain(context, session, table, request, refusal).await),
    }
}

/// Makes sure that a part's values fit the planned schema, where that takes reading them.
pub(super) async fn check_values(
    context: &CommitContext,
    session: &SessionId,
    record: &PartRecord,
    plan: &CommitPlan,
) -> Result<()> {
    if has_final_file(record, &plan.schema) {
        return Ok(());
    }
    let fields = conversion_fields(&[record], &plan.schema);
    check_against(context, session, record, fields, &plan.dates).await
}

/// Makes sure that a part's values fit these fields.
async fn check_against(
    context: &CommitContext,
    session: &SessionId,
    record: &PartRecord,
    fields: Vec<NestedFieldRef>,
    dates: &ColumnDates,
) -> Result<()> {
    if fields.is_empty() {
        return Ok(());
    }
    let source = part_source(context, session, record);
    let (part, dates) = (record.part, dates.clone());
    let turn = context.conversions.clone().acquire_owned().await;
    let turn = turn.map_err(Error::internal)?;
    let checked = blocking(move || {
        let _turn = turn;
        convert::check(&source, &fields, &dates)
    });
    checked.await.map_err(|error| error.in_part(part.0))
}

/// All outcomes, or the first refusal with the misfits of every refused part.
pub(super) fn all_or_refusal<T>(outcomes: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut done = Vec::with_capacity(outcomes.len());
    let mut refusals = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(one) => done.push(one),
            Err(error) => refusals.push(error),
        }
    }
    if let Some(at) = refusals
        .iter()
        .position(|error| error.code != ErrorCode::ValueNotCastable)
    {
        return Err(refusals.swap_remove(at));
    }
    let misfits: Vec<Value> = refusals.iter().flat_map(misfits_of).collect();
    match refusals.into_iter().next() {
        None => Ok(done),
        Some(first) => Err(first.with(MISFITS, misfits)),
    }
}

/// The misfits that a refused part tells of, with its number.
fn misfits_of(error: &Error) -> Vec<Value> {
    let part = error.fields.get("part").cloned().unwrap_or_default();
    let listed = error.fields.get(MISFITS).and_then(Value::as_array);
    let listed = listed.into_iter().flatten().cloned();
    listed
        .map(|mut misfit| {
            if let Some(misfit) = misfit.as_object_mut() {
                misfit.insert("part".to_owned(), part.clone());
            }
            misfit
        })
        .collect()
}

/// Adds to the refusal of an append the values of text parts that do not fit the table's types.
async fn explain(
    context: &CommitContext,
    session: &Session,
    table: Option<&TableColumns>,
    request: &CommitRequest,
    refusal: Error,
) -> Error {
    let (ErrorCode::SchemaMismatch, Some(table)) = (refusal.code, table) else {
        return refusal;
    };
    let Ok(columns) = unify_parts(session.records()) else {
        return refusal;
    };
    let differences = plan::append(&columns, table, request.schema_evolution).err();
    let fields: Vec<_> = differences
        .iter()
        .flatten()
        .filter(|difference| difference.problem == Problem::IncompatibleType)
        .filter_map(|difference| table.field(&difference.column).cloned())
        .collect();
    let dates = unify::dates_of_parts(session.records());
    let checks = session.records().map(|record| {
        let named = |name: &str| record.columns.iter().any(|column| column.name == name);
        let fields = fields.iter().filter(|field| named(&field.name)).cloned();
        check_against(context, &session.id, record, fields.collect(), &dates)
    });
    let outcomes: Vec<Result<()>> = stream::iter(checks).buffered(FILES_AT_ONCE).collect().await;
    match all_or_refusal(outcomes) {
        Err(error) if error.code == ErrorCode::ValueNotCastable => {
            let misfits = error.fields.get(MISFITS).cloned().unwrap_or_default();
            refusal.with(MISFITS, misfits)
        }
        // What cannot be read now does not make the refusal wrong.
        Ok(_) | Err(_) => refusal,
    }
}
