//! The command line.

mod token;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, Subcommand};

use crate::bench::{self, OwnServer, Peer, Recipe, Workload, suite};
use crate::check::Check;
use crate::clock::SystemClock;
use crate::config::{Config, LogFormat};
use crate::serve::Server;
use crate::telemetry;

/// A self-hosted upload service: files go in over HTTP, part by part; one commit turns them into a snapshot
/// of an Apache Iceberg table.
#[derive(Debug, Parser)]
#[command(name = "calve", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or Ctrl-C.
    Serve(ServeArguments),
    /// Make, list and revoke access tokens.
    Token(token::TokenArguments),
    /// Check a data folder: journal, staged files, tables.
    Check(CheckArguments),
    /// Send made-up files to a server and say how fast it took them.
    Bench(BenchArguments),
}

#[derive(Debug, clap::Args)]
struct ServeArguments {
    /// Configuration file (TOML); config/calve.toml lists every key.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8080].
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Folder for everything that is kept [default: data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Shape of the log lines [default: human].
    #[arg(long)]
    log_format: Option<LogFormat>,
}

/// What the exit codes of `calve check` mean.
const CHECK_EXIT_CODES: &str = "\
Exit codes:
  0  sound; nothing but what the server does by itself
  1  the check could not run
  2  leftovers: harmless files or records that nothing needs
  3  damage: something acknowledged or committed is missing, altered or unreadable
After --repair they tell of what is left.";

#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_EXIT_CODES)]
struct CheckArguments {
    /// Configuration file (TOML), the server's.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The server's data folder [default: data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Also decode every page of every data file.
    #[arg(long)]
    deep: bool,
    /// Mend what is safe to mend; the server must not be running.
    #[arg(long)]
    repair: bool,
    /// Shape of the report.
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
}

/// Without --url it measures a server of its own on a temporary folder, which ends with the run. With it, sessions and
/// tables (bench.shop.orders_N) stay on the server.
#[derive(Debug, clap::Args)]
struct BenchArguments {
    /// The server, like http://127.0.0.1:8080.
    #[arg(long)]
    url: Option<String>,
    /// The server's process id, if it runs on this machine: its CPU time and memory are reported.
    #[arg(long, requires = "url")]
    server_pid: Option<u32>,
    /// Access token, sent as `Authorization: Bearer TOKEN`.
    #[arg(
        long,
        env = "CALVE_BENCH_TOKEN",
        hide_env_values = true,
        requires = "url"
    )]
    token: Option<String>,
    /// Where the server of its own has its temporary folder; the disk below it is what is measured.
    #[arg(long, default_value = ".", conflicts_with = "url")]
    folder: PathBuf,
    /// Connections, each with one session at a time.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Sessions in all [default: one for each client].
    #[arg(long)]
    sessions: Option<u64>,
    /// Parts of each session.
    #[arg(long, default_value_t = 10)]
    parts: u64,
    /// Seconds after which no new part is sent.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Size of a part before packing.
    #[arg(long, default_value = "1 MiB")]
    part_size: ByteSize,
    /// Format of the parts.
    #[arg(long, value_enum, default_value = "csv")]
    part_format: bench::parts::Format,
    /// How parts are packed.
    #[arg(long, value_enum, default_value = "identity")]
    coding: bench::parts::Coding,
    /// What everything in the parts is made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the sessions open instead of committing them.
    #[arg(long)]
    no_commit: bool,
    /// Tables that the commits go to in turn.
    #[arg(long, default_value_t = 1)]
    tables: u64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Run the scenarios that Calve is judged by, one after the other; some minutes.
    #[arg(long, conflicts_with_all = ["url", "clients", "sessions", "parts", "part_size", "part_format", "tables", "no_commit"])]
    suite: bool,
    /// Shape of the report.
    #[arg(long, value_enum, default_value = "table")]
    format: BenchFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BenchFormat {
    /// For people.
    Table,
    /// One JSON object; with --suite one a line for each scenario.
    Json,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object with everything.
    Json,
}

impl Cli {
    /// The command line of this process. `calve check` gives the exit code 2 a meaning, so a command line that cannot be
    /// understood ends with 1.
    pub fn from_command_line() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let is_failure = error.use_stderr();
            // Where it cannot be printed, nothing else can.
            let _ = error.print();
            if is_failure {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        })
    }

    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Serve(arguments) => arguments.run(),
            Command::Token(arguments) => arguments.run(),
            Command::Check(arguments) => arguments.run(),
            Command::Bench(arguments) => arguments.run(),
        };
        match outcome {
            Ok(code) => code,
            Err(message) => {
                eprintln!("calve: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

impl ServeArguments {
    fn run(&self) -> Result<ExitCode, String> {
        let config = self.config()?;
        telemetry::init(&config.logging)?;
        actix_web::rt::System::new().block_on(serve(config))?;
        Ok(ExitCode::SUCCESS)
    }

    fn config(&self) -> Result<Config, String> {
        let mut flags = Vec::new();
        if let Some(listen) = self.listen {
            flags.push(("server.listen", listen.to_string()));
        }
        if let Some(data_dir) = &self.data_dir {
            flags.push(("storage.data_dir", data_dir.display().to_string()));
        }
        if let Some(format) = self.log_format {
            let name = match format {
                LogFormat::Human => "human",
                LogFormat::Json => "json",
            };
            flags.push(("logging.format", name.to_owned()));
        }
        Config::load(self.config.as_deref(), &flags)
    }
}

impl CheckArguments {
    fn run(&self) -> Result<ExitCode, String> {
        let data_dir = self.data_dir.iter();
        let flags: Vec<_> = data_dir
            .map(|data_dir| ("storage.data_dir", data_dir.display().to_string()))
            .collect();
        let check = Check {
            config: Config::load(self.config.as_deref(), &flags)?,
            clock: Arc::new(SystemClock),
            is_deep: self.deep,
            repairs: self.repair,
        };
        let report = check.run()?;
        let text = match self.format {
            ReportFormat::Text => report.text(),
            ReportFormat::Json => format!("{:#}\n", report.json()),
        };
        print(&text)?;
        Ok(ExitCode::from(report.exit_code()))
    }
}

impl BenchArguments {
    fn run(&self) -> Result<ExitCode, String> {
        let binary = std::env::current_exe().map_err(|error| error.to_string())?;
        if self.suite {
            return self.run_suite(&binary);
        }
        let workload = self.workload();
        let report = match &self.url {
            Some(url) => {
                let mut peer = Peer::at(url, bench::Dialect::Uploads)?;
                peer.authorization = self.token.as_ref().map(|token| format!("Bearer {token}"));
                bench::measure(&peer, &workload, self.server_pid)?
            }
            None => {
                let server = OwnServer::start(&binary, &self.folder, &[])?;
                bench::measure(server.peer(), &workload, Some(server.pid()))?
            }
        };
        print(&match self.format {
            BenchFormat::Table => report.table(),
            BenchFormat::Json => format!("{:#}\n", serde_json::json!(report)),
        })?;
        Ok(if report.errors.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn workload(&self) -> Workload {
        Workload {
            clients: self.clients,
            sessions: self.sessions.unwrap_or(self.clients as u64),
            parts_per_session: self.parts,
            duration: Duration::from_secs(self.seconds),
            recipe: Recipe {
                format: self.part_format,
                coding: self.coding,
                bytes: self.part_size.as_u64(),
                seed: self.seed,
            },
            commits: !self.no_commit,
            tables: self.tables,
            threads: self.threads,
        }
    }

    fn run_suite(&self, binary: &Path) -> Result<ExitCode, String> {
        let is_table = self.format == BenchFormat::Table;
        if is_table {
            print(&format!("{}\n", suite::heading()))?;
        }
        for scenario in suite::SCENARIOS {
            let report = suite::run(scenario, binary, &self.folder)?;
            print(&if is_table {
                format!("{}\n", suite::line(scenario, &report))
            } else {
                format!(
                    "{}\n",
                    serde_json::json!({"scenario": scenario.name, "report": report})
                )
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(text: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot print the report: {error}"))
}

async fn serve(config: Config) -> Result<(), String> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| error.to_string())?;
    let server = Server::start(config, Arc::new(SystemClock)).await?;
    // Standard output has this one line, for people and for programs that start us on port 0.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "calve listening on {}", server.url())
        .and_then(|()| stdout.flush())
        .map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| error.to_string())?,
    }
    server.shut_down().await;
    Ok(())
}
