//! Configuration: defaults, then a TOML file, then `CALVE_SECTION__KEY` in the environment, then flags.
//!
//! One struct per section; unknown keys are refused. [`Config::validate`] names the key and the value.
//! `config/calve.toml` lists every key with its default and a reason, and a test compares it with these
//! defaults.

mod access;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use access::{
    AuditConfig, AuthConfig, AuthMode, IdentityConfig, IssuerConfig, KeyAlgorithm, QuotasConfig,
    TlsConfig,
};

use crate::store::pace::Pace;
use crate::store::packs::PACKED_BYTES_MAX;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[quotas]`
    pub quotas: QuotasConfig,
    /// `[audit]`
    pub audit: AuditConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[sessions]`
    pub sessions: SessionsConfig,
    /// `[parts]`
    pub parts: PartsConfig,
    /// `[tables]`
    pub tables: TablesConfig,
    /// `[cleaning]`
    pub cleaning: CleaningConfig,
    /// `[logging]`
    pub logging: LoggingConfig,
}

/// How clients reach the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Base of the URLs handed out; by default what the request's `Host` header says.
    pub public_url: Option<String>,
    /// How long running requests and commits may take to finish after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub shutdown_deadline: Duration,
    /// Longest silence in the middle of a body before the request is given up.
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    /// Least bytes a second of a body, on average after `body_idle_timeout`; 0 for no such bound.
    pub body_bytes_per_second_min: ByteSize,
    /// Longest time that a client may take to send a body.
    #[serde(with = "humantime_serde")]
    pub body_deadline: Duration,
    /// Connections at once; more wait to be taken.
    pub connections_max: usize,
    /// Proxies whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of web pages that may use the API.
    pub cors_origins: Vec<String>,
}

impl ServerConfig {
    /// How slowly a body may arrive.
    pub fn pace(&self) -> Pace {
        Pace {
            idle_timeout: self.body_idle_timeout,
            bytes_per_second_min: self.body_bytes_per_second_min.as_u64(),
            deadline: self.body_deadline,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            shutdown_deadline: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(30),
            connections_max: 10_000,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            body_bytes_per_second_min: ByteSize::kib(1),
            body_deadline: Duration::from_secs(3600),
        }
    }
}

/// Where things are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// The data folder.
    pub data_dir: PathBuf,
    /// Concurrent fsyncs.
    pub concurrent_syncs: usize,
    /// Free space that uploads leave for commits, deletions and records.
    pub reserve: ByteSize,
    /// Most bytes that all sessions may have staged; 0 for as many as the disk has room for.
    pub staged_bytes_max: ByteSize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            concurrent_syncs: 8,
            reserve: ByteSize::mib(128),
            staged_bytes_max: ByteSize::b(0),
        }
    }
}

/// How sessions live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionsConfig {
    /// How long a session takes parts after it was opened.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// Whether every acknowledged part starts the `ttl` anew.
    pub renew_on_activity: bool,
    /// How long an idle session stays in memory.
    #[serde(with = "humantime_serde")]
    pub idle_in_memory: Duration,
    /// Sessions open at once; more are answered with 429.
    pub open_max: u64,
    /// Sessions in memory at once; more are answered with 503.
    pub in_memory_max: usize,
    /// Columns of all parts of one session together.
    pub columns_max: usize,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(6 * 3600),
            renew_on_activity: false,
            idle_in_memory: Duration::from_secs(60),
            open_max: 100_000,
            in_memory_max: 100_000,
            columns_max: 300_000,
        }
    }
}

/// What a part may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartsConfig {
    /// Highest part number.
    pub number_max: u16,
    /// Largest body as sent.
    pub wire_bytes_max: ByteSize,
    /// Largest body after decoding.
    pub decoded_bytes_max: ByteSize,
    /// Largest text part, as sent, that shares a file with others; 0 for none.
    pub packed_bytes_max: ByteSize,
    /// Largest content of a Parquet file in memory form, over all its rows.
    pub parquet_content_bytes_max: ByteSize,
    /// How far a Parquet file is read before its pages become a table's.
    pub verify_parquet: VerifyParquet,
    /// Most columns.
    pub columns_max: usize,
    /// Largest single field or line of a text format.
    pub field_bytes_max: ByteSize,
    /// Parts received at once; more are answered with 503.
    pub in_flight_max: usize,
    /// Parts converted at once; 0 means one per core.
    pub concurrent_conversions: usize,
}

impl Default for PartsConfig {
    fn default() -> Self {
        Self {
            number_max: 999,
            wire_bytes_max: ByteSize::mib(30),
            decoded_bytes_max: ByteSize::mib(200),
            packed_bytes_max: ByteSize::b(PACKED_BYTES_MAX as u64),
            parquet_content_bytes_max: ByteSize::gib(4),
            verify_parquet: VerifyParquet::Full,
            columns_max: 10_000,
            field_bytes_max: ByteSize::mib(16),
            in_flight_max: 512,
            concurrent_conversions: 0,
        }
    }
}

/// How far a Parquet file is read before its pages become a table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyParquet {
    /// The structure, and every page decoded and compared with the footer's statistics.
    Full,
    /// Footer, page headers, sizes, counts and checksums.
    Structure,
}

/// The upkeep of tables: the properties that new ones get, and what holds for those that lack them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TablesConfig {
    /// Snapshots beyond so many expire; 0 for no such bound.
    pub snapshots_max: usize,
    /// Older snapshots expire.
    #[serde(with = "humantime_serde")]
    pub snapshot_age_max: Duration,
    /// So many of the newest snapshots never expire.
    pub snapshots_min: usize,
    /// Earlier metadata files that are kept.
    pub previous_metadata_max: usize,
    /// So many manifests of about the same number of files become one.
    pub manifests_to_merge: usize,
    /// Size up to which manifests are merged.
    pub manifest_bytes: ByteSize,
}

impl Default for TablesConfig {
    fn default() -> Self {
        Self {
            snapshots_max: 200,
            snapshot_age_max: Duration::from_secs(5 * 24 * 3600),
            snapshots_min: 20,
            previous_metadata_max: 100,
            manifests_to_merge: 16,
            manifest_bytes: ByteSize::mib(8),
        }
    }
}

/// How what is no longer needed goes away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleaningConfig {
    /// Time between two sweeps.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long a staged file must be unreferenced, and seen so by two sweeps, before it is removed.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// How long committed and expired sessions are remembered.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
}

impl Default for CleaningConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(600),
            grace: Duration::from_secs(3600),
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What the log looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingConfig {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A level, or `target=level` directives.
    pub level: String,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            level: "info".to_owned(),
        }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The configuration from `file` (if any), the environment, and `flags` (keys like
    /// `server.listen`), each overriding the one before.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, String> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            // A file that was asked for must be there.
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(Env::prefixed("CALVE_").split("__").lowercase(true));
        for (key, value) in flags {
            figment = figment.merge((*key, value));
        }
        let config: Self = figment.extract().map_err(|error| {
            let messages: Vec<String> = error.into_iter().map(|one| one.to_string()).collect();
            messages.join("; ")
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Refuses values that cannot work, naming key and value.
    pub fn validate(&self) -> Result<(), String> {
        let parts = &self.parts;
        check("sessions.ttl", self.sessions.ttl, |ttl| !ttl.is_zero())?;
        check("sessions.in_memory_max", self.sessions.in_memory_max, |n| {
            *n > 0
        })?;
        check("sessions.open_max", self.sessions.open_max, |n| *n > 0)?;
        check("parts.in_flight_max", parts.in_flight_max, |n| {
            (1..=100_000).contains(n)
        })?;
        check("cleaning.interval", self.cleaning.interval, |interval| {
            !interval.is_zero()
        })?;
        check("tables.snapshots_min", self.tables.snapshots_min, |n| {
            *n > 0
        })?;
        check(
            "tables.previous_metadata_max",
            self.tables.previous_metadata_max,
            |n| *n > 0,
        )?;
        check(
            "tables.manifests_to_merge",
            self.tables.manifests_to_merge,
            |n| *n > 1,
        )?;
        check("sessions.columns_max", self.sessions.columns_max, |n| {
            *n > 0
        })?;
        check(
            "storage.concurrent_syncs",
            self.storage.concurrent_syncs,
            |n| *n > 0,
        )?;
        check("parts.wire_bytes_max", parts.wire_bytes_max, |bytes| {
            bytes.as_u64() > 0
        })?;
        check(
            "parts.decoded_bytes_max",
            parts.decoded_bytes_max,
            |bytes| bytes.as_u64() > 0,
        )?;
        check("parts.packed_bytes_max", parts.packed_bytes_max, |bytes| {
            bytes.as_u64() <= PACKED_BYTES_MAX as u64
        })?;
        check("parts.columns_max", parts.columns_max, |n| {
            (1..=100_000).contains(n)
        })?;
        check("parts.field_bytes_max", parts.field_bytes_max, |bytes| {
            (1..=1 << 30).contains(&bytes.as_u64())
        })?;
        if let Some(url) = &self.server.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return Err(format!(
                "server.public_url: `{url}` must start with http:// or https://"
            ));
        }
        access::validate(self)
    }

    /// Parts converted at once.
    pub fn conversions_max(&self) -> usize {
        match self.parts.concurrent_conversions {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            configured => configured,
        }
    }
}

fn check<T: std::fmt::Debug>(key: &str, value: T, fits: impl Fn(&T) -> bool) -> Result<(), String> {
    if fits(&value) {
        Ok(())
    } else {
        Err(format!("{key}: {value:?} is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_lists_every_key_with_its_default() {
        let text = include_str!("../config/calve.toml");
        // Optional keys have no default and stand commented out.
        let listed: Config = Figment::from(Toml::string(text)).extract().unwrap();
        assert_eq!(listed, Config::default());
        let defaults = serde_json::to_value(Config::default()).unwrap();
        for (section, keys) in defaults.as_object().unwrap() {
            assert!(text.contains(&format!("[{section}]")), "[{section}]");
            for key in keys.as_object().unwrap().keys() {
                let line = text.lines().any(|line| {
                    line.trim_start_matches("# ")
                        .starts_with(&format!("{key} = "))
                });
                assert!(line, "{section}.{key} is missing from config/calve.toml");
            }
        }
    }

    #[test]
    fn flags_override_the_file_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calve.toml");
        std::fs::write(&file, "[parts]\nwire_bytes_max = \"1 MiB\"\n").unwrap();
        let config =
            Config::load(Some(&file), &[("server.listen", "127.0.0.1:0".to_owned())]).unwrap();
        assert_eq!(config.parts.wire_bytes_max, ByteSize::mib(1));
        assert_eq!(config.server.listen.port(), 0);
        std::fs::write(&file, "[parts]\nwire_bytes = \"1 MiB\"\n").unwrap();
        let refused = Config::load(Some(&file), &[]).unwrap_err();
        assert!(refused.contains("wire_bytes"), "{refused}");
        std::fs::write(&file, "[parts]\ncolumns_max = 0\n").unwrap();
        let refused = Config::load(Some(&file), &[]).unwrap_err();
        assert!(refused.contains("parts.columns_max: 0"), "{refused}");
    }
}
