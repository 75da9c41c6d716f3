//! Values that unit tests of several modules start from.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use iceberg::spec::{
    FormatVersion, NestedField, PartitionSpec, PrimitiveType, Schema, SortOrder,
    TableMetadataBuilder, Type,
};
use uuid::Uuid;

use crate::domain::part::Coding;
use crate::domain::{
    CommitReceipt, CommitRequest, ConflictResolution, PartKind, PartNumber, PartRecord,
    SchemaEvolution, Session, SessionId, Target,
};
use crate::schema::{CellKind, Evidence};
use crate::table::BaseTable;

/// A time, so many seconds after a fixed one.
pub(crate) fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

/// A session that opens at `now` and lives for so long.
pub(crate) fn session(number: u128, now: DateTime<Utc>, life: TimeDelta) -> Session {
    let id = SessionId::new(now, Uuid::from_u128(number));
    Session::open(id, None, now, now + life)
}

/// A CSV part of one row, without columns.
pub(crate) fn part(number: u16) -> PartRecord {
    PartRecord {
        part: PartNumber(number),
        generation: 1,
        kind: PartKind::Csv,
        coding: Coding::Identity,
        file_name: None,
        wire_bytes: 1,
        decoded_bytes: 1,
        rows: 1,
        sha256: String::new(),
        uploaded_at: time(0),
        columns: Vec::new(),
        csv: None,
        issues: Vec::new(),
        data_file: None,
        packed: None,
        parquet: None,
    }
}

/// A commit to `acme.raw.<dataset>`, and what it did.
pub(crate) fn commit(dataset: &str, committed_at: DateTime<Utc>) -> (CommitRequest, CommitReceipt) {
    let table = Target::new("acme", "raw", dataset).unwrap();
    let request = CommitRequest {
        target: table.clone(),
        snapshot_message: None,
        conflict_resolution: ConflictResolution::Append,
        schema_evolution: SchemaEvolution::Strict,
    };
    let receipt = CommitReceipt {
        table,
        snapshot_id: 42,
        rows_written: 1,
        files_created: 1,
        committed_at,
    };
    (request, receipt)
}

/// An empty table of one column.
pub(crate) fn table() -> BaseTable {
    let column = NestedField::optional(1, "a", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder()
        .with_fields([column.into()])
        .build()
        .unwrap();
    let metadata = TableMetadataBuilder::new(
        schema,
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        "file:///t".to_owned(),
        FormatVersion::V2,
        HashMap::new(),
    );
    BaseTable {
        metadata_location: String::new(),
        metadata_bytes: 0,
        metadata: Arc::new(metadata.unwrap().build().unwrap().metadata),
        manifests: None,
        recent: Arc::default(),
        named_snapshots: Arc::default(),
    }
}

/// What unquoted CSV fields allow; an empty one is null.
pub(crate) fn evidence(values: &[&str]) -> Evidence {
    let mut evidence = Evidence::default();
    for value in values {
        let kind = if value.is_empty() {
            CellKind::Null
        } else {
            CellKind::Plain
        };
        evidence.observe(kind, value);
    }
    evidence
}
