//! A transaction that the API calls committed is in, unless Redshift was set back since: the ledger tells, and the table
//! log where it was one of several.

use std::time::SystemTime;

use re_dms_plan::{Plan, StagedSegment};
use re_dms_shared::manifest::Manifest;

use super::group;
use crate::error::LoadError;
use crate::ledger::{self, Ledger};
use crate::runner::Runner;
use crate::statements::Statements;
use crate::table_log;
use crate::transaction::{Failure, Ran, Transaction};

/// Runs the segments' plan in this life of the ledger. `began` is when the ledger was asked before.
pub(super) async fn run<A: Statements>(
    runner: &Runner<'_, A>,
    segments: &[StagedSegment<'_>],
    plan: &Plan,
    began: SystemTime,
) -> Result<Result<(), Failure>, LoadError> {
    let transaction = Transaction::new(runner, group::name(segments), plan);
    let Some(Manifest { stream, epoch, seq: last, .. }) = segments.last().map(|segment| segment.manifest)
    else {
        return Ok(Ok(()));
    };
    let mut first = 0;
    loop {
        let attempt = match transaction.run(began, first).await? {
            Ok(Ran::Now) => return Ok(Ok(())),
            Ok(Ran::Earlier(attempt)) => attempt,
            Err(failure) => return Ok(Err(failure)),
        };
        let now = ledger::read(runner, stream, epoch).await?;
        if now.is_beyond(*last) {
            return Ok(Ok(()));
        }
        if now.ledger == Ledger::Locked {
            // Whoever holds it may be setting it right: the next invocation looks again.
            return Err(LoadError::HandOver { what: "the ledger".to_owned() });
        }
        if let Some((seq, _)) = plan.completes.first() {
            let log = table_log::read(runner, stream, epoch, *seq).await?;
            if plan.completes.iter().all(|(seq, target)| log.is_loaded(*seq, target)) {
                return Ok(Ok(()));
            }
        }
        tracing::warn!(
            segment = *last,
            attempt,
            "was committed before, and the ledger does not have it: Redshift was set back"
        );
        first = attempt + 1;
    }
}
