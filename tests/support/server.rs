//! Starts the real binary on a free port and ends it.
//!
//! A `TestServer` owns its data folder, so it can be terminated or killed and started again on the same data. When a
//! test fails, the end of the server's log is printed with it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{Api, Target};
use super::{PATIENCE, wait_until};

/// Lets every part have a file of its own, however small it is.
pub const OWN_FILES: (&str, &str) = ("CALVE_PARTS__PACKED_BYTES_MAX", "0 B");

const LISTENING: &str = "calve listening on ";
const LOG_TAIL_LINES: usize = 60;

/// A server of our own with a data folder of its own.
pub struct TestServer {
    folder: TempDir,
    environment: Vec<(String, String)>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    base_url: String,
}

impl TestServer {
    /// Starts a server with default configuration on an empty data folder.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server on an empty data folder with `CALVE_…` settings from the environment.
    #[track_caller]
    pub fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut server = Self::not_started(environment);
        server.restart();
        server
    }

    /// A server that has yet to be started for the first time.
    #[track_caller]
    pub fn not_started(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("calve-test-")
            .tempdir()
            .expect("a temporary folder");
        let mut server = Self {
            folder,
            environment: Vec::new(),
            running: None,
        };
        server.set_environment(environment);
        server
    }

    /// Sets all variables of the server's environment, in place of what it had, from its next start on.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
    }

    /// Starts the server and kills it as soon as its data folder looks as `until` wants it. Says whether the
    /// server had got so far as to listen.
    #[track_caller]
    pub fn kill_during_start(&mut self, until: impl Fn(&Path) -> bool) -> bool {
        let mut child = self.spawn();
        let data_dir = self.data_dir();
        let started = Instant::now();
        while !until(&data_dir) && started.elapsed() < PATIENCE {
            thread::yield_now();
        }
        child.kill().expect("kill the server");
        let output = child
            .wait_with_output()
            .expect("the killed server's output");
        assert!(until(&data_dir), "the data folder never got there");
        !output.stdout.is_empty()
    }

    /// Sets a variable of the server's environment, from its next start on; `None` takes it away.
    pub fn set_variable(&mut self, key: &str, value: Option<&str>) {
        self.environment.retain(|(name, _)| name != key);
        let value = value.map(|value| (key.to_owned(), value.to_owned()));
        self.environment.extend(value);
    }

    /// Starts the server; gives its end if it ended before it listened.
    #[track_caller]
    pub fn try_start(&mut self) -> Result<(), ExitStatus> {
        let mut child = self.spawn();
        let lines =
            BufReader::new(child.stdout.take().expect("the server's standard output")).lines();
        self.listen_to(child, lines)
    }

    /// Waits for a server to end that does so by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server is not running");
        running.child.wait().expect("the server's end")
    }

    /// Starts the server, which must end by itself with a failure; gives the end of its log.
    #[track_caller]
    pub fn expect_refused_start(&self) -> String {
        let output = self.spawn().wait_with_output().expect("the server's end");
        assert_eq!(output.status.code(), Some(1), "{}", self.log_tail());
        assert!(output.stdout.is_empty(), "it said that it listens");
        self.log_tail()
    }

    /// Starts the server again on the same data; it must not be running.
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(status) = self.try_start() {
            panic!(
                "the server ended with {status}; its log ends:\n{}",
                self.log_tail()
            );
        }
    }

    /// Starts the binary.
    #[track_caller]
    fn spawn(&self) -> Child {
        assert!(self.running.is_none(), "the server is still running");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the server's log file");
        calve()
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data_dir())
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("start the calve binary")
    }

    /// Waits for the line that says where the server listens, or for the end of the server.
    #[track_caller]
    fn listen_to(
        &mut self,
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
    ) -> Result<(), ExitStatus> {
        // From here on `self` owns the process: a panic below ends it.
        self.running = Some(Running {
            child,
            base_url: String::new(),
        });
        let (sender, receiver) = mpsc::channel();
        // Goes on reading, so that the server never blocks on a full pipe; ends with the server.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _unheard = sender.send(line);
            }
        });
        let first_line = match receiver.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Err(self.wait_for_end()),
            Err(RecvTimeoutError::Timeout) => {
                panic!(
                    "the server printed no line; its log ends:\n{}",
                    self.log_tail()
                )
            }
        };
        let base_url = first_line.strip_prefix(LISTENING).unwrap_or_else(|| {
            panic!("expected `{LISTENING}URL` as the first line, got `{first_line}`")
        });
        assert!(
            base_url.starts_with("http://127.0.0.1:") || base_url.starts_with("https://127.0.0.1:"),
            "listens on {base_url}"
        );
        self.running_mut().base_url = base_url.trim_end_matches('/').to_owned();
        Ok(())
    }

    /// A client for this run of the server.
    pub fn api(&self) -> Api {
        Api::new(self.base_url())
    }

    /// `http://127.0.0.1:PORT` of this run.
    pub fn base_url(&self) -> &str {
        &self
            .running
            .as_ref()
            .expect("the server is not running")
            .base_url
    }

    /// What the server was given as `--data-dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for the test's own files; goes away with the server.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the table of `target` lives.
    pub fn table_dir(&self, target: &Target) -> PathBuf {
        self.warehouse()
            .join(&target.workspace)
            .join(&target.collection)
            .join(&target.dataset)
    }

    /// The folder of all tables.
    pub fn warehouse(&self) -> PathBuf {
        self.data_dir().join("warehouse")
    }

    /// Sends SIGTERM and does not wait.
    #[track_caller]
    pub fn send_sigterm(&self) {
        kill_process(self.pid(), Signal::TERM).expect("send SIGTERM");
    }

    /// Waits for the end that SIGTERM asked for; it must be exit code 0.
    #[track_caller]
    pub fn expect_clean_exit(&mut self) {
        let status: ExitStatus = wait_until("the server ends after SIGTERM", PATIENCE, || {
            let child = &mut self.running_mut().child;
            child.try_wait().expect("ask for the server's end")
        });
        self.running = None;
        assert!(
            status.success(),
            "SIGTERM must end with code 0, ended with {status}; log:\n{}",
            self.log_tail()
        );
    }

    /// SIGTERM, a clean end, exit code 0.
    #[track_caller]
    pub fn terminate(&mut self) {
        self.send_sigterm();
        self.expect_clean_exit();
    }

    /// SIGKILL: the process has no say in it.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("the server is not running");
        running.child.kill().expect("send SIGKILL");
        running.child.wait().expect("wait for the killed server");
    }

    /// `calve check` finds nothing in the data folder: no damage, and nothing that nobody refers to.
    #[track_caller]
    pub fn assert_sound(&self) {
        let told = self.check();
        assert!(told.trim_end().ends_with("Verdict: sound."), "{told}");
    }

    /// What `calve check` says of the data folder.
    #[track_caller]
    pub fn check(&self) -> String {
        let output = calve()
            .args(["check", "--data-dir"])
            .arg(self.data_dir())
            .output()
            .expect("run calve check");
        assert_ne!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Memory the process holds now.
    pub fn rss_bytes(&self) -> u64 {
        self.process_status("VmRSS:")
    }

    /// The most memory the process ever held.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.process_status("VmHWM:")
    }

    /// Files and sockets that the process has open.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        let files = fs::read_dir(&path).expect("the kernel's list of the server's files");
        files.count()
    }

    fn process_status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = fs::read_to_string(&path).expect("the kernel's status file of the server");
        let line = status
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("no {key} in {path}"));
        let kibibytes: u64 = line
            .split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number of kB");
        kibibytes * 1024
    }

    fn pid(&self) -> Pid {
        Pid::from_child(
            &self
                .running
                .as_ref()
                .expect("the server is not running")
                .child,
        )
    }

    fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().expect("the server is not running")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.stderr")
    }

    /// All that the server logged, over all its runs.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The last lines that the server logged, over all its runs.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended by itself, which is no reason to hide the test's own failure.
            drop(running.child.kill());
            drop(running.child.wait());
        }
        if thread::panicking() {
            eprintln!(
                "---- end of the server's log ----\n{}\n---- end ----",
                self.log_tail()
            );
        }
    }
}

/// The binary, without the settings that the tests themselves were given.
pub fn calve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calve"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("CALVE_")) {
        command.env_remove(key);
    }
    command
}

/// The bytes of a part, as an inspection told of it, that shares a file with others; `None` of one with a file of its own.
pub fn packed_bytes(data_dir: &Path, part: &serde_json::Value) -> Option<Vec<u8>> {
    let blob = part["blob"].as_str().expect("where the part is");
    let (pack, offset) = blob.strip_prefix("packs/")?.split_once('@')?;
    let length = part["bytes"].as_u64().expect("the part's bytes");
    let mut bytes = vec![0; usize::try_from(length).expect("a small part")];
    let file = File::open(data_dir.join(format!("packs/{pack}.pack"))).expect("the pack");
    file.read_exact_at(&mut bytes, offset.parse().expect("an offset"))
        .unwrap_or_else(|error| panic!("{part} is not in its pack: {error}"));
    Some(bytes)
}

/// Every file below `folder`, relative to it, sorted; empty when there is no such folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(current) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&current) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .expect("a path below the folder")
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

/// Writes a file and gives its path back, for one-line use.
pub fn write_file(path: PathBuf, content: &[u8]) -> PathBuf {
    use std::io::Write;
    let mut file =
        File::create(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
    file.write_all(content)
        .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    path
}

/// Runs `calve token …` on a server's data folder, whether it runs or not.
pub fn token_command(server: &TestServer, arguments: &[&str]) -> Output {
    calve()
        .arg("token")
        .args(arguments)
        .arg("--data-dir")
        .arg(server.data_dir())
        .output()
        .expect("run calve token")
}

/// Makes an access token and gives its text.
#[track_caller]
pub fn make_token(server: &TestServer, user: &str, options: &[&str]) -> String {
    let arguments = [&["create", "--user", user], options].concat();
    let output = token_command(server, &arguments);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim_end().to_owned()
}
