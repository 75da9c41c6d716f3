//! Folders that are as they should be, folders that are none, and command lines that make no sense.

use calve::check::report::Kind;

use crate::support::server::{TestServer, files_below};
use crate::world::{Folder, World, check, check_command};

#[test]
fn nothing_is_found_after_real_work() {
    let world = World::stopped();
    let before = Folder::take(&world.data_dir());
    let checked = check(&world.server, &["--deep"]).expect(0, &[], "after real work");
    before.assert_same("a check changes nothing");
    let looked = &checked.report["looked_at"];
    assert_eq!(looked["sessions"], 7, "{looked}");
    assert_eq!(looked["open_sessions"], 1, "{looked}");
    assert_eq!(looked["parts"], 3, "{looked}");
    assert_eq!(looked["tables"], 3, "{looked}");
    assert_eq!(looked["snapshots"], 6, "{looked}");
    assert_eq!(looked["data_files"], 8, "{looked}");
    assert_eq!(checked.report["verdict"], "sound");
    let text = check_command(&world.data_dir(), &[]).output().expect("run");
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.ends_with("Verdict: sound.\n"), "{text}");
}

#[test]
fn every_kind_of_finding_is_provoked_by_a_test() {
    let tests = [
        include_str!("damage.rs"),
        include_str!("leftovers.rs"),
        include_str!("records.rs"),
    ]
    .concat();
    for kind in Kind::ALL {
        let name = format!("\"{}\"", kind.name());
        assert!(tests.contains(&name), "{name}");
    }
}

#[test]
fn a_new_servers_folder_is_sound() {
    let mut server = TestServer::start();
    server.terminate();
    check(&server, &[]).expect(0, &[], "after an idle server");
}

#[test]
fn a_folder_that_is_none_of_calves_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    for (data_dir, words) in [
        (folder.path(), "is no data folder of calve"),
        (missing.as_path(), "cannot use"),
    ] {
        let output = check_command(data_dir, &["--repair"])
            .output()
            .expect("run");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(files_below(folder.path()).len(), 0);
    assert!(!missing.exists());
}

#[test]
fn a_check_that_cannot_run_is_told_from_what_it_would_find() {
    let mut server = TestServer::start();
    server.terminate();
    let run = |arguments: &[&str]| {
        let output = check_command(&server.data_dir(), arguments)
            .output()
            .expect("run");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, message) = run(&["--no-such-flag"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("--no-such-flag"), "{message}");
    std::fs::remove_dir_all(server.data_dir().join("journal")).expect("remove the journal");
    let (code, message) = run(&[]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("its journal is missing"), "{message}");
    let help = check_command(&server.data_dir(), &["--help"])
        .output()
        .expect("run");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert_eq!(help.status.code(), Some(0));
    for line in [
        "  0  sound",
        "  1  the check",
        "  2  leftovers",
        "  3  damage",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
