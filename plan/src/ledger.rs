//! Statements on the ledger: one row a segment, written in the transaction of the segment's data.

use jiff::Timestamp;
use re_dms_shared::ledger::{COLUMNS, qualified_name};
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::sql::{ident, literal};

use super::{StagedSegment, table_log};

/// What makes the ledger. Sent apart from any segment, since a transaction can't lock a table that it creates
/// conditionally.
#[must_use]
pub fn ensure(stream: &str) -> [String; 2] {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, ty)| format!("{} {ty}", ident(name))).collect();
    [
        format!("CREATE SCHEMA IF NOT EXISTS {}", ident(OWN_SCHEMA)),
        format!("CREATE TABLE IF NOT EXISTS {} ({})", qualified_name(stream), columns.join(", ")),
    ]
}

/// The epoch's last row: seq, end, manifest's checksum. No row before the first segment.
#[must_use]
pub fn last_row(stream: &str, epoch: &str) -> String {
    format!(
        "SELECT \"seq\", \"end_lsn\", \"manifest_sha256\" FROM {} WHERE \"epoch\" = {} ORDER BY \"seq\" DESC LIMIT 1",
        qualified_name(stream),
        literal(epoch)
    )
}

/// Keeps every other loader of the stream out until the end of the transaction.
pub(super) fn lock(stream: &str) -> String {
    format!("LOCK {}", qualified_name(stream))
}

/// Divides by zero unless `last` is the epoch's last segment and `change` the table log's last row: a batch can't
/// branch, but it can fail.
pub(super) fn guard(stream: &str, epoch: &str, last: u64, change: u64) -> String {
    format!(
        "SELECT 1 / COUNT(*) FROM (SELECT COALESCE(MAX(\"seq\"), 0) AS \"last\" FROM {} WHERE \"epoch\" = {}) AS \"g\", \
         {} WHERE \"g\".\"last\" = {last} AND {}",
        qualified_name(stream),
        literal(epoch),
        table_log::last_change(stream),
        table_log::is_last_change(change),
    )
}

/// A row for each segment.
pub(super) fn record(segments: &[StagedSegment<'_>]) -> String {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, _)| ident(name)).collect();
    let rows: Vec<_> = segments.iter().map(row).collect();
    let stream = segments.first().map_or("", |segment| &segment.manifest.stream);
    format!("INSERT INTO {} ({}) VALUES {}", qualified_name(stream), columns.join(", "), rows.join(", "))
}

fn row(segment: &StagedSegment<'_>) -> String {
    let manifest = segment.manifest;
    let values = [
        literal(&manifest.epoch),
        manifest.seq.to_string(),
        literal(&manifest.start_lsn.to_string()),
        literal(&manifest.end_lsn.to_string()),
        literal(manifest.ledger_sha256(segment.manifest_sha256)),
        super::queries::rows(manifest).to_string(),
        timestamp(manifest.first_commit_time),
        timestamp(manifest.last_commit_time),
        "GETDATE()".to_owned(),
    ];
    format!("({})", values.join(", "))
}

/// A TIMESTAMP literal in UTC.
pub(super) fn timestamp(time: Timestamp) -> String {
    literal(&time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string())
}
