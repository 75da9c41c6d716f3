//! What answers look like. The OpenAPI document is made from these types.
//!
//! Closed by the clients that exist: `target` has its three keys and no more, and an issue has `issue`,
//! `part` and, for bound sessions only, `column`. Everything else may grow.

mod part;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{ArrayBuilder, Schema, SchemaType, Type};

use crate::domain::{
    CommitReceipt, ConflictResolution, PartRecord, SchemaEvolution, Session, SessionState,
};
use crate::schema::plan::TableColumns;
use crate::schema::unify::{describe_part, part_type};
use crate::schema::{UnifiedColumn, types, unify};
use crate::store::layout::part_stem;
use crate::table::dry_run::DryRun;

pub use part::{CsvDialect, DeletePartResponse, ParquetPages, UploadPartResponse};
use part::{has_nulls, part_issues};

/// The three names of a table.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Target {
    /// First name.
    #[schema(example = "acme", pattern = "^[A-Za-z][A-Za-z0-9_]{0,127}$")]
    pub workspace: String,
    /// Second name.
    #[schema(example = "security", pattern = "^[A-Za-z][A-Za-z0-9_]{0,127}$")]
    pub collection: String,
    /// Third name.
    #[schema(example = "events", pattern = "^[A-Za-z][A-Za-z0-9_]{0,127}$")]
    pub dataset: String,
}

impl From<&crate::domain::Target> for Target {
    fn from(target: &crate::domain::Target) -> Self {
        Self {
            workspace: target.workspace().to_owned(),
            collection: target.collection().to_owned(),
            dataset: target.dataset().to_owned(),
        }
    }
}

/// Body of Start Upload Session. May be empty.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read field by field; this is its description")]
pub struct StartSessionRequest {
    /// Binds the session to a table: parts are checked against it as they land.
    target: Option<Target>,
}

/// Answer of Start Upload Session.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartSessionResponse {
    /// The session's id.
    pub session_id: String,
    /// Where its parts go.
    pub url: String,
    /// When it stops taking parts.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// Whether the session takes parts; always true.
    pub parts: bool,
    /// The table the session is bound to; absent when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Column name to type of that table; null when it does not exist yet, absent for unbound sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub declared_schema: Option<Value>,
    /// Most bytes of a part as sent.
    pub part_wire_bytes_max: u64,
    /// Most bytes of a part after decoding.
    pub part_decoded_bytes_max: u64,
    /// Highest part number.
    pub part_number_max: u16,
}

/// What a table's columns are declared as, or null.
pub fn declared_schema(table: Option<&TableColumns>) -> Value {
    match table {
        None => Value::Null,
        Some(table) => {
            let named = table.fields.iter().map(|field| {
                let is_open = table.open.contains(&field.id);
                let known = (!is_open).then_some(&*field.field_type);
                (field.name.clone(), Value::from(types::name_or_null(known)))
            });
            Value::Object(named.collect::<Map<_, _>>())
        }
    }
}

/// A time as clients parse it: UTC, `Z`, no fraction.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Something about a part that its sender should know.
#[derive(Debug, Serialize, ToSchema)]
pub struct Issue {
    /// One sentence.
    pub issue: String,
    /// The part.
    pub part: u16,
    /// The column; absent for sessions opened without a target, whose clients do not know the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// Answer of Abort Session.
#[derive(Debug, Serialize, ToSchema)]
pub struct AbortSessionResponse {
    /// `aborted`, also when it was aborted before.
    pub status: &'static str,
    /// The session's id.
    pub session_id: String,
}

/// A staged part.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectedPart {
    /// Its number.
    pub id: u16,
    /// Its rows.
    pub rows: u64,
    /// Its bytes as sent.
    pub bytes: u64,
    /// Its format.
    pub kind: &'static str,
    /// Its name in the staging folder.
    pub blob: String,
    /// When it was acknowledged.
    #[schema(format = DateTime)]
    pub uploaded_at: String,
    /// SHA-256 of the bytes as sent, in hex.
    pub sha256: String,
    /// Its bytes after decoding.
    pub decoded_bytes: u64,
    /// The source file's name, if the client said one.
    pub file_name: Option<String>,
    /// How it is written, if it is CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvDialect>,
    /// For Parquet: whether its pages are kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetPages>,
}

/// A column as a commit would write it now.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectedColumn {
    /// Its name.
    pub name: String,
    /// Its type over all parts; `NULL` while no part has a value.
    pub r#type: String,
    /// Whether a row has no value.
    pub nullable: bool,
    /// Parts whose own type is another; their values all fit.
    pub differs_in: Vec<u16>,
}

/// The schema as a commit would write it now.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectedSchema {
    /// In order of first appearance. Empty while the parts disagree; see the issues.
    pub columns: Vec<InspectedColumn>,
}

/// Answer of Inspect Session, from records.
#[derive(Debug, Serialize, ToSchema)]
pub struct InspectResponse {
    /// Rows of all parts; exact.
    pub rows_estimate: u64,
    /// What a commit would write now.
    pub schema: InspectedSchema,
    /// The staged parts.
    pub parts: Vec<InspectedPart>,
    /// What the sender should know.
    pub issues: Vec<Issue>,
    /// `open`, `committing` or `committed`.
    pub state: &'static str,
    /// Who opened the session; absent when authentication was off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When the session stops taking parts.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// The answer of the commit, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitResponse>,
}

impl InspectResponse {
    /// The answer for a session.
    pub fn new(session: &Session) -> Self {
        let parts = || session.records();
        let is_bound = session.target.is_some();
        let mut issues: Vec<Issue> = parts()
            .flat_map(|record| part_issues(record, is_bound))
            .collect();
        let columns = match unify::unify(parts()) {
            Ok(columns) => columns
                .iter()
                .inspect(|column| issues.extend(json_text_issues(column, session, is_bound)))
                .map(|column| inspected_column(column, session))
                .collect(),
            Err(disagreements) => {
                issues.extend(disagreements.into_iter().map(|one| Issue {
                    issue: format!(
                        "column `{}` is {} here, and {} in the other parts",
                        one.column, one.found, one.expected
                    ),
                    part: one.part.0,
                    column: Some(one.column).filter(|_| is_bound),
                }));
                Vec::new()
            }
        };
        let (state, commit) = match &session.state {
            SessionState::Open | SessionState::Expired => ("open", None),
            SessionState::Committing { .. } => ("committing", None),
            SessionState::Committed { receipt, .. } => ("committed", Some(receipt.into())),
        };
        Self {
            owner: session.owner.clone(),
            rows_estimate: parts().map(|record| record.rows).sum(),
            schema: InspectedSchema { columns },
            parts: parts()
                .map(|record| InspectedPart {
                    id: record.part.0,
                    rows: record.rows,
                    bytes: record.wire_bytes,
                    kind: record.kind.name(),
                    blob: match record.packed {
                        None => format!("{}/{}", session.id, part_stem(record)),
                        Some(place) => format!("packs/{}@{}", place.pack, place.offset),
                    },
                    uploaded_at: timestamp(record.uploaded_at),
                    sha256: record.sha256.clone(),
                    decoded_bytes: record.decoded_bytes,
                    file_name: record.file_name.clone(),
                    csv: record.csv.as_ref().map(CsvDialect::from),
                    parquet: ParquetPages::of(record),
                })
                .collect(),
            issues,
            state,
            expires_at: timestamp(session.expires_at),
            commit,
        }
    }
}

/// The parts whose nested column becomes JSON text only because of what other parts hold.
fn json_text_issues(column: &UnifiedColumn, session: &Session, is_bound: bool) -> Vec<Issue> {
    if types::is_nested(column.own_type().as_ref()) {
        return Vec::new();
    }
    let issue = |record: &PartRecord| {
        let found = record.columns.iter().find(|one| one.name == column.name)?;
        types::is_nested(part_type(&found.content).as_ref()).then(|| Issue {
            issue: format!(
                "column `{}` is {} here, and of another shape in other parts; it is kept as JSON text",
                column.name,
                describe_part(&found.content)
            ),
            part: record.part.0,
            column: Some(column.name.clone()).filter(|_| is_bound),
        })
    };
    session.records().filter_map(issue).collect()
}

fn inspected_column(column: &UnifiedColumn, session: &Session) -> InspectedColumn {
    let own_type = column.own_type();
    let r#type = types::name_or_null(own_type.as_ref());
    let mut nullable = false;
    let mut differs_in = Vec::new();
    for record in session.records() {
        let found = record.columns.iter().find(|one| one.name == column.name);
        nullable |= found.is_none_or(has_nulls) && record.rows > 0;
        if let Some(found) = found {
            let own = describe_part(&found.content);
            if own != r#type && part_type(&found.content).is_some() {
                differs_in.push(record.part.0);
            }
        }
    }
    InspectedColumn {
        name: column.name.clone(),
        r#type,
        nullable,
        differs_in,
    }
}

/// Body of Commit Session.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read field by field; this is its description")]
pub struct CommitRequest {
    /// The table; required unless the session is bound to one.
    target: Option<Target>,
    /// What the snapshot's summary will say.
    snapshot_message: Option<String>,
    /// What to do when the table exists.
    #[schema(default = "fail")]
    conflict_resolution: ConflictResolution,
    /// What an append does with columns that the table does not have.
    #[schema(default = "strict")]
    schema_evolution: SchemaEvolution,
    /// Whether to write nothing and answer what the commit would do.
    #[schema(default = false)]
    dry_run: bool,
}

/// Answer of Commit Session with `dry_run`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunResponse {
    /// Always true.
    pub dry_run: bool,
    /// The table's three names, with dots.
    pub table: String,
    /// `create`, `append` or `overwrite`.
    pub action: &'static str,
    /// The table's columns after the commit.
    pub schema: DryRunSchema,
    /// Columns that the table has now and will not have.
    pub dropped_columns: Vec<String>,
    /// Rows that the commit would add.
    pub rows_written: u64,
    /// Data files that the commit would add.
    pub files_created: u64,
}

/// Either answer of Commit Session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum CommitAnswer {
    /// Without `dry_run`.
    Commit(CommitResponse),
    /// With it.
    DryRun(DryRunResponse),
}

/// The columns of a table after a commit.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunSchema {
    /// In order.
    pub columns: Vec<DryRunColumn>,
}

/// A column of a table after a commit.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunColumn {
    /// Its name.
    pub name: String,
    /// Its type; `NULL` while nothing but nulls is known.
    pub r#type: String,
    /// Its type now; absent when the table does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `add`, `keep`, `widen`, `settle` (of a column of nulls, or by an overwrite: takes the type of the values).
    pub action: &'static str,
}

impl From<&DryRun> for DryRunResponse {
    fn from(found: &DryRun) -> Self {
        let columns = found.columns.iter().map(|column| DryRunColumn {
            name: column.name.clone(),
            r#type: types::name_or_null(column.after.as_ref()),
            from: column
                .before
                .as_ref()
                .map(|before| types::name_or_null(before.as_ref())),
            action: column.action(),
        });
        Self {
            dry_run: true,
            table: found.target.to_string(),
            action: found.action,
            schema: DryRunSchema {
                columns: columns.collect(),
            },
            dropped_columns: found.dropped_columns.clone(),
            rows_written: found.rows_written,
            files_created: found.files_created,
        }
    }
}

/// Answer of Commit Session.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommitResponse {
    /// The table's three names, with dots.
    pub table: String,
    /// `snap_` and the snapshot's id.
    pub commit_id: String,
    /// Rows added.
    #[schema(required = true)]
    pub rows_written: Option<u64>,
    /// Data files added.
    pub files_created: u64,
    /// The snapshot's id.
    pub snapshot_id: i64,
    /// When.
    #[schema(format = DateTime)]
    pub committed_at: String,
}

impl From<&CommitReceipt> for CommitResponse {
    fn from(receipt: &CommitReceipt) -> Self {
        Self {
            table: receipt.table.to_string(),
            commit_id: receipt.commit_id(),
            rows_written: Some(receipt.rows_written),
            files_created: receipt.files_created,
            snapshot_id: receipt.snapshot_id,
            committed_at: timestamp(receipt.committed_at),
        }
    }
}

/// Answer of Health.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthResponse {
    /// `ok`, or `full` when only commits and deletions go on for want of space.
    pub status: &'static str,
    /// Whether uploads are taken.
    pub ready: bool,
    /// The server's version.
    pub version: &'static str,
}

/// One thing that is wrong with a request.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "made in the error module; this is its description"
)]
pub struct ValidationError {
    /// Where: `header`, `path`, `query` or `body`, then the field's path.
    loc: Vec<String>,
    /// What is wrong.
    msg: String,
    /// A name for it.
    r#type: String,
    /// What was found.
    input: Option<Value>,
}

/// What cannot be processed: a request that does not have the documented form, or a refusal of what it brings.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "made in the error module; this is its description"
)]
pub struct HTTPValidationError {
    /// Everything that is wrong with the request's form; or, with any other code, one sentence.
    #[schema(schema_with = violations_or_sentence)]
    detail: Value,
    /// `validation_error`, or another stable name.
    code: String,
    /// The request's id.
    request_id: String,
}

fn violations_or_sentence() -> Schema {
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::String]))
        .items(Ref::from_schema_name("ValidationError"))
        .into()
}

/// Any other refusal. Further facts stand beside these keys.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "made in the error module; this is its description"
)]
pub struct Refusal {
    /// One sentence a person can act on.
    detail: String,
    /// A stable name.
    code: String,
    /// The request's id.
    request_id: String,
}
