//! One TOML file, every key overridable by environment, every mistake reported at once.
//!
//! `docs/configuration.md` explains the keys; a test holds the two together.

mod aws;
mod batch;
mod columns;
mod copy;
mod errors;
mod log;
mod login;
mod metrics;
mod patterns;
mod reader;
mod secret;
mod segments;
mod slot;
mod source;
mod tables;
mod target;
mod traces;
mod units;
mod verify;
mod watchdog;

use std::path::{Path, PathBuf};

pub use aws::{AwsConfig, QueueConfig, S3Config};
pub use batch::BatchConfig;
pub use copy::CopyConfig;
pub use errors::ErrorsConfig;
pub use log::{LogConfig, LogFormat};
pub use login::{LoginConfig, PasswordFrom};
pub use metrics::MetricsConfig;
pub use patterns::TablePatterns;
use reader::Reader;
pub use reader::{ConfigErrors, Problem};
pub use secret::Secret;
pub use segments::SegmentsConfig;
pub use slot::{AdvanceOn, Failover, SlotConfig};
pub use source::SourceConfig;
pub use tables::{SchemaChanges, TableRules, TableSettings, WantedDistribution};
pub use target::TargetNames;
pub use traces::TracesConfig;
pub use units::ByteSize;
pub use verify::VerifyConfig;
pub use watchdog::WatchdogConfig;

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
    /// How both sides are compared.
    pub verify: VerifyConfig,
    /// When a batch is cut and what it may hold.
    pub batch: BatchConfig,
    /// Where segments go.
    pub s3: S3Config,
    /// How long segments are kept.
    pub segments: SegmentsConfig,
    /// How capture and loader talk.
    pub queues: QueueConfig,
    /// How AWS is reached, where the environment does not say it.
    pub aws: AwsConfig,
    /// How it logs.
    pub log: LogConfig,
    /// Where metrics go.
    pub metrics: MetricsConfig,
    /// Whom errors are reported to.
    pub errors: ErrorsConfig,
    /// Where traces go.
    pub traces: TracesConfig,
    /// When it calls itself stalled.
    pub watchdog: WatchdogConfig,
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
    let aws = AwsConfig::read(reader);
    let source = SourceConfig::read(reader, &own_name, &aws);
    let target = TargetNames::read(reader);
    let tables = TableSettings::read(reader);
    let slot = SlotConfig::read(reader, own_name);
    let copy = CopyConfig::read(reader);
    let verify = VerifyConfig::read(reader);
    let batch = BatchConfig::read(reader);
    let s3 = S3Config::read(reader);
    let segments = SegmentsConfig::read(reader);
    let queues = QueueConfig::read(reader);
    let log = LogConfig::read(reader);
    let metrics = MetricsConfig::read(reader);
    let errors = ErrorsConfig::read(reader);
    let traces = TracesConfig::read(reader);
    let watchdog = WatchdogConfig::read(reader);
    Some(Config {
        stream: stream?,
        data_dir: data_dir?,
        source: source?,
        target,
        tables,
        slot,
        copy,
        verify,
        batch,
        s3: s3?,
        segments,
        queues: queues?,
        aws,
        log,
        metrics,
        errors,
        traces,
        watchdog,
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

#[cfg(test)]
mod tests;
