//! What is not as on the source is read anew, and verified again.
//!
//! The capture asks for it, as soon as it has found out where a table differs: so keys go nowhere but into the source's WAL, and
//! from there the way of all that is read anew by its keys.

use std::time::{Duration, Instant};

use super::Verifier;
use super::doubts::Doubts;
use super::messages::Run;
use super::report::{Repair, Report, Verdict};
use super::request;
use super::subject::Subject;
use crate::config::Config;
use crate::error::Result;
use crate::relations::NamedTable;
use crate::resync::{self, Request, new_id};
use crate::source::Source;

/// A table that is being read anew is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The tables of a report that are read anew, and how much of each.
#[must_use]
pub fn asked_for(report: &Report) -> Vec<(String, Repair)> {
    report.tables.iter().filter_map(|table| Some((table.table.clone(), table.repair?))).collect()
}

/// Waits until these tables were read anew, and says how they are then.
///
/// # Errors
/// If nobody can be asked, or it takes longer. What was asked for goes on in any case.
pub async fn repaired(config: &Config, tables: Vec<String>, timeout: Duration) -> Result<Report> {
    let started = Instant::now();
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

impl Verifier {
    /// Asks for what differs of a table: by its keys where they are known and it is read by them.
    pub(super) async fn have_read_anew(&self, subject: &mut Subject) {
        let table = &subject.prepared.table;
        let rules = self.config.tables.of(&table.schema, &table.name);
        let named = NamedTable { oid: table.oid, schema: table.schema.clone(), name: table.name.clone() };
        let id = new_id();
        let (request, repair) = match &subject.doubts {
            Doubts::Within(keys) if !rules.resync_whole => {
                let repair = Repair::Ranges(keys.ranges.len() as u64);
                (Request::ResyncKeys { id, table: named, keys: keys.clone() }, repair)
            }
            Doubts::Within(_) | Doubts::Anywhere => {
                (Request::Resync { id, tables: vec![named] }, Repair::Whole)
            }
        };
        let message = resync::Message { stream: self.config.stream.clone(), request };
        let asked = async { Source::connect(&self.config.source).await?.request(&message).await };
        match asked.await {
            Ok(_) => subject.report.repair = Some(repair),
            Err(error) => subject.report.remark = Some(format!("can't be read anew: {error}")),
        }
    }
}
