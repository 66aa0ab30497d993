//! `re_dms run` as a part of the sandbox: its start, its status file, its end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use re_dms_shared::status::{CaptureState, CaptureStatus};
use rustix::process::Signal;

use crate::capture_config::CaptureConfig;
use crate::error::{Error, Part, Result};
use crate::places;
use crate::processes::{Launch, Process};
use crate::state::Folder;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a capture tells about itself in `status.json`; none if there is none yet.
#[must_use]
pub fn status(path: &Path) -> Option<CaptureStatus> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The process that wrote it, if it still runs with this config.
#[must_use]
pub fn process(status: &CaptureStatus, config: &Path) -> Option<Process> {
    let config = config.to_string_lossy();
    Process::of_pid(status.pid)
        .filter(|process| process.arguments().iter().any(|argument| *argument == config))
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
        let told = status(&config.status_file()).filter(|status| status.pid == process.pid);
        // One whose disk is full is up, and its status says what it waits for.
        let is_up = |state| matches!(state, CaptureState::Streaming | CaptureState::DiskFull);
        if told.as_ref().is_some_and(|status| is_up(status.state)) {
            guard.release();
            return Ok(process);
        }
        let message = if !process.is_alive() {
            "re_dms ended while it was starting".to_owned()
        } else if Instant::now() > deadline {
            let said = told.and_then(|status| status.last_error).map(|error| format!(": {error}"));
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
    started.or_else(|| process(&status(&config.status_file())?, &folder.capture_config()))
}

/// Lets it end cleanly.
pub async fn stop(process: Process) {
    process.stop(Signal::TERM, Duration::from_secs(30)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_of_a_process_that_is_gone_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        assert_eq!(status(&path), None);
        fs::write(&path, r#"{"format":1,"pid":4294967295}"#).unwrap();
        assert_eq!(process(&status(&path).unwrap(), Path::new("capture.toml")), None);
    }
}
