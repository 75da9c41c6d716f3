//! The binary `calve`: parses the command line and runs it.

use clap::Parser;

fn main() -> std::process::ExitCode {
    calve::cli::Cli::parse().run()
}
