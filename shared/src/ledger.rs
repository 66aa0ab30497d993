//! The ledger: the table in Redshift, one a stream, that says which segments are in.

use crate::names::OWN_SCHEMA;
use crate::sql;

/// The ledger's name within [`OWN_SCHEMA`]. A stream's name is of lower-case letters, digits and underscores, so that no
/// two streams share one.
#[must_use]
pub fn table_name(stream: &str) -> String {
    format!("ledger_{stream}")
}

/// The ledger's quoted, qualified name.
#[must_use]
pub fn qualified_name(stream: &str) -> String {
    sql::qualified(OWN_SCHEMA, &table_name(stream))
}

/// The ledger's columns with their Redshift types, in order. One row a segment, never changed.
pub const COLUMNS: [(&str, &str); 9] = [
    ("epoch", "VARCHAR(256) NOT NULL"),
    ("seq", "BIGINT NOT NULL"),
    ("start_lsn", "VARCHAR(17) NOT NULL"),
    ("end_lsn", "VARCHAR(17) NOT NULL"),
    ("manifest_sha256", "VARCHAR(64) NOT NULL"),
    ("rows", "BIGINT NOT NULL"),
    ("first_commit_at", "TIMESTAMP NOT NULL"),
    ("last_commit_at", "TIMESTAMP NOT NULL"),
    ("loaded_at", "TIMESTAMP NOT NULL"),
];
