//! How a new stream gets the rows that are there.

use super::reader::Reader;
use super::{ByteSize, units};

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

impl CopyConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            enabled: reader.or_default("copy.enabled", units::boolean, true),
            workers: reader.or_default("copy.workers", workers, 2),
            max_bytes_per_second: reader.optional("copy.max_bytes_per_second", rate),
        }
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
