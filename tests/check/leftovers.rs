//! What nothing refers to is found, told from damage, and removed by `--repair` and by nothing else.

use std::path::PathBuf;

use crate::support::client::{AS_CSV, Target, commit_request};
use crate::support::data::{Expectation, numbered_csv};
use crate::support::raw::RawRequest;
use crate::support::server::{OWN_FILES, TestServer, files_below};
use crate::support::table::assert_table_holds;
use crate::support::{PATIENCE, wait_until};
use crate::world::{Folder, NO_GRACE, World, check, check_with, fill, make};

#[test]
fn every_stray_file_is_found_by_its_kind() {
    let world = World::stopped();
    let (data_dir, table) = (world.data_dir(), world.table());
    let staging = data_dir.join("staging");
    let nobodys = "20260921141320-00000000000000000000000000000abc";
    let cases: [(PathBuf, &str); 11] = [
        (
            staging.join(&world.open).join("00000-1.csv"),
            "staged_file_unreferenced",
        ),
        (
            staging.join(&world.open).join("00000-1.raw.tmp"),
            "staged_file_unreferenced",
        ),
        (
            staging.join(&world.committed).join("x"),
            "staged_file_unreferenced",
        ),
        (staging.join(nobodys).join("x"), "staged_file_unreferenced"),
        (staging.join("x"), "foreign_file"),
        (table.join("data/x.parquet"), "table_file_unreferenced"),
        (table.join("metadata/x-m0.avro"), "table_file_unreferenced"),
        (table.join("x"), "foreign_file"),
        (table.join("data/folder/x.parquet"), "foreign_file"),
        (data_dir.join("warehouse/acme/x"), "foreign_file"),
        (
            data_dir.join("warehouse/acme/sales/nothing/data/x"),
            "table_file_unreferenced",
        ),
    ];
    for (path, kind) in cases {
        let relative = path
            .strip_prefix(&data_dir)
            .expect("below")
            .to_string_lossy()
            .into_owned();
        let checked = world.check_after(&relative, &[], 2, &[kind], |_| {
            make(path.clone());
        });
        assert_eq!(checked.paths(kind), [relative.as_str()]);
        assert_eq!(checked.report["counts"]["leftover"], 1, "{relative}");
    }
}

#[test]
fn wrong_version_hints_are_found_and_mended() {
    let world = World::stopped();
    let hint = world.table().join("metadata/version-hint.text");
    let older = world.file(&world.table().join("metadata"), |name| {
        name.starts_with("00001-")
    });
    let older = older
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let older = older.trim_end_matches(".metadata.json").to_owned();
    let before = Folder::take(&world.data_dir());
    for said in [
        Some("nonsense"),
        Some(older.as_str()),
        Some("00099-not-there"),
        None,
    ] {
        match said {
            Some(text) => std::fs::write(&hint, text).expect("write"),
            None => std::fs::remove_file(&hint).expect("remove"),
        }
        let when = format!("{said:?}");
        check(&world.server, &[]).expect(3, &["version_hint_wrong"], &when);
        let repaired = check(&world.server, &["--repair"]).expect(0, &[], &when);
        assert_eq!(repaired.report["repairs"][0]["outcome"], "done", "{when}");
        before.assert_same(&when);
    }
    world.assert_tables_hold();
}

#[test]
fn what_expired_snapshots_alone_needed_is_due_and_left_to_the_sweep() {
    let mut server = TestServer::start_with(&[
        ("CALVE_TABLES__SNAPSHOTS_MAX", "2"),
        ("CALVE_TABLES__SNAPSHOTS_MIN", "1"),
    ]);
    let (api, target) = (server.api(), Target::new("acme.sales.orders"));
    for (part, mode) in (0..).zip(["fail", "append", "overwrite", "append", "append"]) {
        let session = fill(&api, &[numbered_csv(part, 10)]);
        api.commit(&session, &target, mode).expect(200);
    }
    server.terminate();
    let before = Folder::take(&server.data_dir());
    let checked = check_with(&server.data_dir(), &["--repair"], &[NO_GRACE]);
    let checked = checked.expect(0, &["expired_files_due"], "within the grace");
    // Lists of three snapshots, the manifests and data files of the first two, the manifest of deletions of the third.
    let detail = &checked.report["findings"][0]["detail"];
    assert_eq!(detail, "9 files", "{:#}", checked.report);
    before.assert_same("a repair leaves what a sweep removes");
    server.set_environment(&[
        ("CALVE_CLEANING__GRACE", "0s"),
        ("CALVE_CLEANING__INTERVAL", "50ms"),
    ]);
    server.restart();
    wait_until("the sweep has removed them", PATIENCE, || {
        let files = files_below(&server.table_dir(&target)).len();
        (files + 9 == before.len_below("warehouse")).then_some(())
    });
    server.terminate();
    check(&server, &[]).expect(0, &[], "after the sweep");
    let expected = (2..5).fold(Expectation::numbered(), |all, part| {
        all.csv(&numbered_csv(part, 10))
    });
    assert_table_holds(&server, &target, &expected);
}

#[test]
fn a_repair_removes_leftovers_once_and_leaves_every_table_as_it_was() {
    let mut world = World::stopped();
    world.assert_tables_hold();
    let (data_dir, table) = (world.data_dir(), world.table());
    let sound = Folder::take(&data_dir);
    let staging = data_dir.join("staging");
    let strays = [
        staging.join(&world.open).join("00000-1.csv"),
        staging.join("nobodys/x"),
        table.join("data/x.parquet"),
        table.join("metadata/x.avro"),
        data_dir.join("warehouse/acme/sales/nothing/data/x"),
    ];
    strays.iter().cloned().for_each(|path| drop(make(path)));
    let kinds = ["staged_file_unreferenced", "table_file_unreferenced"];
    let littered = Folder::take(&data_dir);
    let kept = check(&world.server, &["--repair"]).expect(2, &kinds, "within the grace");
    let outcomes = kept.report["repairs"].as_array().expect("a list");
    assert_eq!(outcomes.len(), strays.len());
    assert!(
        outcomes.iter().all(|one| one["outcome"] == "kept"),
        "{outcomes:#?}"
    );
    littered.assert_same("nothing is removed within the grace");
    let foreign = make(table.join("notes.txt"));
    let repaired = check_with(&data_dir, &["--repair"], &[NO_GRACE]);
    repaired.expect(2, &["foreign_file"], "after the grace");
    assert!(foreign.exists(), "not Calve's to remove");
    std::fs::remove_file(foreign).expect("remove");
    sound.assert_same("all strays are gone, and nothing else is");
    assert!(
        !staging.join("nobodys").exists(),
        "its folder went with its file"
    );
    let again = check_with(&data_dir, &["--repair"], &[NO_GRACE]).expect(0, &[], "again");
    assert_eq!(again.report["repairs"].as_array().map(Vec::len), Some(0));
    world.assert_tables_hold();
    // The server goes on with the folder, and with the open session.
    world.server.restart();
    world.server.api().inspect(&world.open).expect(200);
}

#[test]
fn a_table_with_damage_keeps_its_leftovers() {
    let world = World::stopped();
    let damaged = world.file(&world.table().join("data"), |_| true);
    let stray = make(world.table().join("data/x.parquet"));
    let elsewhere = make(world.server.table_dir(&world.wide).join("data/x.parquet"));
    std::fs::remove_file(damaged).expect("remove");
    let kinds = ["data_file_missing", "table_file_unreferenced"];
    let kept = check_with(&world.data_dir(), &["--repair"], &[NO_GRACE]);
    let kept = kept.expect(3, &kinds, "a lost file").report.to_string();
    assert!(kept.contains("--repair leaves it"), "{kept}");
    assert!(stray.exists() && !elsewhere.exists());
    // With a manifest gone, nobody knows what is referenced, so nothing is said of other files.
    let manifest = world.file(&world.table().join("metadata"), |name| {
        name.ends_with("-m0.avro")
    });
    std::fs::remove_file(manifest).expect("remove");
    let all = check_with(&world.data_dir(), &["--repair"], &[NO_GRACE]);
    assert!(
        all.kinds().contains(&"manifest_missing".to_owned()),
        "{:?}",
        all.kinds()
    );
    assert_eq!(all.paths("table_file_unreferenced"), [""; 0]);
    assert!(stray.exists());
}

#[test]
fn a_server_killed_between_requests_leaves_nothing() {
    let mut server = TestServer::start_with(&[OWN_FILES]);
    let api = server.api();
    let session = api.open_session();
    api.put_part(&session, 0, b"a\n1\n", AS_CSV).expect(201);
    server.kill();
    check(&server, &[]).expect(0, &[], "killed between requests");
    assert_eq!(files_below(&server.data_dir().join("staging")).len(), 2);
}

#[test]
fn what_a_killed_commit_left_is_no_damage_and_goes_with_the_next_start() {
    let mut server = TestServer::start_with(&[OWN_FILES]);
    let target = Target::new("acme.sales.orders");
    let parts: Vec<String> = (0..6).map(|part| numbered_csv(part, 200)).collect();
    let session = fill(&server.api(), &parts);
    let body = commit_request(&target, "append").to_string();
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
    ];
    let path = format!("/v1/upload/{session}/commit");
    let mut request = RawRequest::start(server.base_url(), "POST", &path, &headers);
    request.write(body.as_bytes());
    wait_until("the commit writes", PATIENCE, || {
        (!files_below(&server.table_dir(&target)).is_empty()).then_some(())
    });
    server.kill();
    let left = check(&server, &[]);
    // Where the kill fell is chance: before the commit published, after it, or when its staged files were being removed.
    let harmless = [
        "commit_cut_off",
        "staged_file_unreferenced",
        "version_hint_due",
    ];
    let kinds = left.kinds();
    assert!(
        kinds.iter().all(|kind| harmless.contains(&kind.as_str())),
        "{kinds:?}"
    );
    assert_ne!(left.code, 3, "{:#}", left.report);
    server.restart();
    wait_until("the first sweep has undone the commit", PATIENCE, || {
        let found = check_with(&server.data_dir(), &[], &[NO_GRACE]);
        let has_table_files = found
            .kinds()
            .contains(&"table_file_unreferenced".to_owned());
        (!has_table_files).then_some(())
    });
    let answer = server.api().commit(&session, &target, "append");
    assert_eq!(answer.expect_json(200)["rows_written"], 1200);
    check(&server, &["--deep"]).expect(0, &[], "committed once");
}
