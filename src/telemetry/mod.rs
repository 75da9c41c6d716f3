//! Logs and metrics.
//!
//! Logs go to standard error, human-readable or JSON. Field names are the same everywhere:
//! `request_id`, `operation`, `session_id`, `part`, `table`, `commit_id`. File contents, values and
//! credentials are never logged, but for the one value that a refusal names to its sender.

pub mod metrics;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LoggingConfig};
pub use metrics::Metrics;

/// actix logs every head that is not HTTP as an error, and so would let strangers fill the log. What comes after it wins.
const NOISE: &str = "actix_http::h1::dispatcher=off";

/// Starts logging; the environment variable `RUST_LOG` wins over the configured level.
pub fn init(config: &LoggingConfig) -> Result<(), String> {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) => EnvFilter::try_new(format!("{NOISE},{}", config.level))
            .map_err(|error| format!("logging.level: `{}`: {error}", config.level))?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let result = match config.format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| error.to_string())
}
