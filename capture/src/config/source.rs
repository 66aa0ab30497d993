//! Where changes come from.

use std::time::Duration;

use re_dms_shared::columns::Columns;

use super::reader::Reader;
use super::{AwsConfig, ByteSize, LoginConfig, Secret, TablePatterns, columns, patterns, units};
use crate::replication::{ConnectParams, ReplicationError};

/// Where changes come from.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// A connection URL or keyword string, as libpq takes it.
    pub url: Secret,
    /// How the source lets us in.
    pub login: LoginConfig,
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

impl SourceConfig {
    pub(super) fn read(reader: &mut Reader, own_name: &str, aws: &AwsConfig) -> Option<Self> {
        let url = reader.required("source.url", connection_url);
        let login = LoginConfig::read(reader, url.as_ref(), aws);
        let publication = reader.or_default("source.publication", identifier, own_name.to_owned());
        let decoding_work_mem = reader.optional("source.decoding_work_mem", units::bytes);
        let look_interval = reader.or_default(
            "source.look_interval",
            units::duration_or_never,
            Some(Duration::from_secs(60)),
        );
        let include = reader.list("source.include", patterns::pattern, &["*.*"]);
        let exclude = reader.list("source.exclude", patterns::pattern, &[]);
        let (columns, hash_key) = columns::read(reader);
        Some(Self {
            url: url?,
            login,
            publication,
            decoding_work_mem,
            look_interval,
            tables: TablePatterns::new(include, exclude),
            columns,
            hash_key,
        })
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
