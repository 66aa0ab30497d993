//! The table log: the table in Redshift, one a stream, that says which targets are quarantined and what was skipped
//! meanwhile, and how far a segment is whose tables are committed one by one. Rows are added under the ledger's lock with
//! ascending numbers, and those that nobody needs go, but never the last one: whoever knows the last number knows all.

use serde::{Deserialize, Serialize};

use crate::names::OWN_SCHEMA;
use crate::sql;

/// The log's quoted, qualified name. No stream's ledger begins like it.
#[must_use]
pub fn qualified_name(stream: &str) -> String {
    sql::qualified(OWN_SCHEMA, &format!("tables_{stream}"))
}

/// The log's columns with their Redshift types, in order.
pub const COLUMNS: [(&str, &str); 13] = [
    ("change", "BIGINT NOT NULL"),
    ("event", "VARCHAR(16) NOT NULL"),
    ("target_schema", "VARCHAR(127) NOT NULL"),
    ("target_name", "VARCHAR(127) NOT NULL"),
    ("epoch", "VARCHAR(256) NOT NULL"),
    ("seq", "BIGINT NOT NULL"),
    ("bucket", "VARCHAR(63)"),
    ("manifest_key", "VARCHAR(1024)"),
    ("manifest_sha256", "VARCHAR(64)"),
    ("replays", "BIGINT"),
    ("reason", "VARCHAR(2000)"),
    ("hint", "VARCHAR(1000)"),
    ("at", "TIMESTAMP NOT NULL"),
];

/// What befell a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A segment could not be loaded for its sake.
    Failed,
    /// From this segment on its steps are skipped.
    Quarantined,
    /// The same, since a change of its definition waits for approval.
    Held,
    /// The steps of this segment were.
    Skipped,
    /// They were done after all: `replays` is the number of the row that says that they were skipped.
    Replayed,
    /// Nothing is left to replay: it is loaded again.
    Resumed,
    /// Its steps of this segment are done, or recorded as skipped, though the ledger does not have the segment yet.
    Loaded,
    /// Somebody wants it to stand still: from here on its steps are skipped.
    Paused,
    /// From this segment on its steps are skipped until it was read anew, and all that was skipped before need not come.
    Resync,
    /// It was read anew: this segment has its rows.
    Copied,
    /// Those rows are in; what was skipped since follows.
    Replaced,
}

impl Event {
    /// The word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Event::Failed => "failed",
            Event::Quarantined => "quarantined",
            Event::Held => "held",
            Event::Skipped => "skipped",
            Event::Replayed => "replayed",
            Event::Resumed => "resumed",
            Event::Loaded => "loaded",
            Event::Paused => "paused",
            Event::Resync => "resync",
            Event::Copied => "copied",
            Event::Replaced => "replaced",
        }
    }
}

/// A stream's quarantined tables, as of a row of the log: of two that differ the one with the higher number is newer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The row's number.
    pub as_of: u64,
    /// The tables, as many as fit into a message.
    pub tables: Vec<QuarantinedTable>,
}

/// A quarantined table as acknowledgements and `status.json` tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedTable {
    /// Schema and name in Redshift, with a dot between them.
    pub table: String,
    /// The epoch of the first segment that was skipped.
    pub since_epoch: String,
    /// The first segment that was skipped.
    pub since_seq: u64,
    /// What went wrong. Never holds a row value.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// Nothing went wrong: a change of its definition waits for approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Nothing went wrong: somebody wants it to stand still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Nothing went wrong: it is being read anew, and this is how far that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync: Option<Resync>,
}

/// How far the loader is with a table that is read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resync {
    /// Its rows are not all on S3.
    Reading,
    /// They are, and are loaded, or what came since is.
    Loading,
}
