//! Statements on the ledger: one row a segment, written in the transaction of the segment's data.

use jiff::Timestamp;
use re_dms_shared::ledger::{COLUMNS, qualified_name};
use re_dms_shared::manifest::Manifest;
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::sql::{ident, literal};

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

/// Divides by zero unless `last` is the epoch's last segment: a batch can't branch, but it can fail.
pub(super) fn guard(stream: &str, epoch: &str, last: u64) -> String {
    format!(
        "SELECT 1 / COUNT(*) FROM (SELECT COALESCE(MAX(\"seq\"), 0) AS \"last\" FROM {} WHERE \"epoch\" = {}) AS \"g\" \
         WHERE \"g\".\"last\" = {last}",
        qualified_name(stream),
        literal(epoch)
    )
}

/// The segment's row.
pub(super) fn record(manifest: &Manifest, manifest_sha256: &str) -> String {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, _)| ident(name)).collect();
    let values = [
        literal(&manifest.epoch),
        manifest.seq.to_string(),
        literal(&manifest.start_lsn.to_string()),
        literal(&manifest.end_lsn.to_string()),
        literal(manifest_sha256),
        super::queries::rows(manifest).to_string(),
        timestamp(manifest.first_commit_time),
        timestamp(manifest.last_commit_time),
        "GETDATE()".to_owned(),
    ];
    format!(
        "INSERT INTO {} ({}) VALUES ({})",
        qualified_name(&manifest.stream),
        columns.join(", "),
        values.join(", ")
    )
}

/// A TIMESTAMP literal in UTC.
fn timestamp(time: Timestamp) -> String {
    literal(&time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string())
}
