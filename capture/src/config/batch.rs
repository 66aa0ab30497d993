//! When a batch is cut, and what its files are like.

use std::time::Duration;

use re_dms_shared::manifest::Compression;

use super::reader::Reader;
use super::{ByteSize, units};
use crate::rows::Codec;

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
    /// How many slices Redshift has.
    pub redshift_slices: usize,
    /// How data files are compressed: `compression` and the level that goes with it.
    pub codec: Codec,
}

impl BatchConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let compression = reader.or_default("batch.compression", compression, Compression::Gzip);
        let gzip_level = reader.or_default("batch.gzip_level", level, 1);
        let zstd_level = reader.or_default("batch.zstd_level", level, 1);
        let batch = Self {
            interval: reader.or_default("batch.interval", units::duration, Duration::from_secs(5)),
            max_bytes: reader.or_default("batch.max_bytes", units::bytes, ByteSize::mebibytes(64)),
            max_memory: reader.or_default("batch.max_memory", units::bytes, ByteSize::mebibytes(256)),
            max_file_bytes: reader.or_default("batch.max_file_bytes", units::bytes, ByteSize::mebibytes(32)),
            redshift_slices: reader.or_default("batch.redshift_slices", slices, 2),
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
        batch
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("must be gzip or zstd".into()),
    }
}

/// The largest cluster has 128 nodes of 16 slices.
fn slices(text: &str) -> Result<usize, String> {
    let slices = text.parse().ok().filter(|slices| (1..=2048).contains(slices));
    slices.ok_or_else(|| "must be a number from 1 to 2048".into())
}

fn level(text: &str) -> Result<u8, String> {
    let level = text.parse().ok().filter(|level| (1..=9).contains(level));
    level.ok_or_else(|| "must be a number from 1 to 9".into())
}
