//! The check beside a running server: it finds what is wrong, and nothing that is merely going on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::client::{AS_CSV, Api, Target};
use crate::support::data::numbered_csv;
use crate::support::server::{OWN_FILES, TestServer, files_below};
use crate::world::{Folder, NO_GRACE, World, check, check_command, check_with, make};

/// Commits that must have happened while checks ran.
const COMMITS_MIN: usize = 40;
/// Checks that must have run meanwhile.
const CHECKS_MIN: usize = 6;

#[test]
fn nothing_is_found_while_many_clients_work() {
    let server = TestServer::start_with(&[OWN_FILES]);
    let (commits, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..4 {
            let (api, commits, ends) = (server.api(), &commits, &ends);
            scope.spawn(move || {
                for round in 0.. {
                    if ends.load(Ordering::Acquire) > 0 {
                        return;
                    }
                    // Two share their tables. Few commits each: metadata files that are too old for the log are noted.
                    let (name, table) = (worker.min(2), round / 20);
                    let target = Target::new(&format!("acme.sales.orders_{name}_{table}"));
                    work(&api, worker, &target);
                    commits.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let stop = StopOnDrop(&ends);
        let mut checks = 0;
        while checks < CHECKS_MIN || commits.load(Ordering::Acquire) < COMMITS_MIN {
            let checked = check(&server, &[]).expect(0, &[], "under load");
            assert_eq!(checked.report["mode"], "running");
            checks += 1;
        }
        drop(stop);
    });
    let after = check(&server, &["--deep"]).expect(0, &[], "after the load");
    assert_eq!(
        after.report["looked_at"]["snapshots"],
        commits.load(Ordering::Acquire)
    );
}

/// Ends the workers also when a check fails.
struct StopOnDrop<'a>(&'a AtomicUsize);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(1, Ordering::Release);
    }
}

/// One session with everything that can happen to a part.
fn work(api: &Api, worker: u32, target: &Target) {
    let session = api.open_session();
    for part in 0..3 {
        api.put_csv(&session, part, &numbered_csv(worker * 10 + part, 40));
    }
    api.put_csv(&session, 1, &numbered_csv(worker * 10 + 9, 20));
    api.delete_part(&session, 2).expect(200);
    api.commit(&session, target, "append").expect(200);
    let abandoned = api.open_session();
    api.put_part(&abandoned, 0, b"a\n1\n", AS_CSV).expect(201);
}

#[test]
fn damage_and_leftovers_are_found_beside_a_server_and_left_as_they_are() {
    let world = World::running();
    check(&world.server, &[]).expect(0, &[], "idle");
    let staged = world.data_dir().join("staging").join(&world.open);
    std::fs::remove_file(world.file(&staged, |name| name.ends_with(".csv"))).expect("remove");
    std::fs::remove_file(world.file(&world.table().join("data"), |_| true)).expect("remove");
    make(staged.join("00009-1.csv"));
    make(world.table().join("data/x.parquet"));
    let lost = ["data_file_missing", "staged_file_missing"];
    check(&world.server, &[]).expect(3, &lost, "young files may be in use");
    let all = [
        lost[0],
        lost[1],
        "staged_file_unreferenced",
        "table_file_unreferenced",
    ];
    let before = Folder::take(&world.data_dir());
    check_with(&world.data_dir(), &[], &[NO_GRACE]).expect(3, &all, "old files are not");
    before.assert_same("a check changes nothing");
}

#[test]
fn nothing_is_repaired_beside_a_server() {
    let server = TestServer::start_with(&[OWN_FILES]);
    let stray = make(server.data_dir().join("staging/nobodys/x"));
    let output = check_command(&server.data_dir(), &["--repair"])
        .output()
        .expect("run");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("Stop the server first"), "{message}");
    assert!(stray.exists());
}

#[test]
fn the_socket_goes_with_the_server_and_one_that_was_killed_is_not_waited_for() {
    let mut server = TestServer::start_with(&[OWN_FILES]);
    let socket = server.data_dir().join("control.sock");
    assert!(socket.exists());
    server.kill();
    assert!(socket.exists());
    let offline = check(&server, &[]).expect(0, &[], "after a kill");
    assert_eq!(offline.report["mode"], "offline");
    server.restart();
    let running = check(&server, &[]).expect(0, &[], "after a restart");
    assert_eq!(running.report["mode"], "running");
    server.terminate();
    assert!(!socket.exists());
    assert_eq!(files_below(&server.data_dir().join("staging")).len(), 0);
}
