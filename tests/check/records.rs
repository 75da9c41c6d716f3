//! Records that cannot be read, belong to nothing or count wrong; and what the sweep will do.

use calve::domain::{PartNumber, SessionId};
use calve::store::journal::{Journal, Write};
use calve::store::keys;

use crate::support::client::Target;
use crate::support::server::{OWN_FILES, TestServer};
use crate::world::{World, check, check_with, fill, wide_csv};

fn id(text: &str) -> SessionId {
    SessionId::parse(text).expect("an id")
}

fn put(key: &[u8], value: &[u8]) -> Write {
    Write {
        puts: vec![(key.to_vec(), value.to_vec())],
        ..Write::default()
    }
}

fn value(journal: &Journal, key: &[u8]) -> Vec<u8> {
    journal.get(key).expect("read").expect("a value")
}

/// Replaces text in a value.
fn replaced(journal: &Journal, key: &[u8], from: &str, to: &str) -> Write {
    let text = String::from_utf8_lossy(&value(journal, key)).into_owned();
    assert!(text.contains(from), "{text}");
    put(key, text.replace(from, to).as_bytes())
}

/// The first chunk of a part's record.
fn first_chunk(session: &str, part: u16) -> Vec<u8> {
    [
        keys::part(&id(session), PartNumber(part)).as_slice(),
        &[0, 0],
    ]
    .concat()
}

/// Makes a change, looks, and takes it back.
#[track_caller]
fn find_after(
    world: &World,
    when: &str,
    code: i32,
    kinds: &[&str],
    key: &[u8],
    edit: &dyn Fn(&Journal) -> Write,
) {
    let mut before = None;
    {
        let cell = std::cell::RefCell::new(&mut before);
        world.edit_journal(|journal| {
            **cell.borrow_mut() = journal.get(key).expect("read");
            edit(journal)
        });
    }
    check(&world.server, &[]).expect(code, kinds, when);
    world.edit_journal(|_| match &before {
        Some(value) => put(key, value),
        None => Write {
            removes: vec![key.to_vec()],
            ..Write::default()
        },
    });
    check(&world.server, &[]).expect(0, &[], "taken back");
}

#[test]
fn records_that_cannot_be_read_are_found() {
    let world = World::stopped();
    let session = keys::session(&id(&world.open));
    find_after(
        &world,
        "no JSON",
        3,
        &["record_unreadable"],
        &session,
        &|_| put(&session, b"x"),
    );
    find_after(
        &world,
        "newer",
        3,
        &["record_unreadable"],
        &session,
        &|journal| replaced(journal, &session, "\"v\":1", "\"v\":9"),
    );
    let pointer = b"t/acme.sales.orders";
    find_after(
        &world,
        "a pointer",
        3,
        &["record_unreadable"],
        pointer,
        &|_| put(pointer, b"x"),
    );
    let chunk = first_chunk(&world.open, 0);
    find_after(&world, "a part", 3, &["record_unreadable"], &chunk, &|_| {
        put(&chunk, b"x")
    });
    // The wide part's record has several chunks.
    let wide = first_chunk(&world.open, 1);
    let remove = |key: &[u8]| Write {
        removes: vec![key.to_vec()],
        ..Write::default()
    };
    find_after(
        &world,
        "first chunk",
        3,
        &["record_unreadable"],
        &wide,
        &|_| remove(&wide),
    );
    let mut second = wide.clone();
    *second.last_mut().expect("a byte") = 1;
    find_after(
        &world,
        "second chunk",
        3,
        &["record_unreadable"],
        &second,
        &|_| remove(&second),
    );
}

#[test]
fn records_that_contradict_files_and_tables_are_found() {
    let world = World::stopped();
    let chunk = first_chunk(&world.open, 0);
    find_after(
        &world,
        "rows",
        3,
        &["early_file_rows"],
        &chunk,
        &|journal| {
            let bytes = value(journal, &chunk);
            // The chunk starts with the number of chunks; the record is compressed.
            let text = zstd::decode_all(&bytes[2..]).expect("a compressed record");
            let text = String::from_utf8(text).expect("text");
            assert!(text.contains("\"rows\":9,"), "{text}");
            let text = text.replace("\"rows\":9,", "\"rows\":8,");
            let record = zstd::encode_all(text.as_bytes(), 1).expect("compress");
            put(&chunk, &[&bytes[..2], &record].concat())
        },
    );
    let session = keys::session(&id(&world.committed));
    find_after(
        &world,
        "rows written",
        3,
        &["receipt_differs"],
        &session,
        &|journal| {
            replaced(
                journal,
                &session,
                "\"rows_written\":50",
                "\"rows_written\":51",
            )
        },
    );
    let missing = ["receipt_snapshot_missing"];
    find_after(&world, "snapshot", 3, &missing, &session, &|journal| {
        let bytes = value(journal, &session);
        let mut record: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        record["record"]["committed"]["receipt"]["snapshot_id"] = 1.into();
        put(&session, record.to_string().as_bytes())
    });
    let pointer = b"t/acme.sales.orders";
    let kinds = ["receipt_snapshot_missing", "table_without_pointer"];
    find_after(&world, "no pointer", 3, &kinds, pointer, &|_| Write {
        removes: vec![pointer.to_vec()],
        ..Write::default()
    });
}

#[test]
fn records_that_belong_to_nothing_are_found_and_mended() {
    let world = World::stopped();
    let nobody = "20260921141320-00000000000000000000000000000abc";
    let orphan = first_chunk(nobody, 0);
    find_after(&world, "unknown", 2, &["record_unknown"], b"z/1", &|_| {
        put(b"z/1", b"x")
    });
    let attempt = b"i/00000000000000000000000000000abc";
    find_after(&world, "attempt", 2, &["commit_cut_off"], attempt, &|_| {
        put(attempt, b"x")
    });
    let hint = b"h/acme.sales.orders";
    std::fs::remove_file(world.table().join("metadata/version-hint.text")).expect("remove");
    world.edit_journal(|_| put(hint, b""));
    check(&world.server, &[]).expect(0, &["version_hint_due"], "a hint is due");
    world.edit_journal(|_| Write {
        puts: vec![
            (orphan.clone(), b"x".to_vec()),
            (keys::OPEN_SESSIONS.to_vec(), 7u64.to_be_bytes().to_vec()),
        ],
        removes: vec![hint.to_vec(), keys::COMMITTED_SESSIONS.to_vec()],
        ..Write::default()
    });
    let kinds = [
        "counter_wrong",
        "part_record_orphaned",
        "version_hint_wrong",
    ];
    let found = check(&world.server, &[]).expect(3, &kinds, "three kinds");
    assert_eq!(found.report["counts"]["leftover"], 3, "{:#}", found.report);
    check(&world.server, &["--repair"]).expect(0, &[], "mended");
    let again = check(&world.server, &["--repair"]).expect(0, &[], "again");
    assert_eq!(again.report["repairs"].as_array().map(Vec::len), Some(0));
    world.assert_tables_hold();
}

#[test]
fn files_of_a_commit_that_was_cut_off_belong_to_its_attempt() {
    let world = World::stopped();
    let file = world
        .table()
        .join("data/x-00000000-0000-0000-0000-000000000abc.parquet");
    std::fs::write(&file, b"12345").expect("write");
    world.edit_journal(|_| put(b"i/00000000000000000000000000000abc", b"x"));
    let found = check(&world.server, &[]).expect(2, &["commit_cut_off"], "cut off");
    assert_eq!(found.report["findings"][0]["bytes"], 5);
    check_with(&world.data_dir(), &["--repair"], &[crate::world::NO_GRACE]).expect(
        2,
        &["commit_cut_off"],
        "the next start's to remove",
    );
    assert!(file.exists());
}

#[test]
fn rests_of_a_longer_record_are_noted_and_can_go() {
    let mut server = TestServer::start_with(&[OWN_FILES]);
    let session = fill(&server.api(), &[wide_csv().0]);
    server.api().put_csv(&session, 0, "a\n1\n");
    server.terminate();
    let kinds = ["part_record_superseded"];
    check(&server, &[]).expect(0, &kinds, "a shorter record replaced a longer one");
    let repaired = check(&server, &["--repair"]).expect(0, &[], "mended");
    assert_eq!(repaired.report["repairs"][0]["outcome"], "done");
    server.restart();
    let target = Target::new("acme.sales.orders");
    let committed = server
        .api()
        .commit(&session, &target, "fail")
        .expect_json(200);
    assert_eq!(committed["rows_written"], 1);
}

#[test]
fn what_the_sweep_will_do_is_listed_and_left_to_it() {
    let mut server = TestServer::start_with(&[
        ("CALVE_SESSIONS__TTL", "1s"),
        ("CALVE_CLEANING__INTERVAL", "1h"),
    ]);
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let committed = fill(&api, &["a\n1\n".to_owned()]);
    api.commit(&committed, &target, "fail").expect(200);
    let abandoned = fill(&api, &["a\n2\n".to_owned()]);
    crate::support::wait_until(
        "the session's time is over",
        crate::support::PATIENCE,
        || (api.inspect(&abandoned).status == 410).then_some(()),
    );
    server.terminate();
    let forgetful = [("CALVE_CLEANING__RETENTION", "0s")];
    let kinds = ["session_to_end", "session_to_forget"];
    for arguments in [&[][..], &["--repair"]] {
        let found = check_with(&server.data_dir(), arguments, &forgetful);
        let found = found.expect(0, &kinds, "left to the sweep");
        let findings = found.report["findings"].as_array().expect("a list");
        assert_eq!(findings.len(), 2, "{findings:#?}");
        assert_eq!(findings[0]["session"], abandoned.as_str());
        assert_eq!(findings[1]["session"], committed.as_str());
    }
}
