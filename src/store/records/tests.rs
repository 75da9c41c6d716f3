//! Records give back what went in, also over longer and shorter replacements and deletions.

use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use super::*;
use crate::domain::{ColumnRecord, ColumnType};
use crate::store::layout::Layout;
use crate::telemetry::Metrics;
use crate::testing;

fn session() -> Session {
    testing::session(1, testing::time(0), TimeDelta::hours(1))
}

fn part(number: u16, columns: usize) -> PartRecord {
    // Names that do not compress.
    let column = |index: usize| ColumnRecord {
        name: Uuid::from_u128(
            (index as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
        )
        .to_string(),
        content: ColumnType::Void,
    };
    PartRecord {
        generation: columns as u64,
        columns: (0..columns).map(column).collect(),
        ..testing::part(number)
    }
}

async fn write(journal: &Journal, write: Write) {
    journal.write(write).unwrap().await.unwrap();
}

/// A record of 500 columns takes several chunks; what replaces it takes one, or more.
#[tokio::test]
async fn a_part_is_what_was_written_last() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let metrics = Arc::new(Metrics::new());
    let (journal, _writer) = Journal::open(&layout, Uuid::from_u128(7), metrics).unwrap();
    let mut session = session();
    write(&journal, open_session(&session, 9).unwrap()).await;
    for (number, columns) in [
        (0, 500),
        (0, 1),
        (1, 500),
        (2, 1),
        (2, 500),
        (2, 499),
        (3, 500),
    ] {
        let record = part(number, columns);
        let staging = stage_part(&session, &record).unwrap();
        assert_eq!(staging.puts.len() > 1, columns > 100, "chunks");
        write(&journal, staging).await;
        session.put_part(record);
    }
    for number in [PartNumber(1), PartNumber(3)] {
        write(&journal, delete_part(&session, number).unwrap()).await;
        session.delete_part(number);
    }
    let again = part(3, 2);
    write(&journal, stage_part(&session, &again).unwrap()).await;
    session.put_part(again);
    let loaded = load_session(&journal, &session.id).unwrap();
    assert_eq!(loaded, Some(session));
}

#[tokio::test]
async fn nothing_is_added_to_a_session_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let metrics = Arc::new(Metrics::new());
    let (journal, _writer) = Journal::open(&layout, Uuid::from_u128(7), metrics).unwrap();
    let open = session();
    write(&journal, open_session(&open, 9).unwrap()).await;
    let mut committed = open.clone();
    let (request, receipt) = testing::commit("t", testing::time(1));
    committed.commit_succeeded(request, receipt.clone());
    let value = session_value(&committed).unwrap();
    assert_eq!(receipt_in(&value).unwrap(), Some(receipt));
    let behind_its_back = Write {
        puts: vec![(keys::session(&open.id), value)],
        ..Write::default()
    };
    write(&journal, behind_its_back).await;
    let refused = journal.write(stage_part(&open, &part(0, 1)).unwrap());
    assert!(refused.unwrap().await.is_err());
    let loaded = load_session(&journal, &open.id).unwrap().unwrap();
    assert_eq!(loaded, committed);
}

#[test]
fn a_newer_record_is_refused_by_name() {
    let newer = br#"{"v":2,"record":{"metadata_location":"x"}}"#;
    let refused = metadata_location(newer).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("has version 2, this calve knows 1")
    );
}

/// Half a record is no record, and never nothing.
#[tokio::test]
async fn a_session_with_an_incomplete_part_record_is_not_loaded_without_the_part() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let metrics = Arc::new(Metrics::new());
    let (journal, _writer) = Journal::open(&layout, Uuid::from_u128(7), metrics).unwrap();
    let session = session();
    write(&journal, open_session(&session, 9).unwrap()).await;
    write(&journal, stage_part(&session, &part(0, 500)).unwrap()).await;
    let chunks = part_keys(&journal, &session.id).unwrap();
    let cut = Write {
        removes: vec![chunks.last().unwrap().clone()],
        ..Write::default()
    };
    write(&journal, cut).await;
    let refused = load_session(&journal, &session.id).unwrap_err();
    assert!(refused.to_string().contains("is damaged"), "{refused}");
}
