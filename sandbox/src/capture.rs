//! `re_dms run` as a part of the sandbox: its start, its status file, its end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use re_dms_shared::Lsn;
use rustix::process::Signal;
use serde::Deserialize;

use crate::capture_config::CaptureConfig;
use crate::error::{Error, Part, Result};
use crate::places;
use crate::processes::{Launch, Process};
use crate::state::Folder;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a capture tells about itself in `status.json`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the keys are the capture's
pub struct CaptureStatus {
    pub pid: u32,
    pub state: String,
    pub received: Lsn,
    pub durable: Lsn,
    pub staged: Lsn,
    pub loaded: Lsn,
    pub confirmed: Lsn,
    pub server_wal_end: Lsn,
    pub lag_bytes: u64,
    pub lag_seconds: f64,
    pub segments_in_flight: u64,
    pub segments_staged: u64,
    pub segments_loaded: u64,
    pub transactions: u64,
    pub changes: u64,
    pub rows_written: u64,
    pub bytes_written: u64,
    pub last_error: Option<String>,
}

impl CaptureStatus {
    /// Reads it; none if there is none yet.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// The process that wrote it, if it still runs with this config.
    #[must_use]
    pub fn process(&self, config: &Path) -> Option<Process> {
        let config = config.to_string_lossy();
        Process::of_pid(self.pid)
            .filter(|process| process.arguments().iter().any(|argument| *argument == config))
    }
}

/// Starts the capture and waits until it streams.
///
/// # Errors
/// It does not come so far; nothing is left running.
pub async fn start(folder: &Folder, config: &CaptureConfig) -> Result<Process> {
    let log = folder.log(Part::Capture);
    let launch = Launch {
        program: places::program("re_dms")?,
        arguments: vec!["run".into(), "--config".into(), folder.capture_config().display().to_string()],
        environment: Vec::new(),
        log: log.clone(),
        account: None,
    };
    let process = launch.start()?;
    let guard = process.stop_on_drop(Signal::TERM);
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        // The file of an earlier run tells of another process.
        let status = CaptureStatus::read(&config.status_file()).filter(|status| status.pid == process.pid);
        if status.as_ref().is_some_and(|status| status.state == "streaming") {
            guard.release();
            return Ok(process);
        }
        let message = if !process.is_alive() {
            "re_dms ended while it was starting".to_owned()
        } else if Instant::now() > deadline {
            let said = status.and_then(|status| status.last_error).map(|error| format!(": {error}"));
            format!("re_dms does not stream after {} s{}", READY_WITHIN.as_secs(), said.unwrap_or_default())
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        stop(process).await;
        return Err(Error::Part { part: Part::Capture, message, log: Some(log) });
    }
}

/// The running capture, also one that somebody started by hand with the sandbox's config.
#[must_use]
pub fn running(folder: &Folder, config: &CaptureConfig, started: Option<Process>) -> Option<Process> {
    started.or_else(|| CaptureStatus::read(&config.status_file())?.process(&folder.capture_config()))
}

/// Lets it end cleanly.
pub async fn stop(process: Process) {
    process.stop(Signal::TERM, Duration::from_secs(30)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read_with_more_or_fewer_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        assert_eq!(CaptureStatus::read(&path), None);
        fs::write(&path, r#"{"format":1,"pid":4294967295,"loaded":"0/2A","lag_seconds":1.5,"new_key":[]}"#)
            .unwrap();
        let status = CaptureStatus::read(&path).unwrap();
        assert_eq!((status.loaded, status.lag_seconds), (Lsn(42), 1.5));
        assert_eq!(status.process(Path::new("capture.toml")), None);
    }
}
