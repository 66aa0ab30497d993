//! `status.json` in the data folder: what the capture is doing, for people and for scripts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::progress::Snapshot;

/// Written no more often than this.
const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct Status<'a> {
    format: u32,
    stream: &'a str,
    epoch: &'a str,
    pid: u32,
    updated_at: jiff::Timestamp,
    state: &'a str,
    received: re_dms_shared::lsn::Received,
    durable: re_dms_shared::lsn::Durable,
    staged: re_dms_shared::lsn::Staged,
    loaded: re_dms_shared::lsn::Loaded,
    confirmed: re_dms_shared::lsn::Confirmed,
    server_wal_end: re_dms_shared::Lsn,
    lag_bytes: u64,
    lag_seconds: f64,
    segments_in_flight: u64,
    segments_staged: u64,
    segments_loaded: u64,
    transactions: u64,
    changes: u64,
    rows_written: u64,
    bytes_written: u64,
    last_error: Option<&'a str>,
}

/// Writes the status of one stream.
#[derive(Clone, Debug)]
pub struct StatusFile {
    path: PathBuf,
    stream: String,
    epoch: String,
}

impl StatusFile {
    /// `data_dir` must exist.
    #[must_use]
    pub fn new(data_dir: &Path, stream: &str, epoch: &str) -> Self {
        Self { path: data_dir.join("status.json"), stream: stream.to_owned(), epoch: epoch.to_owned() }
    }

    /// Follows the progress for as long as the process runs.
    pub async fn follow(self, mut progress: watch::Receiver<Snapshot>) {
        loop {
            let snapshot = progress.borrow_and_update().clone();
            self.write(&snapshot, if snapshot.streaming { "streaming" } else { "connecting" });
            tokio::time::sleep(INTERVAL).await;
            // Without news it is written again all the same: the lag in seconds grows.
            let _ = tokio::time::timeout(Duration::from_secs(1), progress.changed()).await;
        }
    }

    /// The last word.
    pub fn stopped(&self, snapshot: &Snapshot) {
        self.write(snapshot, "stopped");
    }

    /// Nobody's correctness hangs on this file: a failure is a warning.
    fn write(&self, snapshot: &Snapshot, state: &str) {
        let status = Status {
            format: 1,
            stream: &self.stream,
            epoch: &self.epoch,
            pid: std::process::id(),
            updated_at: jiff::Timestamp::now(),
            state,
            received: snapshot.received,
            durable: snapshot.durable,
            staged: snapshot.staged,
            loaded: snapshot.loaded,
            confirmed: snapshot.confirmed,
            server_wal_end: snapshot.server_wal_end,
            lag_bytes: snapshot.server_wal_end.bytes_since(snapshot.loaded.0),
            lag_seconds: snapshot.lag_seconds(),
            segments_in_flight: snapshot.segments_staged
                - snapshot.segments_loaded.min(snapshot.segments_staged),
            segments_staged: snapshot.segments_staged,
            segments_loaded: snapshot.segments_loaded,
            transactions: snapshot.transactions,
            changes: snapshot.changes,
            rows_written: snapshot.rows_written,
            bytes_written: snapshot.bytes_written,
            last_error: snapshot.last_error.as_deref(),
        };
        let temporary = self.path.with_extension("json.new");
        let written = serde_json::to_vec_pretty(&status)
            .map_err(std::io::Error::other)
            .and_then(|json| std::fs::write(&temporary, json))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "the status file can't be written");
        }
    }
}
