//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

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
    /// Check a data folder: journal, staged files, tables.
    Check(CheckArguments),
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
            Command::Check(arguments) => arguments.run(),
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
        let mut stdout = std::io::stdout();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| format!("cannot print the report: {error}"))?;
        Ok(ExitCode::from(report.exit_code()))
    }
}

async fn serve(config: Config) -> Result<(), String> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| error.to_string())?;
    let server = Server::start(config, Arc::new(SystemClock)).await?;
    // Standard output has this one line, for people and for programs that start us on port 0.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "calve listening on http://{}", server.address)
        .and_then(|()| stdout.flush())
        .map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| error.to_string())?,
    }
    server.shut_down().await;
    Ok(())
}
