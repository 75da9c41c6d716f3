//! Parquet parts whose pages go into the table as they were sent, and those that are written anew: both give every value.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::client::{AS_PARQUET, Target, session_id_of};
use crate::support::data::Expectation;
use crate::support::python::run_json;
use crate::support::server::{TestServer, files_below};
use crate::support::table::assert_table_holds;

fn target() -> Target {
    Target::new("acme.types.adopted")
}

fn make(server: &TestServer, name: &str, writer: &[&str]) -> PathBuf {
    let path = server.scratch(name);
    let mut arguments = vec![path.display().to_string()];
    arguments.extend(writer.iter().map(|&one| one.to_owned()));
    run_json("make_adoptable_parquet.py", &arguments);
    path
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("read the Parquet file")
}

/// How many of the table's data files begin with these bytes.
fn files_with_pages_of(server: &TestServer, sent: &[u8]) -> usize {
    let folder = server.table_dir(&target()).join("data");
    files_below(&folder)
        .iter()
        .filter(|path| read(&folder.join(path)).starts_with(sent))
        .count()
}

#[test]
fn pages_are_kept_in_both_kinds_of_session_and_under_other_ids() {
    let server = TestServer::start();
    let api = server.api();
    let snappy = make(&server, "snappy.parquet", &["snappy"]);
    let zstd = make(&server, "zstd.parquet", &["zstd", "reversed"]);

    let plain = make(&server, "plain.parquet", &["plain"]);

    let session = api.open_session();
    let answer = api
        .put_part(&session, 0, &read(&snappy), AS_PARQUET)
        .expect_json(201);
    assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
    let inspected = api.inspect(&session).expect_json(200);
    assert_eq!(inspected["parts"][0]["parquet"], json!({"adopted": true}));
    server.assert_sound();
    api.commit(&session, &target(), "fail").expect(200);

    // The columns stand in another order, so an unbound session gave them other ids.
    let unbound = api.open_session();
    let answer = api
        .put_part(&unbound, 0, &read(&zstd), AS_PARQUET)
        .expect_json(201);
    assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
    api.commit(&unbound, &target(), "append").expect(200);

    // A bound session knows the ids; the body is compressed on the way.
    let bound = session_id_of(&api.open_bound_session(&target()));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&read(&zstd)).expect("compress");
    let body = encoder.finish().expect("compress");
    let headers = [
        ("x-file-name", "data.parquet"),
        ("content-encoding", "gzip"),
    ];
    let answer = api.put_part(&bound, 7, &body, &headers).expect_json(201);
    assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
    server.assert_sound();
    api.commit(&bound, &target(), "append").expect(200);

    assert_eq!(files_with_pages_of(&server, &read(&snappy)), 1);
    assert_eq!(files_with_pages_of(&server, &read(&zstd)), 2);
    let expected = Expectation::like_parquet_file(&plain).parquet_file(&plain, 2);
    assert_table_holds(&server, &target(), &expected);
    server.assert_sound();
}

#[test]
fn files_of_duckdb_are_kept() {
    let server = TestServer::start();
    let api = server.api();
    let path = make(&server, "duckdb.parquet", &["duckdb"]);
    let session = api.open_session();
    let answer = api
        .put_part(&session, 0, &read(&path), AS_PARQUET)
        .expect_json(201);
    assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
    api.commit(&session, &target(), "fail").expect(200);
    assert_eq!(files_with_pages_of(&server, &read(&path)), 1);
    assert_table_holds(&server, &target(), &Expectation::like_parquet_file(&path));
}

#[test]
fn what_readers_disagree_about_is_written_anew_and_said() {
    let server = TestServer::start();
    let api = server.api();
    let odd = server.scratch("odd.parquet");
    let plain = server.scratch("plain.parquet");
    let paths = [&odd, &plain].map(|path| path.display().to_string());
    run_json("make_odd_parquet.py", &paths);
    let session = api.open_session();
    let parquet: Value = api
        .put_part(&session, 0, &read(&odd), AS_PARQUET)
        .expect_json(201)["parquet"]
        .clone();
    assert_eq!(parquet["adopted"], json!(false));
    assert_eq!(
        parquet["reason"],
        json!("a column holds only nulls and has no type")
    );
}

/// Every cut is refused; a changed byte is refused or taken for what it says; nothing else ends a request, and the server goes on.
#[test]
fn no_cut_and_no_changed_byte_is_more_than_a_refusal() {
    let server = TestServer::start();
    let api = server.api();
    let path = make(&server, "small.parquet", &["tiny"]);
    let sound = read(&path);
    let session = api.open_session();
    for length in 1..sound.len() {
        api.put_part(&session, 0, &sound[..length], AS_PARQUET)
            .expect_refusal(422, "format_unreadable");
    }
    let (mut taken, mut refused) = (0, 0);
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 0x55;
        let answer = api.put_part(&session, 0, &changed, AS_PARQUET);
        match answer.status {
            201 => taken += 1,
            422 => refused += 1,
            other => panic!("byte {at}: {other} {}", answer.text()),
        }
    }
    println!("{taken} taken, {refused} refused");
    // Much of a small file is statistics and names that may be anything.
    assert!(refused > sound.len() / 4 && taken > 0);
    let answer = api
        .put_part(&session, 0, &sound, AS_PARQUET)
        .expect_json(201);
    assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
    api.commit(&session, &target(), "fail").expect(200);
    assert_table_holds(&server, &target(), &Expectation::like_parquet_file(&path));
    server.assert_sound();
}

/// pyarrow gives every page a checksum: whichever byte of a page is changed, the answer says which page.
#[test]
fn a_page_that_is_not_as_it_was_written_is_told_by_its_checksum() {
    for mode in ["full", "structure"] {
        let server = TestServer::start_with(&[("CALVE_PARTS__VERIFY_PARQUET", mode)]);
        let api = server.api();
        let sound = read(&make(&server, "snappy.parquet", &["snappy"]));
        let session = api.open_session();
        let footer_bytes = sound[sound.len() - 8..sound.len() - 4].try_into();
        let footer_bytes = u32::from_le_bytes(footer_bytes.expect("four bytes")) as usize;
        let mut by_checksum = 0;
        for at in (4..sound.len() - footer_bytes - 8).step_by(7) {
            let mut changed = sound.clone();
            changed[at] ^= 0x10;
            let answer = api.put_part(&session, 0, &changed, AS_PARQUET);
            if answer.status == 201 {
                continue;
            }
            let refusal = answer.expect_refusal(422, "format_unreadable");
            let detail = refusal["detail"].as_str().expect("text");
            by_checksum += usize::from(detail.contains("its checksum is"));
        }
        // The others are bytes of page headers, and of the page index, which nobody needs.
        assert!(by_checksum > 100, "{by_checksum}");
        api.put_part(&session, 0, &sound, AS_PARQUET).expect(201);
    }
}

#[test]
fn a_file_of_which_only_the_structure_is_verified_gives_the_same_table() {
    let server = TestServer::start_with(&[("CALVE_PARTS__VERIFY_PARQUET", "structure")]);
    let api = server.api();
    let path = make(&server, "snappy.parquet", &["snappy"]);
    let plain = make(&server, "plain.parquet", &["plain"]);
    let session = api.open_session();
    let answer = api
        .put_part(&session, 0, &read(&path), AS_PARQUET)
        .expect_json(201);
    assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
    assert_eq!(answer["rows"], json!(6));
    api.commit(&session, &target(), "fail").expect(200);
    assert_table_holds(&server, &target(), &Expectation::like_parquet_file(&plain));
}

/// Readers leave out row groups by what the footer says, so a footer that is wrong would lose rows.
#[test]
fn a_file_whose_statistics_are_wrong_is_written_anew() {
    const LARGEST: i64 = 0x0123_4567_89AB_CDEF;
    let server = TestServer::start();
    let api = server.api();
    let path = server.scratch("numbers.parquet");
    let rows = format!(r#"[{{"n": 1}}, {{"n": {LARGEST}}}]"#);
    run_json(
        "make_parquet.py",
        &[path.display().to_string(), "--rows".to_owned(), rows],
    );
    let mut lying = read(&path);
    let footer_bytes = lying[lying.len() - 8..lying.len() - 4].try_into();
    let footer_at =
        lying.len() - 8 - u32::from_le_bytes(footer_bytes.expect("four bytes")) as usize;
    let mut changed = 0;
    for at in footer_at..lying.len() - 8 {
        if lying[at..at + 8] == LARGEST.to_le_bytes() {
            lying[at..at + 8].copy_from_slice(&7i64.to_le_bytes());
            changed += 1;
        }
    }
    assert!(changed > 0);
    let session = api.open_session();
    let answer = api
        .put_part(&session, 0, &lying, AS_PARQUET)
        .expect_json(201);
    let reason = "column `n`: its statistics are wrong";
    assert_eq!(
        answer["parquet"],
        json!({"adopted": false, "reason": reason})
    );
    api.commit(&session, &target(), "fail").expect(200);
    assert_table_holds(&server, &target(), &Expectation::like_parquet_file(&path));
}

/// An int column under a long one of the table: the pages stay, readers widen.
#[test]
fn an_adopted_part_is_appended_to_a_wider_column() {
    let server = TestServer::start();
    let api = server.api();
    let wide = server.scratch("wide.parquet");
    let row = r#"[{"int32": 5000000000, "text": "x"}]"#;
    run_json(
        "make_parquet.py",
        &[
            wide.display().to_string(),
            "--rows".to_owned(),
            row.to_owned(),
        ],
    );
    let tiny = make(&server, "tiny.parquet", &["tiny"]);
    for (path, mode) in [(&wide, "fail"), (&tiny, "append")] {
        let session = api.open_session();
        let answer = api
            .put_part(&session, 0, &read(path), AS_PARQUET)
            .expect_json(201);
        assert_eq!(answer["parquet"], json!({"adopted": true}), "{answer}");
        api.commit(&session, &target(), mode).expect(200);
    }
    let expected = Expectation::like_parquet_file(&wide).parquet_file(&tiny, 1);
    assert_table_holds(&server, &target(), &expected);
    server.assert_sound();
}
