//! How fast one table takes appends, and whether that stays so as it grows.
//!
//! `cargo bench --bench commits [-- SECONDS SNAPSHOTS [BINARY]]`: 16 clients append tiny parts to one table for SECONDS (10); then
//! one client's commits are timed at 50 snapshots, and again after SNAPSHOTS (5,000) have been made. Every commit is a session of
//! one part of one row, and every answer a durable snapshot. BINARY is another calve to measure, such as that of an older build.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

const CLIENTS: usize = 16;
/// Commits that are timed one by one.
const TIMED: usize = 200;

struct Running {
    child: Child,
    base_url: String,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(binary: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .env("CALVE_LOGGING__LEVEL", "error")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its standard output"))
            .read_line(&mut line)
            .expect("the line that says where it listens");
        let base_url = line.trim().rsplit(' ').next().expect("a URL").to_owned();
        Self {
            child,
            base_url,
            _folder: folder,
        }
    }

    fn cpu_seconds(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(Path::new(&path)).expect("its counters");
        let after_name = stat.rsplit(") ").next().expect("its fields");
        let ticks = after_name.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        ticks as f64 / TICKS_PER_SECOND
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("kill the server");
        self.child.wait().expect("its end");
    }
}

/// One client with its own connection.
struct Client {
    agent: Agent,
    base_url: String,
}

impl Client {
    fn new(server: &Running) -> Self {
        Self {
            agent: Agent::new_with_defaults(),
            base_url: server.base_url.clone(),
        }
    }

    /// A session of one part of one row.
    fn stage(&self) -> String {
        let mut answer = self
            .agent
            .post(format!("{}/v1/upload/session", self.base_url))
            .send_empty()
            .expect("a session");
        let opened: Value = answer.body_mut().read_json().expect("JSON");
        let id = opened["session_id"].as_str().expect("its id").to_owned();
        self.agent
            .put(format!("{}/v1/upload/{id}?part=0", self.base_url))
            .header("x-file-name", "data.csv")
            .send("id,name,amount\n1,Bern,1.25\n")
            .expect("a part");
        id
    }

    /// Commits a session; gives the time it took.
    fn commit(&self, id: &str) -> Duration {
        let body = json!({
            "target": {"workspace": "acme", "collection": "bench", "dataset": "appends"},
            "snapshot_message": null, "conflict_resolution": "append",
        });
        let started = Instant::now();
        self.agent
            .post(format!("{}/v1/upload/{id}/commit", self.base_url))
            .send_json(body)
            .expect("a commit");
        started.elapsed()
    }
}

/// Lets all clients append until `is_over` says so of the number of commits; gives that number.
fn append(server: &Running, is_over: impl Fn(usize) -> bool + Sync) -> usize {
    let (commits, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let client = Client::new(server);
                while !ends.load(Ordering::Relaxed) {
                    client.commit(&client.stage());
                    if is_over(commits.fetch_add(1, Ordering::Relaxed) + 1) {
                        ends.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    commits.load(Ordering::Relaxed)
}

/// Times commits of one client; gives the median and the 99th percentile in milliseconds, and the server's CPU milliseconds for
/// each session, from opening to commit, which a busy machine blurs less.
fn latency(server: &Running) -> [f64; 3] {
    let client = Client::new(server);
    let cpu_before = server.cpu_seconds();
    let mut times: Vec<Duration> = (0..TIMED)
        .map(|_| {
            let id = client.stage();
            client.commit(&id)
        })
        .collect();
    times.sort();
    let [p50, p99] = [TIMED / 2, TIMED * 99 / 100].map(|index| times[index].as_secs_f64() * 1e3);
    let cpu = (server.cpu_seconds() - cpu_before) * 1e3 / TIMED as f64;
    [p50, p99, cpu]
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    let seconds: u64 = number(0).unwrap_or(10);
    let snapshots = number(1).map_or(5_000, |number| {
        usize::try_from(number).unwrap_or(usize::MAX)
    });
    let built = env!("CARGO_BIN_EXE_calve").to_owned();
    let binary = arguments.get(2).unwrap_or(&built);

    let server = Running::start(binary);
    let started = Instant::now();
    let deadline = Duration::from_secs(seconds);
    let commits = append(&server, |_| started.elapsed() >= deadline);
    println!(
        "{CLIENTS} clients: {:.0} appends/s, {:.2} ms of the server's CPU each",
        commits as f64 / started.elapsed().as_secs_f64(),
        server.cpu_seconds() * 1e3 / commits as f64
    );
    drop(server);

    let server = Running::start(binary);
    let few = append(&server, |commits| commits >= 50);
    let [p50_few, p99_few, cpu] = latency(&server);
    println!("{few} snapshots: commit p50 {p50_few:.2} ms, p99 {p99_few:.2} ms, CPU {cpu:.2} ms");
    let many = few + TIMED;
    let many = many + append(&server, |commits| commits + many >= snapshots);
    let [p50_many, p99_many, cpu] = latency(&server);
    println!(
        "{many} snapshots: commit p50 {p50_many:.2} ms, p99 {p99_many:.2} ms, CPU {cpu:.2} ms; {:.2} times as long",
        p50_many / p50_few
    );
}
