//! `status.json`: what a capture tells about itself, written by it and read by whoever watches.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Lsn;
use crate::lsn::{Confirmed, Durable, Loaded, Received, Staged};
use crate::table_log::QuarantinedTable;

/// The format that is written.
pub const FORMAT: u32 = 1;

/// What a capture is doing. A reader takes files with more keys, or fewer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureStatus {
    /// [`FORMAT`]
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// The epoch's text.
    pub epoch: String,
    /// The capture's process id.
    pub pid: u32,
    /// When this was written.
    pub updated_at: Timestamp,
    /// What it is doing.
    pub state: CaptureState,
    /// See [`Received`].
    pub received: Received,
    /// See [`Durable`].
    pub durable: Durable,
    /// See [`Staged`].
    pub staged: Staged,
    /// See [`Loaded`].
    pub loaded: Loaded,
    /// See [`Confirmed`].
    pub confirmed: Confirmed,
    /// The server's own WAL end, as last heard.
    pub server_wal_end: Lsn,
    /// How far the slot follows now: `slot.advance_on`, or `staged` while too much WAL is retained.
    pub advance_on: String,
    /// WAL that the slot retained on the source when it was last asked; none before.
    pub retained_bytes: Option<u64>,
    /// From `loaded` to the server's WAL end.
    pub lag_bytes: u64,
    /// Age of the oldest transaction that is not loaded; 0 if all are.
    pub lag_seconds: f64,
    /// Staged and not loaded.
    pub segments_in_flight: u64,
    /// Over the epoch's life.
    pub segments_staged: u64,
    /// Over the epoch's life.
    pub segments_loaded: u64,
    /// Since the start of the process.
    pub transactions: u64,
    /// Row changes received since the start of the process.
    pub changes: u64,
    /// Rows written to files since the start of the process.
    pub rows_written: u64,
    /// Compressed bytes written to S3 since the start of the process.
    pub bytes_written: u64,
    /// Tables whose changes collect on S3 instead of being loaded, as the loader last told.
    pub quarantined: Vec<QuarantinedTable>,
    /// Whether it has told since the start.
    #[serde(default)]
    pub quarantined_told: bool,
    /// Why the last `re_dms tables resume` did nothing, if so.
    pub resume_error: Option<ResumeError>,
    /// What works and will not for long, with a hint, while it lasts.
    pub warning: Option<String>,
    /// The part of the capture that hangs, with a hint, while it does.
    pub stalled: Option<String>,
    /// What has been waited for for long, with a hint, while it is.
    pub waits: Option<String>,
    /// The initial copy, while it goes on.
    pub copy: Option<CopyStatus>,
    /// Tables that are to be read anew, or are just being read. What they come to is in `quarantined` then.
    pub resyncs: Vec<ResyncStatus>,
    /// How far that is.
    pub resync: Option<CopyStatus>,
    /// Why tables that are to be read anew can't be, while that lasts.
    pub resync_error: Option<String>,
    /// Tables with rows in Redshift that may differ from the source's until they are read again.
    pub needs_resync: Vec<NeedsResync>,
    /// What `re_dms verify`, or the configuration's interval, found last; none since the start of the process.
    pub verified: Option<VerifiedStatus>,
    /// The last failure with its hint, while it lasts.
    pub last_error: Option<String>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifiedStatus {
    /// The run's: its result is on S3.
    pub id: String,
    /// When it ended.
    pub at: Timestamp,
    /// Tables that were looked at.
    pub tables: u64,
    /// Tables that are not in Redshift as on the source, by their names there.
    pub different: Vec<String>,
    /// Tables that could not be compared.
    pub unverified: Vec<String>,
    /// Why it broke off, if it did.
    pub error: Option<String>,
}

/// How far an initial copy is, or the reading of tables anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyStatus {
    /// Tables of it.
    pub tables: u64,
    /// Tables whose segments are on S3.
    pub tables_done: u64,
    /// Rows on S3 since the start of the process.
    pub rows: u64,
    /// What the tables that were left at the start of the process take on the source's disk, about.
    pub bytes_expected: u64,
    /// The same, of those that are done since.
    pub bytes_done: u64,
    /// How long it may still take, if that can be told.
    pub seconds_left: Option<u64>,
    /// Tables that are being read.
    pub reading: Vec<TableCopyStatus>,
}

/// How far the initial copy of one table is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableCopyStatus {
    /// `schema.name` on the source.
    pub table: String,
    /// What it takes on the source's disk, about.
    pub bytes_expected: u64,
    /// The same, of what was read.
    pub bytes_done: u64,
    /// Rows on S3.
    pub rows: u64,
}

/// A table that is to be read anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResyncStatus {
    /// `schema.name` on the source.
    pub table: String,
    /// The request.
    pub id: String,
}

/// A quarantine that could not be ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResumeError {
    /// When the loader told.
    pub at: Timestamp,
    /// Its words, with a hint.
    pub error: String,
}

/// A table with rows in Redshift that may differ from the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NeedsResync {
    /// `schema.name` on the source.
    pub table: String,
    /// How that came, without values.
    pub reason: String,
}

/// What a capture is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureState {
    /// Not connected to the source.
    #[default]
    Connecting,
    /// Connected, and changes are taken.
    Streaming,
    /// Changes are not taken before there is room on the disk again.
    DiskFull,
    /// Ended.
    Stopped,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for CaptureState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CaptureState::Connecting => "connecting",
            CaptureState::Streaming => "streaming",
            CaptureState::DiskFull => "waiting for room on its disk",
            CaptureState::Stopped => "stopped",
            CaptureState::Unknown => "in a state that this version does not know",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_or_fewer_keys_and_newer_words_are_read() {
        let json = r#"{"format":1,"pid":7,"state":"napping","loaded":"0/2A","lag_seconds":1.5,"new_key":[]}"#;
        let status: CaptureStatus = serde_json::from_str(json).unwrap();
        assert_eq!((status.loaded, status.lag_seconds), (Loaded(Lsn(42)), 1.5));
        assert_eq!(status.state, CaptureState::Unknown);
        let written =
            serde_json::to_string(&CaptureStatus { state: CaptureState::DiskFull, ..status }).unwrap();
        assert!(written.contains(r#""state":"disk_full""#), "{written}");
    }
}
