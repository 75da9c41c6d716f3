//! Proves that `kill -9` at any moment, with clients at work, loses nothing and doubles nothing.
//!
//! A run has one data folder and several kills. Six clients open sessions, upload, replace and delete parts, race each
//! other, and commit in all modes to tables that they share, until the server is killed at a random moment; it is
//! started again, and they send again what got no answer. A ledger holds what they know. After every restart the
//! sessions are compared with it, down to the staged bytes, and acknowledged commits are repeated; at the end every table
//! is read by PyIceberg and DuckDB, and the sweep must have left nothing behind.
//!
//! `CALVE_TEST_LONG=1` kills 200 times. `CALVE_TEST_SEED` gives the clients' decisions and the choice of moments again;
//! what exactly runs when, the machine decides.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and nothing here is seen from outside"
)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod checks;
mod clients;
mod gate;
mod ledger;

use std::collections::BTreeSet;
use std::hint;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clients::{Client, World};
use support::client::Api;
use support::random::{Random, seed};
use support::server::{TestServer, files_below};
use support::{PATIENCE, is_long};

const CLIENTS: usize = 6;
const KILLS: u64 = 12;
const KILLS_LONG: u64 = 200;
/// Sweeps run all the time, and sessions come and go from memory.
const SETTINGS: &[(&str, &str)] = &[
    ("CALVE_CLEANING__INTERVAL", "100ms"),
    // The long version commits more than so many times, and looks at every snapshot in the end.
    ("CALVE_TABLES__SNAPSHOTS_MAX", "0"),
    ("CALVE_CLEANING__GRACE", "5s"),
    ("CALVE_SESSIONS__IDLE_IN_MEMORY", "100ms"),
    // Half of the text parts share a file.
    ("CALVE_PARTS__PACKED_BYTES_MAX", "1 KiB"),
];

#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let kills = match is_long() {
        true => KILLS_LONG,
        false => KILLS,
    };
    let seed = seed();
    let mut random = Random::new(seed, 0);
    let world = World::new();
    let mut server = TestServer::start_with(SETTINGS);
    thread::scope(|scope| {
        let _keeper = world.gate.keep();
        for number in 0..CLIENTS {
            let random = Random::new(seed, 1 + number as u64);
            let client = Client::new(&world, random, number);
            scope.spawn(move || client.work());
        }
        let mut killed = 0;
        while killed < kills {
            let api = Api::with_fresh_connections(server.base_url());
            world.gate.open(api);
            await_moment(&server, &world, &mut random);
            world.gate.close();
            server.kill();
            killed += 1;
            world.gate.await_waiting_clients();
            while random.one_in(4) {
                let delay = Duration::from_micros(random.below(60_000));
                let started = Instant::now();
                server.kill_during_start(|_| started.elapsed() >= delay);
                killed += 1;
            }
            server.restart();
            checks::check_after_restart(&server, &world);
        }
        world
            .gate
            .open(Api::with_fresh_connections(server.base_url()));
        world.gate.end();
    });
    checks::check_at_the_end(&mut server, &world);
    println!(
        "{kills} kills, {} sessions, {} answers, {} requests without one",
        world.sessions().len(),
        world.gate.answers(),
        world.gate.lost_answers()
    );
    assert!(world.gate.lost_answers() > 0, "no kill hit a request");
}

/// Waits for a moment to kill the server at: some answers, then perhaps a file that is there for moments only, and a bit.
fn await_moment(server: &TestServer, world: &World, random: &mut Random) {
    let gate = &world.gate;
    gate.await_answers(gate.answers() + 1 + random.below(200));
    let (staging, warehouse) = (server.data_dir().join("staging"), server.warehouse());
    let is_in = |path: &Path, folder| path.parent().is_some_and(|it| it.ends_with(folder));
    let ends_with = |path: &Path, end| path.to_string_lossy().ends_with(end);
    match random.below(8) {
        0 => await_new_file(&staging, |path| ends_with(path, ".tmp")),
        1 => await_new_file(&staging, |path| !ends_with(path, ".tmp")),
        2 => await_new_file(&warehouse, |path| is_in(path, "data")),
        3 => await_new_file(&warehouse, |path| is_in(path, "metadata")),
        4 => await_new_file(&warehouse, |path| ends_with(path, ".metadata.json")),
        _ => {}
    }
    let pause = Duration::from_micros(random.below(3000));
    let started = Instant::now();
    while started.elapsed() < pause {
        hint::spin_loop();
    }
}

/// Returns as soon as there is another file of this kind.
fn await_new_file(folder: &Path, is_wanted: impl Fn(&Path) -> bool) {
    let found = || {
        let files = files_below(folder).into_iter();
        files.filter(|path| is_wanted(path)).collect()
    };
    let before: BTreeSet<PathBuf> = found();
    let started = Instant::now();
    while found().is_subset(&before) {
        assert!(started.elapsed() < PATIENCE, "no client has made a file");
        thread::yield_now();
    }
}
