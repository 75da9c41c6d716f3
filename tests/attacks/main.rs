//! What hostile clients send, over raw sockets to the real binary: each attack has its class of answer, after each the
//! server still serves, and a second round of all of them costs no memory.
//!
//! What is elsewhere: cut bodies, bodies that are too large, too slow or silent, and a gzip bomb in `contract/limits.rs`; codings that lie
//! or are chained in `contract/codings.rs`; names in `contract/requests.rs`; commits repeated by many threads, and parts
//! written twice at once, in `concurrency.rs`; mutated files of every format in `fuzz`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]
#![allow(clippy::too_many_lines, reason = "lists of attacks stand in one place")]

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod bombs;
mod commits;
mod connections;
mod control_bodies;
mod files;
mod framing;
mod heads;
mod paths;

use attack::Attack;
use support::client::{AS_CSV, Api, Target};
use support::data::{Expectation, numbered_csv};
use support::server::TestServer;
use support::table::assert_table_holds;

/// What rounds of small attacks may add to the server's memory, after the first.
const SMALL_GROWTH_BYTES_MAX: u64 = 8 << 20;
const SMALL_ROUNDS: usize = 4;
const LARGE_ROUNDS: usize = 2;
/// The most the server may ever hold, whatever files and bombs say of themselves. What the allocator keeps of it for the next
/// one goes up and down, so it says nothing about growth.
const PEAK_BYTES_MAX: u64 = 512 << 20;

/// Small enough that bombs reach the limits soon, and large enough for every part that is no attack.
const LIMITS: [(&str, &str); 3] = [
    ("CALVE_PARTS__DECODED_BYTES_MAX", "32 MiB"),
    ("CALVE_PARTS__FIELD_BYTES_MAX", "4 MiB"),
    ("CALVE_PARTS__PARQUET_CONTENT_BYTES_MAX", "64 MiB"),
];

/// The server, the session of somebody who means no harm, and what went wrong.
struct World {
    server: TestServer,
    api: Api,
    session: String,
    csv: String,
    failures: Vec<String>,
}

impl World {
    fn new() -> Self {
        let server = TestServer::start_with(&LIMITS);
        let api = server.api();
        Self {
            session: api.open_session(),
            csv: numbered_csv(0, 20),
            failures: Vec::new(),
            server,
            api,
        }
    }

    /// Runs the attacks, looks after each whether others are served, and gives the memory held then.
    fn suffer(&mut self, attacks: &[Attack]) -> u64 {
        for attack in attacks {
            if let Err(why) = attack.run(self.server.base_url()) {
                self.failures.push(format!("{}: {why}", attack.name));
            }
            let part = self
                .api
                .put_part(&self.session, 0, self.csv.as_bytes(), AS_CSV);
            if part.status != 201 || self.api.get("/health").status != 200 {
                self.failures
                    .push(format!("{}: then nobody is served", attack.name));
            }
        }
        self.server.rss_bytes()
    }
}

#[test]
fn every_attack_gets_its_answer_and_the_server_serves_on() {
    let mut world = World::new();
    let attacked = world.api.open_session();
    let small = [
        framing::attacks(&attacked),
        heads::attacks(&attacked),
        paths::attacks(&attacked),
        control_bodies::attacks(&attacked),
    ]
    .concat();
    let large = [bombs::attacks(&attacked), files::attacks(&attacked)].concat();
    let mut small_memory = Vec::new();
    for _ in 0..=SMALL_ROUNDS {
        small_memory.push(world.suffer(&small));
    }
    for _ in 0..LARGE_ROUNDS {
        world.suffer(&large);
    }
    let peak = world.server.peak_rss_bytes();
    println!(
        "{} small attacks, memory after each round: {small_memory:?}; {} large ones, most memory: {peak}",
        small.len(),
        large.len(),
    );
    assert!(world.failures.is_empty(), "{}", world.failures.join("\n"));
    assert!(small_memory[SMALL_ROUNDS] < small_memory[0] + SMALL_GROWTH_BYTES_MAX);
    assert!(peak < PEAK_BYTES_MAX);
    let log = world.server.log();
    // actix calls it an error when what it gets is no HTTP.
    let mut ours = log.lines().filter(|line| !line.contains("actix_http::h1"));
    let told = ours.find(|line| line.contains("panicked") || line.contains(" ERROR "));
    assert_eq!(told, None, "in the server's log");
    assert_is_whole(world);
}

/// What was stored meanwhile is what was sent, and nothing else is there.
fn assert_is_whole(mut world: World) {
    let target = Target::new("acme.sales.orders");
    world
        .api
        .commit(&world.session, &target, "fail")
        .expect(200);
    let expectation = Expectation::numbered().csv(&world.csv);
    assert_table_holds(&world.server, &target, &expectation);
    world.server.terminate();
    world.server.assert_sound();
}
