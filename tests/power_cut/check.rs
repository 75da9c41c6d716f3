//! What must hold of a server that was started on what a cut left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::history::{Commit, Event, History, Opened};
use super::parts::{Form, Part, expectation};
use super::support::client::{Api, Target, commit_request};
use super::support::server::{TestServer, packed_bytes};
use super::support::table::assert_table_holds;

/// A server after a cut, and what clients know of the time before.
pub struct Check<'a> {
    pub server: &'a TestServer,
    pub history: &'a History,
    pub position: usize,
    /// Whether PyIceberg and DuckDB read every table, too, and what one of the open sessions becomes.
    pub is_read: bool,
}

/// How much was checked.
#[derive(Debug, Default)]
pub struct Tally {
    pub cuts: usize,
    /// Parts whose bytes were compared: with a file of their own, and in a pack.
    pub staged_parts: usize,
    pub packed_parts: usize,
    /// Commits that were repeated and gave the answer that was acknowledged.
    pub answers_repeated: usize,
    /// Sessions that were committed, because they had not been.
    pub sessions_committed: usize,
    /// Tables that were committed to.
    pub tables_continued: usize,
    /// Tables whose every value was compared, by what made them.
    pub tables_read: usize,
    pub sessions_read: usize,
}

/// A session as it was found.
struct Found<'a> {
    session: &'a Opened,
    parts: BTreeMap<u32, Arc<Part>>,
    is_committed: bool,
}

impl Found<'_> {
    fn rows(&self) -> usize {
        self.parts.values().map(|part| part.rows.len()).sum()
    }
}

impl Check<'_> {
    /// Checks everything.
    pub fn run(&self, tables: &[Target], tally: &mut Tally) {
        let api = self.server.api();
        let sessions = self.history.sessions_at(self.position);
        let found: Vec<Found> = sessions
            .map(|session| self.session(&api, session, tally))
            .collect();
        for target in tables {
            self.table(target, &found, tally);
        }
        let (committed, open): (Vec<_>, Vec<_>) = found.iter().partition(|one| {
            let commit = self.history.commit_at(&one.session.id, self.position);
            commit.is_some()
        });
        for one in committed {
            self.answers_again(&api, one, tally);
        }
        // A third of them at each cut, others at the next: that is enough, and time is short. A cut that is read has one at
        // least, if there are any.
        let open = open.into_iter().filter(|one| !one.parts.is_empty());
        let first = if self.is_read { 0 } else { self.position % 3 };
        let turn = open.skip(first).step_by(3);
        for (index, one) in turn.enumerate() {
            self.can_be_committed(&api, one, self.is_read && index == 0, tally);
        }
        for target in tables {
            self.goes_on(&api, target, tally);
        }
    }

    /// The session has the parts it must have, with the bytes that were sent; its commit is remembered.
    fn session<'s>(&self, api: &Api, session: &'s Opened, tally: &mut Tally) -> Found<'s> {
        let answer = api.inspect(&session.id);
        let inspected = match answer.status {
            204 => json!({"parts": [], "state": "open"}),
            _ => answer.expect_json(200),
        };
        let id = &session.id;
        let is_committed = inspected["state"] == "committed";
        match self.history.commit_at(id, self.position) {
            Some((event, commit)) if event.is_certain(self.position) => {
                assert_eq!(inspected["commit"], commit.answer, "the commit of {id}");
            }
            Some(_) => {}
            None => assert!(!is_committed, "{id} was never committed: {inspected}"),
        }
        let mut listed: BTreeMap<u32, &Value> = inspected["parts"]
            .as_array()
            .expect("a list of parts")
            .iter()
            .map(|part| (number(&part["id"]), part))
            .collect();
        let mut parts = BTreeMap::new();
        for (number, possible) in self.history.parts_at(id, self.position) {
            let part = listed.remove(&number);
            let sha256 = part.and_then(|part| part["sha256"].as_str());
            let meant = possible
                .into_iter()
                .find(|one| one.as_ref().map(|part| part.sha256.as_str()) == sha256);
            let meant = meant.unwrap_or_else(|| {
                panic!("part {number} of {id} is not what was acknowledged: {part:?}")
            });
            if let (Some(meant), Some(part)) = (meant, part) {
                if !is_committed {
                    match packed_bytes(&self.server.data_dir(), part) {
                        None => {
                            self.assert_staged(part);
                            tally.staged_parts += 1;
                        }
                        Some(bytes) => {
                            let hash = hex::encode(Sha256::digest(&bytes));
                            assert_eq!(part["sha256"], hash, "the bytes of {part}");
                            tally.packed_parts += 1;
                        }
                    }
                }
                parts.insert(number, meant);
            }
        }
        assert!(listed.is_empty(), "parts that nobody sent: {listed:?}");
        Found {
            session,
            parts,
            is_committed,
        }
    }

    /// The bytes that were sent are in the staging folder.
    fn assert_staged(&self, part: &Value) {
        let blob = part["blob"].as_str().expect("the part's name");
        let staged = self.server.data_dir().join("staging").join(blob);
        let stem = staged.file_name().expect("a name").to_string_lossy();
        let folder = fs::read_dir(staged.parent().expect("a folder"));
        let files = folder
            .expect("the session's folder")
            .map(|entry| entry.expect("an entry"));
        let hashes: Vec<String> = files
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with(&format!("{stem}.")) && !name.ends_with(".data.parquet")
            })
            .map(|entry| {
                // An adopted part has a footer more after the bytes that were sent.
                let bytes = fs::read(entry.path()).expect("the part's file");
                let sent = part["bytes"].as_u64().expect("the part's bytes") as usize;
                hex::encode(Sha256::digest(&bytes[..sent.min(bytes.len())]))
            })
            .collect();
        assert_eq!(
            json!(hashes),
            json!([part["sha256"]]),
            "the bytes of {part}"
        );
    }

    /// The table is what the commits made of it that happened: all that were answered, and of the one under way what its
    /// session says.
    fn table(&self, target: &Target, found: &[Found], tally: &mut Tally) {
        let is_committed = |event: &Event| {
            let session = found.iter().find(|one| one.session.id == event.session);
            session.is_some_and(|one| one.is_committed)
        };
        let mut happened = self.history.commits_to(target, self.position);
        happened.retain(|(event, _)| is_committed(event));
        let expected: Vec<&str> = happened
            .iter()
            .map(|(event, _)| event.session.as_str())
            .collect();
        assert_eq!(
            self.chain(target),
            expected,
            "the snapshots of {}",
            target.dotted()
        );
        let files = happened
            .iter()
            .filter(|(event, _)| event.is_certain(self.position))
            .flat_map(|(_, commit)| &commit.files);
        for (file, hash) in files {
            let path = self.server.table_dir(target).join(file);
            assert_eq!(sha256_of(&path), *hash, "the bytes of {}", path.display());
        }
        let parts = self.rows_of(&happened);
        if let Some(metadata) = self.metadata(target) {
            let rows: usize = parts.iter().map(|part| part.rows.len()).sum();
            let current = current_snapshot(&metadata);
            assert_eq!(
                current["summary"]["total-records"],
                rows.to_string(),
                "{current}"
            );
            if self.is_read {
                assert_table_holds(self.server, target, &expectation(parts.iter()));
                tally.tables_read += 1;
            }
        }
    }

    /// What is in a table after these commits.
    fn rows_of(&self, happened: &[(&Event, &Commit)]) -> Vec<Arc<Part>> {
        let mut parts = Vec::new();
        for (event, commit) in happened {
            if commit.mode == "overwrite" {
                parts.clear();
            }
            parts.extend(self.history.committed_parts(event));
        }
        parts
    }

    /// The sessions of the table's snapshots, oldest first.
    fn chain(&self, target: &Target) -> Vec<String> {
        let Some(metadata) = self.metadata(target) else {
            return Vec::new();
        };
        let mut snapshots = metadata["snapshots"].as_array().expect("snapshots").clone();
        snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_u64());
        let sessions = snapshots.iter().map(|snapshot| {
            let session = &snapshot["summary"]["calve.session-id"];
            session.as_str().expect("the session's id").to_owned()
        });
        sessions.collect()
    }

    /// The table's current metadata, if there is such a table.
    fn metadata(&self, target: &Target) -> Option<Value> {
        let folder = self.server.table_dir(target).join("metadata");
        let version = fs::read_to_string(folder.join("version-hint.text")).ok()?;
        let path = folder.join(format!("{version}.metadata.json"));
        let bytes = fs::read(&path).expect("the metadata file that the version hint names");
        Some(serde_json::from_slice(&bytes).expect("metadata is JSON"))
    }

    /// A session that was committed gives its answer again; one whose commit was under way is or gets committed.
    fn answers_again(&self, api: &Api, found: &Found, tally: &mut Tally) {
        let id = &found.session.id;
        let commit = self.history.commit_at(id, self.position);
        let (event, commit) = commit.expect("a commit");
        let answer = api.commit(id, &commit.target, commit.mode).expect_json(200);
        assert_eq!(answer["rows_written"], found.rows(), "{answer}");
        if event.is_certain(self.position) {
            assert_eq!(answer, commit.answer, "the stored answer");
            tally.answers_repeated += 1;
        }
    }

    /// A session with parts is not stuck, and a reader finds what was sent.
    fn can_be_committed(&self, api: &Api, found: &Found, is_read: bool, tally: &mut Tally) {
        let id = &found.session.id;
        let own = Target::new(&format!("acme.probe.s_{}", id.replace('-', "_")));
        let target = found.session.bound.as_ref().unwrap_or(&own);
        let body = commit_request(target, "overwrite");
        let answer = api.commit_body(id, &body).expect_json(200);
        assert_eq!(answer["rows_written"], found.rows(), "{answer}");
        tally.sessions_committed += 1;
        if is_read {
            let expectation = expectation(found.parts.values());
            assert_table_holds(self.server, target, &expectation);
            tally.sessions_read += 1;
        }
    }

    /// The table takes one more commit, on top of those it had.
    fn goes_on(&self, api: &Api, target: &Target, tally: &mut Tally) {
        let mut chain = self.chain(target);
        if chain.is_empty() {
            return;
        }
        let session = api.open_session();
        let part = Part::new(Form::Csv, usize::MAX >> 8, 3);
        api.put_part(&session, 0, &part.body, part.headers())
            .expect(201);
        api.commit(&session, target, "overwrite").expect(200);
        chain.push(session);
        assert_eq!(self.chain(target), chain, "{}", target.dotted());
        tally.tables_continued += 1;
    }
}

fn current_snapshot(metadata: &Value) -> &Value {
    let snapshots = metadata["snapshots"].as_array().expect("snapshots");
    let current = snapshots
        .iter()
        .find(|snapshot| snapshot["snapshot-id"] == metadata["current-snapshot-id"]);
    current.expect("the current snapshot")
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().expect("a number")).expect("a small number")
}

#[track_caller]
fn sha256_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hex::encode(Sha256::digest(bytes))
}
