//! One TOML file, every key overridable by environment, every mistake reported at once.
//!
//! `docs/configuration.md` explains the keys; a test holds the two together.

mod columns;
mod patterns;
mod reader;
mod tables;
mod target;
mod units;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use patterns::TablePatterns;
use re_dms_shared::columns::Columns;
use reader::Reader;
pub use reader::{ConfigErrors, Problem};
pub use tables::{SchemaChanges, TableRules, TableSettings, WantedDistribution};
pub use target::TargetNames;
pub use units::ByteSize;

use re_dms_shared::manifest::Compression;

use crate::replication::{ConnectParams, ReplicationError};
use crate::rows::Codec;

/// Everything that a stream's capture needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stream's name: lower-case letters, digits and underscores.
    pub stream: String,
    /// The folder of the local WAL, its lock and `status.json`.
    pub data_dir: PathBuf,
    /// Where changes come from.
    pub source: SourceConfig,
    /// Where they go.
    pub target: TargetNames,
    /// What is said of single tables.
    pub tables: TableSettings,
    /// The replication slot.
    pub slot: SlotConfig,
    /// How a new stream gets the rows that are there.
    pub copy: CopyConfig,
    /// When a batch is cut and what it may hold.
    pub batch: BatchConfig,
    /// Where segments go.
    pub s3: S3Config,
    /// How capture and loader talk.
    pub queues: QueueConfig,
    /// How AWS is reached, where the environment does not say it.
    pub aws: AwsConfig,
    /// How it logs.
    pub log: LogConfig,
}

/// Where changes come from.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// A connection URL or keyword string, as libpq takes it.
    pub url: Secret,
    /// Instead of a password in the URL.
    pub password: Option<Secret>,
    /// The publication's name.
    pub publication: String,
    /// What the server may use to decode this stream before it sends transactions in progress; none for its own
    /// `logical_decoding_work_mem`.
    pub decoding_work_mem: Option<ByteSize>,
    /// How often tables that are not written to are looked at; none for never.
    pub look_interval: Option<Duration>,
    /// Which tables are replicated.
    pub tables: TablePatterns,
    /// What becomes of their columns.
    pub columns: Columns,
    /// The key of hashed columns.
    pub hash_key: Option<Secret>,
}

/// The replication slot.
#[derive(Clone, Debug)]
pub struct SlotConfig {
    /// Its name.
    pub name: String,
    /// How far it follows.
    pub advance_on: AdvanceOn,
    /// How often the slot of an idle database moves on.
    pub idle_interval: Duration,
    /// Take a slot that exists though this stream has never used it.
    pub adopt: bool,
    /// Whether standbys keep a copy of it.
    pub failover: Failover,
    /// More WAL than this behind the slot's position is warned of.
    pub retained_wal_warn: ByteSize,
    /// Then follow what is staged instead of what is loaded, until it is less again.
    pub retained_wal_fallback: bool,
}

/// Whether standbys keep a copy of the slot, so that a promoted one has it (PostgreSQL 17 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// A slot that is made gets it where the server can; one that is there stays as it is.
    Auto,
    /// It must have it.
    On,
    /// It must not.
    Off,
}

/// The position up to which PostgreSQL may forget WAL (invariant 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdvanceOn {
    /// In Redshift's ledger.
    #[default]
    Loaded,
    /// Its manifest is on S3.
    Staged,
    /// Fsynced in the local WAL: losing the disk then loses data.
    Durable,
}

impl fmt::Display for AdvanceOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdvanceOn::Loaded => "loaded",
            AdvanceOn::Staged => "staged",
            AdvanceOn::Durable => "durable",
        })
    }
}

/// How a new stream gets the rows that are there.
#[derive(Clone, Debug)]
pub struct CopyConfig {
    /// Whether it gets them at all.
    pub enabled: bool,
    /// Connections that read tables.
    pub workers: usize,
    /// The most that is read from the source in a second, all connections together.
    pub max_bytes_per_second: Option<ByteSize>,
}

/// When a batch is cut and what it may hold.
#[derive(Clone, Debug)]
pub struct BatchConfig {
    /// The longest that a committed change waits before its batch is cut.
    pub interval: Duration,
    /// A batch of this size is cut at the next commit.
    pub max_bytes: ByteSize,
    /// What the changes in memory may take, all batches together.
    pub max_memory: ByteSize,
    /// A data file's size before compression.
    pub max_file_bytes: ByteSize,
    /// How data files are compressed: `compression` and the level that goes with it.
    pub codec: Codec,
}

/// Where segments go.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Prefix of all keys; may be empty.
    pub prefix: String,
}

/// How capture and loader talk.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// URL of the FIFO queue that the loader is triggered by.
    pub segments_url: String,
    /// URL of the standard queue that acknowledgements come back by.
    pub acks_url: String,
    /// A staged segment without an acknowledgement is announced again after this.
    pub resend_after: Duration,
}

/// How AWS is reached, where the environment does not say it.
#[derive(Clone, Debug)]
pub struct AwsConfig {
    /// The region.
    pub region: Option<String>,
    /// Another endpoint for S3 and SQS: for local stand-ins.
    pub endpoint_url: Option<String>,
    /// Fixed credentials: for local stand-ins. On AWS let the role give them.
    pub access_key_id: Option<String>,
    /// See `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Bucket in the path instead of the host name: for local stand-ins.
    pub s3_path_style: bool,
}

/// How it logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// A `tracing` filter, such as `info` or `re_dms_capture=debug,info`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that is never printed (invariant 9).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Config {
    /// Reads the file, with the process's environment over it.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigErrors::single(
                &path.display().to_string(),
                format!("can't be read: {error}"),
                "give the config file's path with --config",
            )
        })?;
        Self::parse(&text, std::env::vars().collect())
    }

    /// As [`Config::load`], from text and the given environment variables.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn parse(text: &str, environment: Vec<(String, String)>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(text, environment)?;
        let config = read(&mut reader);
        reader.finish()?;
        // Every key that is missing or wrong left a problem behind, so that there is a config if there is none.
        config.ok_or_else(|| {
            ConfigErrors::single("config", "is incomplete".into(), "see docs/configuration.md")
        })
    }
}

/// Reads every key before it gives up on any, so that every mistake is found.
fn read(reader: &mut Reader) -> Option<Config> {
    let stream = reader.required("stream", stream_name);
    let own_name = format!("re_dms_{}", stream.as_deref().unwrap_or("main"));
    let data_dir = reader.required("data_dir", |text| Ok(PathBuf::from(text)));

    let url = reader.required("source.url", connection_url);
    let password = reader.optional("source.password", |text| Ok(Secret::new(text.to_owned())));
    let publication = reader.or_default("source.publication", identifier, own_name.clone());
    let decoding_work_mem = reader.optional("source.decoding_work_mem", units::bytes);
    let look_interval =
        reader.or_default("source.look_interval", duration_or_never, Some(Duration::from_secs(60)));
    let include = reader.list("source.include", patterns::pattern, &["*.*"]);
    let exclude = reader.list("source.exclude", patterns::pattern, &[]);
    let (columns, hash_key) = columns::read(reader);
    let target = TargetNames::read(reader);
    let tables = TableSettings::read(reader);

    let slot = SlotConfig {
        name: reader.or_default("slot.name", slot_name, own_name),
        advance_on: reader.or_default("slot.advance_on", advance_on, AdvanceOn::Loaded),
        idle_interval: reader.or_default("slot.idle_interval", units::duration, Duration::from_secs(10)),
        adopt: reader.or_default("slot.adopt", units::boolean, false),
        failover: reader.or_default("slot.failover", failover, Failover::Auto),
        retained_wal_warn: reader.or_default(
            "slot.retained_wal_warn",
            units::bytes,
            ByteSize::mebibytes(10 << 10),
        ),
        retained_wal_fallback: reader.or_default("slot.retained_wal_fallback", units::boolean, false),
    };
    let copy = CopyConfig {
        enabled: reader.or_default("copy.enabled", units::boolean, true),
        workers: reader.or_default("copy.workers", workers, 2),
        max_bytes_per_second: reader.optional("copy.max_bytes_per_second", rate),
    };
    let compression = reader.or_default("batch.compression", compression, Compression::Gzip);
    let gzip_level = reader.or_default("batch.gzip_level", level, 1);
    let zstd_level = reader.or_default("batch.zstd_level", level, 1);
    let batch = BatchConfig {
        interval: reader.or_default("batch.interval", units::duration, Duration::from_secs(5)),
        max_bytes: reader.or_default("batch.max_bytes", units::bytes, ByteSize::mebibytes(64)),
        max_memory: reader.or_default("batch.max_memory", units::bytes, ByteSize::mebibytes(256)),
        max_file_bytes: reader.or_default("batch.max_file_bytes", units::bytes, ByteSize::mebibytes(32)),
        codec: match compression {
            Compression::Gzip => Codec::Gzip(gzip_level),
            Compression::Zstd => Codec::Zstd(zstd_level),
        },
    };
    if batch.max_bytes > batch.max_memory {
        reader.problem(
            "batch.max_bytes",
            "is more than batch.max_memory".into(),
            "a batch must fit into memory: lower max_bytes or raise max_memory",
        );
    }

    let bucket = reader.required("s3.bucket", bucket_name);
    let prefix = reader.or_default("s3.prefix", |text| Ok(text.to_owned()), "re_dms".to_owned());
    let segments_url = reader.required("queues.segments_url", fifo_queue_url);
    let acks_url = reader.required("queues.acks_url", standard_queue_url);
    let resend_after = reader.or_default("queues.resend_after", units::duration, Duration::from_secs(300));

    let aws = AwsConfig {
        region: reader.optional("aws.region", |text| Ok(text.to_owned())),
        endpoint_url: reader.optional("aws.endpoint_url", http_url),
        access_key_id: reader.optional("aws.access_key_id", |text| Ok(text.to_owned())),
        secret_access_key: reader.optional("aws.secret_access_key", |text| Ok(Secret::new(text.to_owned()))),
        s3_path_style: reader.or_default("aws.s3_path_style", units::boolean, false),
    };
    if aws.access_key_id.is_some() != aws.secret_access_key.is_some() {
        reader.problem(
            "aws.access_key_id",
            "and aws.secret_access_key go together".into(),
            "set both, or neither to take the credentials that the environment or the role gives",
        );
    }
    let log = LogConfig {
        format: reader.or_default("log.format", log_format, LogFormat::Text),
        level: reader.or_default("log.level", log_filter, "info".to_owned()),
    };
    Some(Config {
        stream: stream?,
        data_dir: data_dir?,
        source: SourceConfig {
            url: url?,
            password,
            publication,
            decoding_work_mem,
            look_interval,
            tables: TablePatterns::new(include, exclude),
            columns,
            hash_key,
        },
        target,
        tables,
        slot,
        copy,
        batch,
        s3: S3Config { bucket: bucket?, prefix },
        queues: QueueConfig { segments_url: segments_url?, acks_url: acks_url?, resend_after },
        aws,
        log,
    })
}

/// Names that go unquoted into slots, folders and tables.
fn plain_name(text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.len() <= longest && text.bytes().all(plain)
}

fn stream_name(text: &str) -> Result<String, String> {
    let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_with_letter && plain_name(text, 40) {
        Ok(text.to_owned())
    } else {
        Err("must be lower-case letters, digits and underscores, begin with a letter, at most 40 long".into())
    }
}

fn slot_name(text: &str) -> Result<String, String> {
    if plain_name(text, 63) {
        Ok(text.to_owned())
    } else {
        Err("must be lower-case letters, digits and underscores, at most 63 long".into())
    }
}

fn identifier(text: &str) -> Result<String, String> {
    if (1..=63).contains(&text.len()) && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err("must be a PostgreSQL name of 1 to 63 bytes".into())
    }
}

fn connection_url(text: &str) -> Result<Secret, String> {
    let checked = ConnectParams::from_url(text).map(|_| Secret::new(text.to_owned()));
    checked.map_err(|error| match error {
        ReplicationError::Url { reason } => {
            format!("is no connection URL: {reason} (postgres://user@host:5432/database)")
        }
        other => format!("can't be used: {other}"),
    })
}

fn advance_on(text: &str) -> Result<AdvanceOn, String> {
    match text {
        "loaded" => Ok(AdvanceOn::Loaded),
        "staged" => Ok(AdvanceOn::Staged),
        "durable" => Ok(AdvanceOn::Durable),
        _ => Err("must be loaded, staged or durable".into()),
    }
}

fn failover(text: &str) -> Result<Failover, String> {
    match text {
        "auto" => Ok(Failover::Auto),
        "true" => Ok(Failover::On),
        "false" => Ok(Failover::Off),
        _ => Err("must be auto, true or false".into()),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".into()),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    let parsed = text.parse::<tracing_subscriber::EnvFilter>();
    parsed.map(|_| text.to_owned()).map_err(|error| format!("is no log filter: {error}"))
}

fn duration_or_never(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" { Ok(None) } else { units::duration(text).map(Some) }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("must be gzip or zstd".into()),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    let workers = text.parse().ok().filter(|workers| (1..=32).contains(workers));
    workers.ok_or_else(|| "must be a number from 1 to 32".into())
}

fn rate(text: &str) -> Result<ByteSize, String> {
    let rate = units::bytes(text)?;
    if rate.bytes() == 0 { Err("must be more than nothing".into()) } else { Ok(rate) }
}

fn level(text: &str) -> Result<u8, String> {
    let level = text.parse().ok().filter(|level| (1..=9).contains(level));
    level.ok_or_else(|| "must be a number from 1 to 9".into())
}

fn bucket_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if (3..=63).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("is no bucket name (3 to 63 lower-case letters, digits, dots and hyphens; no s3://)".into())
    }
}

fn http_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        Ok(text.to_owned())
    } else {
        Err("must begin with https:// or http:// and name a host".into())
    }
}

fn fifo_queue_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.ends_with(".fifo") {
        Ok(url)
    } else {
        Err("must be the URL of a FIFO queue: order matters, so its name ends in .fifo".into())
    }
}

fn standard_queue_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.ends_with(".fifo") {
        Err("must be the URL of a standard queue, not of a FIFO queue".into())
    } else {
        Ok(url)
    }
}

#[cfg(test)]
mod tests;
