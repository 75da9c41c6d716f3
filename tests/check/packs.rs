//! Small parts share files: what is wrong with one is told of each part in it, and one that no part needs is a leftover.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::support::client::{AS_NDJSON, Target};
use crate::support::server::{TestServer, files_below, packed_bytes};
use crate::support::{PATIENCE, wait_until};
use crate::world::{Folder, NO_GRACE, check, check_with, fill, make};

const SETTINGS: &[(&str, &str)] = &[NO_GRACE, ("CALVE_CLEANING__INTERVAL", "50ms")];

#[test]
fn damage_to_a_pack_is_told_of_the_parts_in_it() {
    let mut server = TestServer::start();
    let api = server.api();
    let session = fill(&api, &["a\n1\n".to_owned(), "a\n22\n".to_owned()]);
    let inspected = api.inspect(&session).expect_json(200);
    let parts = inspected["parts"].as_array().expect("parts");
    let bytes: Vec<_> = parts
        .iter()
        .map(|part| packed_bytes(&server.data_dir(), part).expect("a packed part"))
        .collect();
    assert_eq!(bytes, [b"a\n1\n".to_vec(), b"a\n22\n".to_vec()]);
    server.terminate();
    check(&server, &["--deep"]).expect(0, &[], "after real work");
    let folder = server.data_dir().join("packs");
    let [pack] = files_below(&folder).try_into().expect("one pack");
    let pack = folder.join(pack);

    let before = Folder::take(&server.data_dir());
    let find = |when: &str, kinds: &[&str], change: &dyn Fn()| {
        change();
        check(&server, &[]).expect(3, kinds, when);
        before.put_back();
    };
    find("without the pack", &["staged_file_missing"], &|| {
        fs::remove_file(&pack).expect("remove the pack")
    });
    find("with its end cut off", &["staged_file_size"], &|| {
        let file = OpenOptions::new().write(true).open(&pack).expect("open");
        file.set_len(8).expect("cut the pack");
    });
    find("with a byte changed", &["staged_file_checksum"], &|| {
        let file = OpenOptions::new().write(true).open(&pack).expect("open");
        file.write_all_at(b"3", 2).expect("change a byte");
    });
    check(&server, &[]).expect(0, &[], "when all is as it was");
}

#[test]
fn a_pack_without_parts_is_a_leftover_that_repair_and_sweeps_remove() {
    let mut server = TestServer::start_with(SETTINGS);
    let api = server.api();
    let session = fill(&api, &["a\n1\n".to_owned()]);
    let kept = api.open_session();
    let row = br#"{"a": 3}"#;
    api.put_part(&kept, 0, row, AS_NDJSON).expect(201);
    server.terminate();
    let packs = server.data_dir().join("packs");
    make(packs.join("7.pack"));
    make(packs.join("x"));
    let kinds = ["staged_file_unreferenced", "foreign_file"];
    check(&server, &[]).expect(2, &kinds, "with strangers in the folder");
    let repaired = check_with(&server.data_dir(), &["--repair"], &[NO_GRACE]);
    repaired.expect(2, &["foreign_file"], "after a repair");
    assert!(!packs.join("7.pack").exists());
    fs::remove_file(packs.join("x")).expect("remove what is foreign");

    // A part of an earlier run is read from its pack, and the pack goes when the last session with a part in it ends.
    server.restart();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    api.commit(&session, &target, "fail").expect(200);
    let old = files_below(&packs);
    assert_eq!(old.len(), 1);
    let stray = make(server.data_dir().join("staging/nobodys/stray"));
    wait_until("sweeps have run", PATIENCE, || {
        (!stray.exists()).then_some(())
    });
    assert!(File::open(packs.join(&old[0])).is_ok(), "a part is wanted");
    let committed = api.commit(&kept, &target, "append").expect_json(200);
    assert_eq!(committed["rows_written"], 1);
    wait_until("the pack is gone", PATIENCE, || {
        files_below(&packs).is_empty().then_some(())
    });
    server.terminate();
    check(&server, &["--deep"]).expect(0, &[], "at the end");
}
