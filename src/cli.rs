//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

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

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let Command::Serve(arguments) = self.command;
        let outcome = arguments.config().and_then(|config| {
            telemetry::init(&config.logging)?;
            actix_web::rt::System::new().block_on(serve(config))
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("calve: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

impl ServeArguments {
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
