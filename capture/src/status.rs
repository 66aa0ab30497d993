//! `status.json` in the data folder, and now and then on S3: what the capture is doing, for people and for scripts.

mod published;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use re_dms_shared::status::{CaptureState, CaptureStatus, FORMAT, NeedsResync};
use tokio::sync::watch;

use crate::progress::Snapshot;
pub use published::Published;

/// Written no more often than this.
const INTERVAL: Duration = Duration::from_millis(250);

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

    /// What the last run wrote, if it was of this stream and can be read.
    #[must_use]
    pub fn before(&self) -> Option<CaptureStatus> {
        let json = fs::read(&self.path).ok()?;
        let status: CaptureStatus = serde_json::from_slice(&json).ok()?;
        (status.stream == self.stream).then_some(status)
    }

    /// Follows the progress for as long as the process runs.
    pub async fn follow(self, mut progress: watch::Receiver<Snapshot>) {
        let mut failed = false;
        loop {
            let snapshot = progress.borrow_and_update().clone();
            let state = state(&snapshot);
            let file = self.clone();
            // A disk that hangs holds up this file and nothing else.
            let written = tokio::task::spawn_blocking(move || file.write(&snapshot, state)).await;
            match written {
                Ok(Err(error)) if !failed => {
                    tracing::warn!(path = %self.path.display(), %error, "the status file can't be written");
                    failed = true;
                }
                Ok(Ok(())) => failed = false,
                _ => {}
            }
            tokio::time::sleep(INTERVAL).await;
            // Without news it is written again all the same: the lag in seconds grows.
            let _ = tokio::time::timeout(Duration::from_secs(1), progress.changed()).await;
        }
    }

    /// The last word.
    pub fn stopped(&self, snapshot: &Snapshot) {
        if let Err(error) = self.write(snapshot, CaptureState::Stopped) {
            tracing::warn!(path = %self.path.display(), %error, "the status file can't be written");
        }
    }

    /// Nobody's correctness hangs on this file.
    fn write(&self, snapshot: &Snapshot, state: CaptureState) -> io::Result<()> {
        self.replace(&serde_json::to_vec_pretty(&self.status(snapshot, state))?)
    }

    fn status(&self, snapshot: &Snapshot, state: CaptureState) -> CaptureStatus {
        CaptureStatus {
            format: FORMAT,
            stream: self.stream.clone(),
            epoch: self.epoch.clone(),
            pid: std::process::id(),
            updated_at: jiff::Timestamp::now(),
            state,
            received: snapshot.received,
            durable: snapshot.durable,
            staged: snapshot.staged,
            loaded: snapshot.loaded,
            confirmed: snapshot.confirmed,
            server_wal_end: snapshot.server_wal_end,
            advance_on: snapshot.policy.to_string(),
            retained_bytes: snapshot.retained_bytes,
            lag_bytes: snapshot.server_wal_end.bytes_since(snapshot.loaded.0),
            lag_seconds: snapshot.lag_seconds(),
            segments_in_flight: snapshot.segments_in_flight(),
            segments_staged: snapshot.segments_staged,
            segments_loaded: snapshot.segments_loaded,
            transactions: snapshot.transactions,
            changes: snapshot.changes,
            rows_written: snapshot.rows_written,
            bytes_written: snapshot.bytes_written,
            quarantined: snapshot.quarantine.tables.clone(),
            quarantined_told: snapshot.quarantine_told,
            resume_error: snapshot.resume_error.clone(),
            warning: snapshot.warning.clone(),
            stalled: snapshot.stalled.clone(),
            waits: snapshot.waits.clone(),
            copy: snapshot.copy.clone(),
            resyncs: snapshot.resyncs.clone(),
            resync: snapshot.resync.clone(),
            resync_error: snapshot.resync_error.clone(),
            needs_resync: snapshot
                .needs_resync
                .iter()
                .map(|(table, reason)| NeedsResync { table: table.clone(), reason: reason.clone() })
                .collect(),
            verified: snapshot.verified.clone(),
            last_error: snapshot.last_error().map(str::to_owned),
        }
    }

    /// By renaming; on a full disk, which has no room for a second file, over the old one.
    fn replace(&self, json: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("json.new");
        let renamed = fs::write(&temporary, json).and_then(|()| fs::rename(&temporary, &self.path));
        match renamed {
            Err(error) if is_full(&error) => {
                let _ = fs::remove_file(&temporary);
                self.overwrite(json)
            }
            done => done,
        }
    }

    /// By one write that covers what was there, so that hardly anybody reads half of it.
    fn overwrite(&self, json: &[u8]) -> io::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        let mut text = json.to_vec();
        let before = usize::try_from(file.metadata()?.len()).unwrap_or_default();
        text.resize(text.len().max(before), b'\n');
        file.write_all_at(&text, 0)
    }
}

/// What a capture that has not ended is doing.
fn state(snapshot: &Snapshot) -> CaptureState {
    match snapshot {
        Snapshot { disk_full: true, .. } => CaptureState::DiskFull,
        Snapshot { streaming: true, .. } => CaptureState::Streaming,
        _ => CaptureState::Connecting,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_a_longer_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let status = StatusFile::new(folder.path(), "main", "epoch");
        let long = Snapshot { warning: Some("w".repeat(500)), ..Snapshot::default() };
        status.write(&long, CaptureState::Streaming).unwrap();
        status.overwrite(br#"{"state":"disk_full"}"#).unwrap();
        let read: CaptureStatus = serde_json::from_slice(&fs::read(&status.path).unwrap()).unwrap();
        assert_eq!((read.state, read.warning), (CaptureState::DiskFull, None));
    }
}
