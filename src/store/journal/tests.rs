//! What the journal keeps, refuses, and survives.

use super::open::open_sled;
use super::*;
use crate::store::keys;

fn open(layout: &Layout) -> Result<(Journal, JournalWriter), OpenError> {
    Journal::open(layout, Uuid::from_u128(7), Arc::new(Metrics::new()))
}

fn put(key: &[u8], value: &[u8], expected: Option<&[u8]>) -> Write {
    Write {
        expectations: vec![Expectation {
            key: key.to_vec(),
            value: expected.map(<[u8]>::to_vec),
        }],
        puts: vec![(key.to_vec(), value.to_vec())],
        counts: vec![(keys::OPEN_SESSIONS, 1)],
        ..Write::default()
    }
}

#[tokio::test]
async fn writes_survive_a_reopening_and_expectations_guard_them() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let (journal, writer) = open(&layout).unwrap();
    journal
        .write(put(b"t/a", b"1", None))
        .unwrap()
        .await
        .unwrap();
    let refused = journal
        .write(put(b"t/a", b"2", None))
        .unwrap()
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        WriteError::Unexpected {
            key: b"t/a".to_vec(),
            found: Some(b"1".to_vec())
        }
    );
    journal
        .write(put(b"t/a", b"3", Some(b"1")))
        .unwrap()
        .await
        .unwrap();
    drop(journal);
    writer.join();
    let (journal, _writer) = open(&layout).unwrap();
    assert_eq!(journal.get(b"t/a").unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(journal.count(keys::OPEN_SESSIONS).unwrap(), 2);
}

#[tokio::test]
async fn of_many_writers_that_expect_the_same_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _writer) = open(&Layout::new(folder.path().to_path_buf())).unwrap();
    let attempts = (0..64u8).map(|value| {
        let journal = journal.clone();
        async move {
            journal
                .write(put(b"t/a", &[value], None))
                .unwrap()
                .await
                .is_ok()
        }
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1);
}

#[test]
fn an_emptied_or_missing_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let (journal, writer) = open(&layout).unwrap();
    drop(journal);
    writer.join();
    let db = open_sled(layout.journal_folder()).unwrap();
    db.remove(keys::MARKER).unwrap();
    db.flush().unwrap();
    drop(db);
    assert!(matches!(open(&layout), Err(OpenError::Emptied { .. })));
    std::fs::remove_dir_all(layout.journal_folder()).unwrap();
    assert!(matches!(open(&layout), Err(OpenError::Emptied { .. })));
}

#[test]
fn a_folder_that_is_no_store_does_not_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let refused = Journal::open_existing(&layout, Arc::new(Metrics::new()));
    assert!(matches!(refused, Err(OpenError::Missing { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_first_start_that_was_cut_short_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    // Cut while the side folder was being made.
    std::fs::create_dir_all(layout.journal_nursery()).unwrap();
    std::fs::write(layout.journal_nursery().join("conf"), b"torn").unwrap();
    drop(open(&layout).unwrap());
    // Cut between the rename and the marker.
    std::fs::remove_file(layout.marker_file()).unwrap();
    wait_until_unlocked(&layout);
    drop(open(&layout).unwrap());
    assert!(layout.marker_file().exists());
}

#[test]
fn a_half_written_snapshot_of_sled_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_path_buf());
    let (journal, writer) = open(&layout).unwrap();
    assert!(matches!(open(&layout), Err(OpenError::InUse { .. })));
    drop(journal);
    writer.join();
    let torn = layout
        .journal_folder()
        .join("snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(&torn, b"torn").unwrap();
    let (_journal, _writer) = open(&layout).unwrap();
    assert!(!torn.exists());
}

/// The writer thread ends, and with it the lock, soon after the last handle is dropped.
fn wait_until_unlocked(layout: &Layout) {
    while open::lock(layout).is_err() {
        std::thread::yield_now();
    }
}
