//! Staging before the transaction: each load has a table of its own in re_dms's schema, made, filled and counted in one
//! batch. A table that is there is complete, whoever made it; the transaction that merges it drops it.

use re_dms_shared::manifest::sha256_hex;
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::sql::{literal, qualified};

use super::{StagedSegment, Statement};

/// Files of so many bytes, compressed, are worth staging side by side.
pub(super) const LARGE_BYTES: u64 = 32 << 20;

/// Tables that one DROP names, so that its text stays well below the Data API's limit.
const TABLES_A_DROP: usize = 200;

/// What fills one staging table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staging {
    /// Its name in re_dms's schema.
    pub table: String,
    /// One batch, and so one transaction.
    pub statements: Vec<Statement>,
}

/// The staging table of a step: the same one for whoever loads this step of this very segment, and nobody else's.
pub(super) fn name(segment: &StagedSegment<'_>, step: u32) -> String {
    let (manifest, sha256) = (segment.manifest, segment.manifest_sha256);
    let identity = sha256_hex(format!("{}\n{sha256}", manifest.epoch).as_bytes());
    format!("{}{}.{}.{step}", prefix(&manifest.stream), &identity[..12], manifest.seq)
}

/// What all of a stream's staging tables begin with, and no other stream's.
fn prefix(stream: &str) -> String {
    format!("stage.{stream}.")
}

/// The number of the segment that a staging table is for.
#[must_use]
pub fn seq_of(table: &str) -> Option<u64> {
    table.rsplit('.').nth(1)?.parse().ok()
}

/// The names of the stream's staging tables.
#[must_use]
pub fn list(stream: &str) -> String {
    format!(
        "SELECT table_name FROM svv_tables WHERE table_schema = {} AND POSITION({} IN table_name) = 1",
        literal(OWN_SCHEMA),
        literal(&prefix(stream))
    )
}

/// What drops staging tables.
pub fn drop<'a>(tables: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<_> = tables.into_iter().map(|table| qualified(OWN_SCHEMA, table)).collect();
    names.chunks(TABLES_A_DROP).map(|names| format!("DROP TABLE {}", names.join(", "))).collect()
}
