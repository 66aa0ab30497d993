//! What is asked for single tables. Ending a quarantine: what was skipped is loaded in order, each segment exactly once, and
//! with the last one the table is loaded again with all others. If the table was read anew, those rows come first.

mod backlog;

use std::time::{Duration, Instant};

use backlog::{Backlog, ReplaceFirst};
use re_dms_shared::message::{TableAction, TableRequest};
use re_dms_shared::table_log::Quarantine;

use crate::apply::{self, Loader, Segment, explain};
use crate::deadline::Deadline;
use crate::error::LoadError;
use crate::ledger::{self, Ledger};
use crate::objects::Objects;
use crate::runner::Runner;
use crate::staging;
use crate::statements::Statements;
use crate::table_log::{self, Skipped};
use crate::transaction::{Failure, Ran, Transaction};
use re_dms_plan::table_log::Waiting;
use re_dms_plan::{self as plan, StagedSegment, TableLog, Target};

/// No new transaction begins after so long: the stream's segments wait meanwhile.
const SLICE: Duration = Duration::from_secs(15);

/// How far a request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whether there is more to do.
    pub more: bool,
    /// The stream's quarantined tables now.
    pub quarantine: Quarantine,
}

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Does what is asked for a table, or a part of it.
    ///
    /// # Errors
    /// What stands against it; the table stays in quarantine.
    pub async fn resume(&self, request: &TableRequest, deadline: Deadline) -> Result<Done, LoadError> {
        let TableRequest { request: action, stream, epoch, table, .. } = request;
        apply::check_stream(stream)?;
        let started = Instant::now();
        let runner = Runner::new(&self.api, deadline);
        if *action == TableAction::Pause {
            return self.pause(&runner, (stream, epoch), table).await;
        }
        let approved = *action == TableAction::Approve;
        loop {
            let log = table_log::read(&runner, stream, epoch, 0).await?;
            let Some(waiting) = log.waiting(table) else {
                return Ok(Done { more: false, quarantine: log.told() });
            };
            if started.elapsed() > SLICE {
                return Ok(Done { more: true, quarantine: log.told() });
            }
            match self.backlog(&runner, stream, &log, waiting).await? {
                Err(ReplaceFirst { waiting, copied }) => {
                    self.replace(&runner, stream, &log, &waiting, copied).await?;
                }
                Ok(backlog) => self.replay(&runner, stream, &log, table, (&backlog, approved)).await?,
            }
        }
    }

    /// Lets a table stand still from here on.
    async fn pause(
        &self,
        runner: &Runner<'_, A>,
        (stream, epoch): (&str, &str),
        table: &str,
    ) -> Result<Done, LoadError> {
        let (schema, name) = table
            .split_once('.')
            .ok_or_else(|| LoadError::Message { reason: "the table's name has no schema".to_owned() })?;
        let target = Target::new(schema, name);
        // Before the log, so that the first segment that will be skipped is this one or a later one.
        let first = match ledger::read(runner, stream, epoch).await?.ledger {
            Ledger::Last(last) => last.seq + 1,
            Ledger::Empty | Ledger::Locked => 0,
        };
        loop {
            let log = table_log::read(runner, stream, epoch, 0).await?;
            if log.is_quarantined(&target) {
                return Ok(Done { more: false, quarantine: log.told() });
            }
            let plan = plan::pause(stream, &target, (epoch, first), &log);
            let name = format!("re_dms/{stream}/pause/{target}/{}", log.last_change());
            self.run(runner, (stream, name), &plan, &log, &[]).await?;
        }
    }

    /// Puts the rows that were read anew in the place of those that are there. `change` says where they are.
    async fn replace(
        &self,
        runner: &Runner<'_, A>,
        stream: &str,
        log: &TableLog,
        waiting: &Waiting,
        change: u64,
    ) -> Result<(), LoadError> {
        let Waiting { target, since, epoch, seq, .. } = waiting;
        let place = table_log::copied(runner, stream, change).await?;
        // What the segment that began it holds behind that may lie before what Redshift has: it must not go back.
        let begun = table_log::skipped(runner, stream, target, *since, 1).await?;
        let begun = begun.first().filter(|first| (&first.epoch, first.seq) == (epoch, *seq));
        let mut segments = vec![self.skipped_segment(&place).await?];
        if let Some(begun) = begun {
            segments.push(self.skipped_segment(begun).await?);
        }
        let catalog = apply::catalog(runner, &apply::all_steps(&segments)).await?;
        let staged: Vec<_> = segments.iter().map(Segment::staged).collect();
        let plan = plan::replace(
            stream,
            &plan::Replacement {
                target,
                rows: staged[0],
                begun: begun.map(|begun| begun.change).zip(staged.get(1).copied()),
                copy: &self.settings.copy,
                catalog: &catalog,
                log,
            },
        )?;
        tracing::info!("replacing its rows by those that were read anew");
        let name = format!("re_dms/{stream}/replace/{target}/{change}");
        self.run(runner, (stream, name), &plan, log, &staged).await
    }

    /// Replays as many of these as fit into one batch, one at least.
    async fn replay(
        &self,
        runner: &Runner<'_, A>,
        stream: &str,
        log: &TableLog,
        table: &str,
        (backlog, approved): (&Backlog, bool),
    ) -> Result<(), LoadError> {
        let segments: Vec<_> = backlog.segments().cloned().collect();
        let catalog = match segments.first() {
            Some(_) => apply::catalog(runner, &apply::all_steps(&segments)).await?,
            None => plan::Catalog::default(),
        };
        let skipped = backlog.skipped();
        let plan = |count: usize| {
            plan::replay(
                stream,
                &plan::Replay {
                    skipped: &skipped[..count],
                    ends: &backlog.ended_by(count),
                    approved,
                    copy: &self.settings.copy,
                    catalog: &catalog,
                    log,
                },
            )
        };
        let fits = |count: &usize| plan(*count).is_ok_and(|plan| plan.is_one_batch());
        let count = (2..=skipped.len()).rev().find(fits).unwrap_or(skipped.len().min(1));
        let plan = plan(count)?;
        let name = format!("re_dms/{stream}/resume/{table}/{}", log.last_change());
        tracing::info!(segments = count, "replaying what was skipped");
        let replayed: Vec<StagedSegment<'_>> =
            skipped[..count].iter().map(|skipped| skipped.segment).collect();
        self.run(runner, (stream, name), &plan, log, &replayed).await
    }

    /// Runs a plan that adds to the log.
    async fn run(
        &self,
        runner: &Runner<'_, A>,
        (stream, name): (&str, String),
        plan: &plan::Plan,
        log: &TableLog,
        segments: &[StagedSegment<'_>],
    ) -> Result<(), LoadError> {
        apply::change_before(runner, plan).await?;
        let staging: Vec<_> = plan.staging.iter().collect();
        let began = log.read_at();
        let done = match staging::stage(runner, stream, &staging, self.settings.concurrency, began).await? {
            Ok(()) => self.once(&Transaction::new(runner, name, plan), runner, stream, log).await?,
            failed => failed,
        };
        let Err(failure) = done else { return Ok(()) };
        let error = explain::failure(runner, segments, &failure).await;
        // A lost answer or a lost connection says nothing: only the log does.
        let now = table_log::read(runner, stream, "", 0).await?;
        if now.last_change() > log.last_change() { Ok(()) } else { Err(error) }
    }

    /// One that was committed before is in, unless Redshift was set back since: the log tells.
    async fn once(
        &self,
        transaction: &Transaction<'_, A>,
        runner: &Runner<'_, A>,
        stream: &str,
        log: &TableLog,
    ) -> Result<Result<(), Failure>, LoadError> {
        let mut first = 0;
        loop {
            match transaction.run(log.read_at(), first).await? {
                Ok(Ran::Now) => return Ok(Ok(())),
                Ok(Ran::Earlier(attempt)) => first = attempt + 1,
                Err(failure) => return Ok(Err(failure)),
            }
            if table_log::read(runner, stream, "", 0).await?.last_change() > log.last_change() {
                return Ok(Ok(()));
            }
        }
    }

    async fn skipped_segment(&self, skipped: &Skipped) -> Result<Segment, LoadError> {
        let Skipped { bucket, manifest_key, manifest_sha256, .. } = skipped;
        Ok(Segment {
            manifest: self.manifest(bucket, manifest_key, manifest_sha256).await?,
            manifest_sha256: manifest_sha256.clone(),
            bucket: bucket.clone(),
            manifest_key: manifest_key.clone(),
        })
    }
}
