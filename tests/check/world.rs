//! A data folder after real work, the check as a child process, and ways to change folder and journal by hand.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use calve::store::journal::{Journal, Write};
use calve::store::layout::Layout;
use calve::telemetry::Metrics;
use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::support::client::{AS_CSV, Api, Target};
use crate::support::data::{Expectation, numbered_csv};
use crate::support::server::{OWN_FILES, TestServer, calve, files_below};
use crate::support::table::assert_table_holds;
use crate::support::{PATIENCE, wait_until};

/// Makes leftovers removable at once.
pub(crate) const NO_GRACE: (&str, &str) = ("CALVE_CLEANING__GRACE", "0s");

/// What a check said.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) code: i32,
    pub(crate) report: Value,
}

impl Checked {
    /// The kinds of all findings, sorted, each once.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let findings = self.report["findings"].as_array().expect("a list");
        let mut kinds: Vec<String> = findings
            .iter()
            .map(|finding| finding["kind"].as_str().expect("text").to_owned())
            .collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// Fails unless exactly these kinds were found, and the exit code is this.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, kinds: &[&str], when: &str) -> Self {
        let mut expected: Vec<&str> = kinds.to_vec();
        expected.sort_unstable();
        assert_eq!(self.kinds(), expected, "{when}: {:#}", self.report);
        assert_eq!(self.code, code, "{when}: {:#}", self.report);
        assert_eq!(self.report["exit_code"], code, "{when}");
        self
    }

    /// The paths of the findings of a kind.
    pub(crate) fn paths(&self, kind: &str) -> Vec<String> {
        let findings = self.report["findings"].as_array().expect("a list");
        findings
            .iter()
            .filter(|finding| finding["kind"] == kind)
            .map(|finding| finding["path"].as_str().expect("a path").to_owned())
            .collect()
    }
}

/// The command, with nothing of the test's own environment.
pub(crate) fn check_command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = calve();
    command.arg("check").arg("--data-dir").arg(data_dir);
    command.args(arguments);
    command
}

/// Checks a folder; fails when the check itself could not run.
#[track_caller]
pub(crate) fn check_with(
    data_dir: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Checked {
    let output = check_command(data_dir, arguments)
        .args(["--format", "json"])
        .envs(environment.iter().copied())
        .output()
        .expect("run the check");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let message = String::from_utf8_lossy(&output.stderr);
        panic!("the check printed no report ({error}): {message}")
    });
    Checked {
        code: output.status.code().expect("an exit code"),
        report,
    }
}

/// Checks the folder of a server.
#[track_caller]
pub(crate) fn check(server: &TestServer, arguments: &[&str]) -> Checked {
    check_with(&server.data_dir(), arguments, &[])
}

/// A data folder after real work, and what its tables must hold.
pub(crate) struct World {
    pub(crate) server: TestServer,
    /// Overwritten once, appended to twice.
    pub(crate) orders: Target,
    /// Made of a part with more columns than one chunk of a record holds.
    pub(crate) wide: Target,
    /// Takes parts; has three.
    pub(crate) open: String,
    /// Committed first.
    pub(crate) committed: String,
    expectations: Vec<(Target, Expectation)>,
}

impl World {
    /// The server is still running.
    pub(crate) fn running() -> Self {
        let server = TestServer::start_with(&[OWN_FILES]);
        let api = server.api();
        let orders = Target::new("acme.sales.orders");
        let wide = Target::new("acme.sales.wide");
        let committed = fill(&api, &[numbered_csv(0, 30), numbered_csv(1, 20)]);
        api.commit(&committed, &orders, "fail").expect(200);
        let kept = [numbered_csv(2, 200), numbered_csv(3, 5), numbered_csv(4, 7)];
        for (mode, csv) in ["overwrite", "append", "append"].iter().zip(&kept) {
            let session = fill(&api, std::slice::from_ref(csv));
            api.commit(&session, &orders, mode).expect(200);
        }
        // The second part makes text of the first one's numbers, so that is converted again.
        let mixed = Target::new("acme.other.mixed");
        let session = fill(&api, &["a\n1\n".to_owned(), "a\nx\n".to_owned()]);
        api.commit(&session, &mixed, "fail").expect(200);
        let (wide_csv, wide_columns) = wide_csv();
        let session = fill(&api, std::slice::from_ref(&wide_csv));
        api.commit(&session, &wide, "fail").expect(200);
        let open = fill(
            &api,
            &[numbered_csv(5, 9), wide_csv.clone(), "a\n2\n".to_owned()],
        );
        api.put_csv(&open, 2, "a\n3\n");
        api.put_csv(&open, 3, "a\n4\n");
        api.delete_part(&open, 3).expect(200);
        let columns: Vec<(&str, &str)> = wide_columns
            .iter()
            .map(|name| (name.as_str(), "long"))
            .collect();
        let orders_holds = kept
            .iter()
            .fold(Expectation::numbered(), |all, csv| all.csv(csv));
        let expectations = vec![
            (orders.clone(), orders_holds),
            (mixed, Expectation::new(&[("a", "string")]).csv("a\n1\nx\n")),
            (wide.clone(), Expectation::new(&columns).csv(&wide_csv)),
        ];
        let world = Self {
            server,
            orders,
            wide,
            open,
            committed,
            expectations,
        };
        world.await_removals();
        world
    }

    /// The server has ended.
    pub(crate) fn stopped() -> Self {
        let mut world = Self::running();
        world.server.terminate();
        world
    }

    /// Staged files of committed sessions, and of replaced and deleted parts, go in the background.
    fn await_removals(&self) {
        let staging = self.server.data_dir().join("staging");
        wait_until("only the open session's files are staged", PATIENCE, || {
            let files = files_below(&staging);
            let is_open = |file: &PathBuf| file.starts_with(&self.open);
            (files.len() == 6 && files.iter().all(is_open)).then_some(())
        });
    }

    /// Every table holds what was committed, as two engines read it.
    #[track_caller]
    pub(crate) fn assert_tables_hold(&self) {
        for (target, expectation) in &self.expectations {
            assert_table_holds(&self.server, target, expectation);
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.server.data_dir()
    }

    /// The one file below a folder of the data folder whose relative path fits.
    #[track_caller]
    pub(crate) fn file(&self, folder: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
        let mut files = files_below(folder);
        files.retain(|file| fits(&file.to_string_lossy()));
        assert!(!files.is_empty(), "no such file in {}", folder.display());
        folder.join(&files[0])
    }

    /// The orders' folder.
    pub(crate) fn table(&self) -> PathBuf {
        self.server.table_dir(&self.orders)
    }

    /// The orders' current metadata file.
    pub(crate) fn metadata(&self) -> PathBuf {
        let folder = self.table().join("metadata");
        let hint = std::fs::read_to_string(folder.join("version-hint.text")).expect("a hint");
        folder.join(format!("{hint}.metadata.json"))
    }

    /// Changes the orders' current metadata as JSON, with the snapshots in the order of their commits.
    pub(crate) fn edit_metadata(&self, edit: impl Fn(&mut Value)) {
        let path = self.metadata();
        let bytes = std::fs::read(&path).expect("metadata");
        let mut metadata: Value = serde_json::from_slice(&bytes).expect("JSON");
        let snapshots = metadata["snapshots"].as_array_mut().expect("a list");
        snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
        edit(&mut metadata);
        std::fs::write(&path, metadata.to_string()).expect("write the metadata");
    }

    /// Changes the journal. The server must not be running.
    pub(crate) fn edit_journal(&self, edit: impl Fn(&Journal) -> Write) {
        let layout = Layout::new(self.data_dir());
        let (journal, writer) =
            Journal::open_existing(&layout, Arc::new(Metrics::new())).expect("open the journal");
        let write = edit(&journal);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime
            .block_on(journal.write(write).expect("queue the write"))
            .expect("write");
        drop(journal);
        writer.join();
        // sled's own threads may hold its lock a moment longer.
        let log = File::open(self.data_dir().join("journal/db")).expect("the journal's log");
        wait_until("the journal is unlocked", PATIENCE, || {
            rustix::fs::flock(&log, FlockOperation::NonBlockingLockExclusive).ok()
        });
    }

    /// Checks after `change`, puts every file back as it was, and checks that all is well again.
    #[track_caller]
    pub(crate) fn find_after(
        &self,
        when: &str,
        code: i32,
        kinds: &[&str],
        change: impl FnOnce(&Self),
    ) {
        self.check_after(when, &[], code, kinds, change);
    }

    /// The same, with arguments for the check.
    #[track_caller]
    pub(crate) fn check_after(
        &self,
        when: &str,
        arguments: &[&str],
        code: i32,
        kinds: &[&str],
        change: impl FnOnce(&Self),
    ) -> Checked {
        let before = Folder::take(&self.data_dir());
        change(self);
        let checked = check(&self.server, arguments).expect(code, kinds, when);
        before.put_back();
        checked
    }
}

/// Every file but the journal's, as it was.
pub(crate) struct Folder {
    root: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Folder {
    pub(crate) fn take(root: &Path) -> Self {
        let files = contents(root);
        Self {
            root: root.to_owned(),
            files,
        }
    }

    /// Number of files.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Number of files below one of its folders.
    pub(crate) fn len_below(&self, folder: &str) -> usize {
        let below = self
            .files
            .iter()
            .filter(|(name, _)| name.starts_with(folder));
        below.count()
    }

    /// Nothing is different.
    #[track_caller]
    pub(crate) fn assert_same(&self, when: &str) {
        let now = contents(&self.root);
        let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
            files.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&now), names(&self.files), "{when}");
        for (before, after) in self.files.iter().zip(&now) {
            assert!(before == after, "{when}: {} changed", before.0.display());
        }
    }

    /// Makes it so again.
    pub(crate) fn put_back(&self) {
        for (name, _) in contents(&self.root) {
            if !self.files.iter().any(|(kept, _)| *kept == name) {
                std::fs::remove_file(self.root.join(name)).expect("remove");
            }
        }
        for (name, bytes) in &self.files {
            let path = self.root.join(name);
            if std::fs::read(&path).ok().as_ref() != Some(bytes) {
                std::fs::write(&path, bytes).expect("put back");
            }
        }
    }
}

fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files_below(root);
    files.retain(|file| !file.starts_with("journal") && !file.ends_with("control.sock"));
    let read = |file: PathBuf| {
        let bytes = std::fs::read(root.join(&file)).expect("read");
        (file, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Opens a session with these parts.
pub(crate) fn fill(api: &Api, csvs: &[String]) -> String {
    let session = api.open_session();
    for (part, csv) in (0..).zip(csvs) {
        api.put_part(&session, part, csv.as_bytes(), AS_CSV)
            .expect(201);
    }
    session
}

/// 400 columns of numbers, whose record takes several chunks; and their names.
pub(crate) fn wide_csv() -> (String, Vec<String>) {
    // Names that do not compress, as records do.
    let name = |column: u64| format!("c{:x}", (column + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let names: Vec<String> = (0..400).map(name).collect();
    let row: Vec<String> = (0..400).map(|value| value.to_string()).collect();
    (format!("{}\n{}\n", names.join(","), row.join(",")), names)
}

/// Writes a file with its folders.
pub(crate) fn make(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    std::fs::write(&path, b"stray").expect("write the file");
    path
}
