//! PostgreSQL's own benchmark, TPC-B-like, with four clients.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::workload_failed;
use crate::error::{Error, Result};
use crate::places;
use crate::postgres::{PostgresBinaries, Wanted};
use crate::state::State;

const CLIENTS: &str = "4";
/// 500,000 accounts.
const SCALE: &str = "5";

/// Creates and fills its tables.
pub(super) async fn initialize(state: &State) -> Result<()> {
    let output =
        command(state)?.args(["--initialize", "--quiet", "--scale", SCALE, &state.source_url]).output();
    let output = output.await.map_err(|error| workload_failed(format!("pgbench can't be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(workload_failed(format!(
        "pgbench could not make its tables: {}",
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// A running benchmark; it ends when it is dropped.
pub(super) struct Pgbench {
    child: Child,
    /// Transactions a second, as f64 bits.
    rate: Arc<AtomicU64>,
    /// Ends with pgbench's last line and holds those that are not progress.
    reader: Option<JoinHandle<String>>,
}

impl Pgbench {
    /// Starts it for so many seconds.
    pub(super) fn start(state: &State, seconds: u64) -> Result<Self> {
        let seconds = seconds.to_string();
        let mut command = command(state)?;
        command.args(["--client", CLIENTS, "--jobs", "2", "--progress", "1", "--no-vacuum"]);
        command.args(["--time", &seconds, &state.source_url]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| workload_failed(format!("pgbench can't be run: {error}")))?;
        let rate = Arc::new(AtomicU64::new(0));
        let reader = child.stderr.take().map(|lines| {
            let rate = Arc::clone(&rate);
            tokio::spawn(async move {
                let mut lines = BufReader::new(lines).lines();
                let mut complaints = String::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    match progress(&line) {
                        Some(tps) => rate.store(tps.to_bits(), Ordering::Relaxed),
                        None => complaints.push_str(&line),
                    }
                }
                complaints
            })
        });
        Ok(Self { child, rate, reader })
    }

    /// In the last second.
    pub(super) fn transactions_per_second(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// False once it came to its end; a failure is an error.
    pub(super) async fn is_running(&mut self) -> Result<bool> {
        let status = self.child.try_wait();
        let status = status.map_err(|error| workload_failed(format!("pgbench was lost: {error}")))?;
        let Some(status) = status else { return Ok(true) };
        if status.success() {
            return Ok(false);
        }
        let complaints = match self.reader.take() {
            Some(reader) => reader.await.unwrap_or_default(),
            None => String::new(),
        };
        Err(workload_failed(format!("pgbench failed: {complaints}")))
    }
}

/// `progress: 5.0 s, 1234.5 tps, lat …`
fn progress(line: &str) -> Option<f64> {
    let mut parts = line.strip_prefix("progress: ")?.split(", ");
    parts.nth(1)?.strip_suffix(" tps")?.parse().ok()
}

fn command(state: &State) -> Result<Command> {
    let mut command = Command::new(program(state)?);
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Beside the source's programs, else of any version that is there: it is a client like any other.
fn program(state: &State) -> Result<PathBuf> {
    let beside = state.source_programs.join("pgbench");
    if beside.is_file() {
        return Ok(beside);
    }
    let other = PostgresBinaries::find(Wanted::Source, None, places::venv().as_deref())?.program("pgbench");
    Some(other)
        .filter(|path| path.is_file())
        .ok_or_else(|| Error::Missing { what: "pgbench is not there".into(), hint: "run make setup".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_understood() {
        let line = "progress: 1.0 s, 2345.6 tps, lat 1.700 ms stddev 0.904, 0 failed";
        assert_eq!(progress(line), Some(2345.6));
        assert_eq!(progress("pgbench: error: connection failed"), None);
    }
}
