//! `sandbox down`: the capture first, so that it ends cleanly while everything that it talks to is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::capture_config::CaptureConfig;
use crate::error::{Error, Part, Result};
use crate::processes::{self, Process};
use crate::state::{Folder, State};
use crate::{capture, ministack, postgres, stand_in};

/// Stops everything that runs; `wipe` removes the data too. Nothing to do is fine.
///
/// # Errors
/// Files can't be used; processes are stopped nevertheless.
pub async fn down(dir: &Path, wipe: bool) -> Result<()> {
    if !dir.join("sandbox.json").exists() {
        return Ok(());
    }
    let folder = Folder::existing(dir)?;
    let _held = folder.lock()?;
    let Some(mut state) = State::load(&folder)? else { return Ok(()) };
    for part in Part::ALL.into_iter().rev() {
        stop_part(&folder, &mut state, part).await;
    }
    for leftover in processes::owned_by(folder.root()) {
        leftover.stop(Signal::TERM, Duration::from_secs(2)).await;
    }
    if !wipe {
        return state.save(&folder);
    }
    let elsewhere = &state.postgres_folder;
    if elsewhere != folder.root() && elsewhere.exists() {
        fs::remove_dir_all(elsewhere).map_err(Error::file("could not remove", elsewhere))?;
    }
    folder.wipe()
}

/// Stops one part, if it runs, and forgets it.
pub(crate) async fn stop_part(folder: &Folder, state: &mut State, part: Part) {
    let started = state.running(part);
    let process = match part {
        Part::Capture => running_capture(folder, started),
        _ => started,
    };
    if let Some(process) = process {
        match part {
            Part::Capture => capture::stop(process).await,
            Part::Redshift => stand_in::stop(process).await,
            Part::Aws => ministack::stop(process).await,
            Part::Source | Part::Warehouse => postgres::stop(process).await,
        }
    }
    state.stopped(part);
}

fn running_capture(folder: &Folder, started: Option<Process>) -> Option<Process> {
    match CaptureConfig::load(&folder.capture_config()) {
        Ok(config) => capture::running(folder, &config, started),
        // It was not started yet, or its config was removed: there is nothing to look it up by.
        Err(_) => started,
    }
}
