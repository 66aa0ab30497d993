//! Segments into Redshift: tried, judged, tried without the tables that can't be loaded.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Action, Manifest};
use re_dms_shared::message::Outcome;

use super::{Loader, Segment, explain, group, once};
use crate::config::Atomic;
use crate::error::{LoadError, Retry};
use crate::ledger::{self, Place, Reading};
use crate::objects::Objects;
use crate::runner::Runner;
use crate::sql_error;
use crate::staging;
use crate::statements::Statements;
use crate::table_log;
use re_dms_plan::{self as plan, Blame, Catalog, Plan, Purpose, TableLog, Target};

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Applies the first segment and as many after it as go with it; says how many.
    pub(super) async fn apply(
        &self,
        runner: &Runner<'_, A>,
        segments: &[Segment],
        catalog: &Catalog,
        reading: &Reading,
        log: &mut TableLog,
    ) -> Result<(usize, Outcome), LoadError> {
        let (manifest, most) = (&segments[0].manifest, self.settings.max_attempts);
        let staged: Vec<_> = segments.iter().map(Segment::staged).collect();
        let copy = &self.settings.copy;
        let mut together = group::fitting(&plan::Input { segments: &staged, copy, catalog, log });
        loop {
            let mut bad = if most > 0 { log.failed_often(most) } else { BTreeMap::new() };
            bad.retain(|target, _| !log.is_quarantined(target) && concerns(manifest, target));
            bad.append(&mut plan::held(manifest, catalog, log));
            bad.append(&mut plan::renamed(manifest, log, &bad));
            bad.retain(|target, _| !log.is_loaded(manifest.seq, target));
            if !bad.is_empty() {
                together = 1;
            }
            let input = plan::Input { segments: &staged[..together], copy, catalog, log };
            let error = match self.attempt(runner, &input, &bad, reading).await {
                Ok((done, outcome)) => {
                    let reads_anew = |segment: &Segment| {
                        let steps = &segment.manifest.steps;
                        steps.iter().any(|step| matches!(step.action, Action::Resync | Action::Replace(_)))
                    };
                    if outcome == Outcome::Loaded && !segments[..done].iter().any(reads_anew) {
                        log.learn_quarantine(&manifest.epoch, manifest.seq, &bad);
                    } else if !bad.is_empty() || outcome == Outcome::Loaded {
                        *log =
                            table_log::read(runner, &manifest.stream, &manifest.epoch, manifest.seq).await?;
                    }
                    for (target, Blame { reason, hint, held }) in &bad {
                        if *held {
                            tracing::warn!(table = %target, reason, hint, "held: its changes collect on S3");
                        } else {
                            tracing::error!(table = %target, reason, hint, "quarantined: its changes collect on S3");
                        }
                    }
                    return Ok((done, outcome));
                }
                Err(error) => error,
            };
            let named = error.table_to_blame().and_then(|name| target_named(manifest, name));
            if together > 1 && error.retry() != Retry::Now {
                tracing::info!(%error, segments = together, "not together: one by one");
                together = 1;
                continue;
            }
            let Some(target) = named.filter(|_| most > 0) else { return Err(error) };
            let blame = Blame { reason: error.to_string(), hint: error.hint(), held: false };
            table_log::note_failure(runner, manifest, &target, &blame, log.failures(&target)).await?;
            *log = table_log::read(runner, &manifest.stream, &manifest.epoch, manifest.seq).await?;
            let failures = log.failures(&target);
            if failures < most {
                return Err(LoadError::Counted { failures, error: Box::new(error) });
            }
        }
    }

    /// Tries once to apply all segments of the input.
    async fn attempt(
        &self,
        runner: &Runner<'_, A>,
        input: &plan::Input<'_>,
        bad: &BTreeMap<Target, Blame>,
        reading: &Reading,
    ) -> Result<(usize, Outcome), LoadError> {
        let plans = match self.settings.atomic {
            Atomic::Segment => vec![plan::plan(input, bad)?],
            Atomic::Table => plan::plan_by_table(input, bad)?,
        };
        let (first, last) = (input.segments[0], input.segments[input.segments.len() - 1]);
        let Manifest { stream, epoch, seq, .. } = first.manifest;
        tracing::debug!(transactions = plans.len(), transport = ?plans[0].transport, "applying");
        let (error, guarded) = match self.run_all(runner, input, &plans, reading).await? {
            Ok(()) => return Ok((input.segments.len(), Outcome::Loaded)),
            Err(failed) => failed,
        };
        // A lost answer or a lost connection says nothing: only the ledger does.
        let now = match ledger::read(runner, stream, epoch).await {
            Ok(now) => now,
            Err(unreadable) => {
                tracing::warn!(%unreadable, "the ledger can't be read after a failure");
                return Err(error);
            }
        };
        match now.place(first.manifest, first.manifest_sha256)? {
            Place::Loaded if now.is_beyond(last.manifest.seq) && !guarded => {
                Ok((input.segments.len(), Outcome::Loaded))
            }
            Place::Loaded => Ok((1, Outcome::AlreadyLoaded)),
            Place::Gap { missing } => Ok((1, Outcome::Gap { missing })),
            Place::Next => {
                tracing::debug!(seq, "not applied");
                Err(error)
            }
        }
    }

    /// Runs the plans of these segments one after the other. A failure is told with whether it was the guard's.
    async fn run_all(
        &self,
        runner: &Runner<'_, A>,
        input: &plan::Input<'_>,
        plans: &[Plan],
        reading: &Reading,
    ) -> Result<Result<(), (LoadError, bool)>, LoadError> {
        let Manifest { stream, epoch, seq, .. } = input.segments[0].manifest;
        let began = reading.asked_at;
        let staging: Vec<_> = plans.iter().flat_map(|plan| &plan.staging).collect();
        let mut staged = staging::stage(runner, stream, &staging, self.settings.concurrency, began).await;
        for plan in plans {
            change_before(runner, plan).await?;
            let result = match std::mem::replace(&mut staged, Ok(Ok(()))) {
                Ok(Ok(())) => once::run(runner, input.segments, plan, began).await,
                not_staged => not_staged,
            };
            let failed = match result {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => {
                    let guarded = failure.statement.as_ref().is_some_and(|of| of.purpose == Purpose::Guard);
                    (explain::failure(runner, input.segments, &failure).await, guarded)
                }
                // Whatever is under way goes on; the next invocation finds it.
                Err(error @ LoadError::HandOver { .. }) => return Err(error),
                Err(error) => (error, false),
            };
            // Done all the same, or by another loader: what comes next has its own guard.
            let is_done = !plan.completes.is_empty()
                && table_log::read(runner, stream, epoch, *seq)
                    .await
                    .is_ok_and(|log| plan.completes.iter().all(|(seq, target)| log.is_loaded(*seq, target)));
            if !is_done {
                return Ok(Err(failed));
            }
        }
        Ok(Ok(()))
    }
}

fn concerns(manifest: &Manifest, target: &Target) -> bool {
    manifest.steps.iter().any(|step| Target::of(&step.table) == *target)
}

/// Does what must be done before the transaction.
pub(crate) async fn change_before<A: Statements>(
    runner: &Runner<'_, A>,
    plan: &plan::Plan,
) -> Result<(), LoadError> {
    for statement in &plan.before {
        let what = statement.purpose.to_string();
        match runner.statement(&what, statement.sql.clone()).await {
            // Somebody was faster: an invocation that died while this waited for its lock.
            Err(LoadError::Statement { message, .. }) if sql_error::is_done_already(&message) => {}
            done => {
                let target = statement.of.as_ref().map(|step| step.target.to_string());
                done.map_err(|error| error.about(target.as_ref()))?;
            }
        }
    }
    Ok(())
}

/// The segment's target with this display form.
fn target_named(manifest: &Manifest, name: &str) -> Option<Target> {
    manifest.steps.iter().map(|step| Target::of(&step.table)).find(|target| target.to_string() == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, SystemTime};

    use re_dms_plan::{Statement, Transport};

    use super::*;
    use crate::deadline::Deadline;
    use crate::statements::{ApiError, Cell, Description, Status, Submission, Submitted};

    /// An API that answers every statement with this error.
    struct Refuses(&'static str);

    fn failed() -> Submitted {
        let (id, created_at) = ("1".to_owned(), SystemTime::UNIX_EPOCH);
        Submitted { id, status: Status::Failed, session: None, created_at }
    }

    impl Statements for Refuses {
        async fn submit(&self, _: &Submission, _: Duration) -> Result<Submitted, ApiError> {
            Ok(failed())
        }

        async fn describe(&self, _: &str, _: Duration) -> Result<Description, ApiError> {
            Ok(Description { submitted: failed(), error: Some(self.0.to_owned()), parts: Vec::new() })
        }

        async fn rows(&self, _: &str) -> Result<Vec<Vec<Cell>>, ApiError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn a_column_that_somebody_widened_meanwhile_is_wide_enough() {
        let widen = Statement {
            purpose: Purpose::WidenColumn,
            of: None,
            sql: r#"ALTER TABLE "public"."t" ALTER COLUMN "a" TYPE VARCHAR(80)"#.to_owned(),
        };
        let plan = Plan {
            staging: Vec::new(),
            before: vec![widen],
            transport: Transport::Batch,
            statements: Vec::new(),
            bytes: 0,
            completes: BTreeSet::new(),
            last_change: 0,
        };
        let widened = async |error| {
            let api = Refuses(error);
            let runner = Runner::new(&api, Deadline::after(Duration::from_secs(60)));
            change_before(&runner, &plan).await
        };
        widened("ERROR: target column size should be different").await.unwrap();
        let error = widened("ERROR: cannot alter column \"a\"").await.unwrap_err();
        assert!(error.to_string().contains("cannot alter column"), "{error}");
    }
}
