//! What is not as on the source is read anew, and verified again.

use std::time::{Duration, Instant};

use super::messages::Run;
use super::report::{Report, Verdict};
use super::request;
use crate::config::Config;
use crate::error::Result;
use crate::resync;

/// A table that is being read anew is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The tables that a report says are to be repaired.
#[must_use]
pub fn to_repair(report: &Report) -> Vec<String> {
    let different = report.tables.iter().filter(|table| table.verdict == Verdict::Different);
    different.map(|table| table.table.clone()).collect()
}

/// Has these tables repaired, and says how they are then.
///
/// # Errors
/// If nobody can be asked, or it takes longer. What was asked for goes on in any case.
pub async fn repair(config: &Config, tables: Vec<String>, timeout: Duration) -> Result<Report> {
    let started = Instant::now();
    ask(config, &tables).await?;
    loop {
        let run = Run { tables: tables.clone(), ..Run::default() };
        let left = timeout.saturating_sub(started.elapsed());
        let report = request::verify(config, run, left).await?;
        let waits = report.tables.iter().any(|table| table.verdict == Verdict::Unverified);
        if !waits || report.error.is_some() || started.elapsed() + LOOK_AGAIN > timeout {
            return Ok(report);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The one place that says how a table is repaired: all of it is read anew.
async fn ask(config: &Config, tables: &[String]) -> Result<()> {
    resync::request::resync(config, tables).await.map(drop)
}
