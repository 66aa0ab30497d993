//! Segments, from their messages to their receipts.

pub(crate) mod explain;
mod group;
mod once;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{CopiedTables, Manifest, ManifestError, sha256_hex};
use re_dms_shared::message::{Outcome, SegmentStaged, TableRequest};
use re_dms_shared::s3_layout::SegmentLayout;
use re_dms_shared::table_log::Quarantine;

use crate::config::ApplySettings;
use crate::deadline::Deadline;
use crate::error::{LoadError, Retry};
use crate::handler::SegmentLoader;
use crate::ledger::{self, Place, Reading};
use crate::objects::Objects;
use crate::receipt::{self, Receipt};
use crate::resume::Done;
use crate::runner::Runner;
use crate::sql_error;
use crate::staging;
use crate::statements::{Cell, Statements};
use crate::table_log;
pub(crate) use group::all_steps;
use re_dms_plan::{self as plan, Blame, Catalog, Purpose, StagedSegment, TableLog, Target};

/// Loads segments. Kept over the invocations of a warm function.
#[derive(Debug)]
pub struct Loader<A, O> {
    pub(crate) api: A,
    pub(crate) objects: O,
    pub(crate) settings: ApplySettings,
    /// Streams whose old staging tables were looked for since the function's start.
    swept: Mutex<BTreeSet<String>>,
}

/// What became of a segment that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Loaded, already loaded, or refused for a gap.
    pub outcome: Outcome,
    /// The segment's end.
    pub end_lsn: Lsn,
    /// Rows in its files.
    pub rows: u64,
    /// From the message to the commit.
    pub duration: Duration,
    /// The stream's quarantined tables.
    pub quarantine: Quarantine,
}

/// A segment whose manifest was read.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) manifest: Manifest,
    pub(crate) manifest_sha256: String,
    pub(crate) bucket: String,
    pub(crate) manifest_key: String,
}

impl Segment {
    pub(crate) fn staged(&self) -> StagedSegment<'_> {
        let Segment { manifest, manifest_sha256, bucket, manifest_key } = self;
        StagedSegment { manifest, manifest_sha256, bucket, manifest_key }
    }
}

impl<A: Statements, O: Objects> SegmentLoader for Loader<A, O> {
    async fn load(&self, messages: &[SegmentStaged], deadline: Deadline) -> Result<Vec<Loaded>, LoadError> {
        let started = Instant::now();
        let Some(first) = messages.first() else { return Ok(Vec::new()) };
        check_stream(&first.stream)?;
        let runner = Runner::new(&self.api, deadline);
        // The catalog is asked for beside the ledger, though a segment that is not next won't need it: most are.
        let prepared = async {
            let segments = self.segments(messages).await?;
            let catalog = catalog(&runner, &all_steps(&segments)).await;
            Ok::<_, LoadError>((segments, catalog))
        };
        let (prepared, reading, log) = tokio::join!(
            prepared,
            ledger::read(&runner, &first.stream, &first.epoch),
            table_log::read_existing(&runner, &first.stream, &first.epoch, first.seq)
        );
        let ((segments, catalog), reading, log) = (prepared?, reading?, log?);
        let mut log = match log {
            Some(log) => log,
            // Only now: the ledger's reader may have been making their schema.
            None => table_log::create(&runner, &first.stream).await?,
        };
        let (manifest, sha256) = (&segments[0].manifest, &segments[0].manifest_sha256);
        let (done, outcome) = match reading.place(manifest, sha256)? {
            Place::Next => self.apply(&runner, &segments, &catalog?, &reading, &mut log).await?,
            Place::Loaded => (1, Outcome::AlreadyLoaded),
            Place::Gap { missing } => (1, Outcome::Gap { missing }),
        };
        let duration = started.elapsed();
        self.sweep(&runner, &segments[done.saturating_sub(1)].manifest, &outcome).await;
        let mut loaded = Vec::new();
        for segment in &segments[..done] {
            if !matches!(outcome, Outcome::Gap { .. }) {
                let this_time = (outcome == Outcome::Loaded).then_some(duration);
                self.write_receipt(segment, this_time).await;
            }
            let manifest = &segment.manifest;
            let (end_lsn, rows) = (manifest.end_lsn, plan::queries::rows(manifest));
            let (outcome, quarantine) = (outcome.clone(), log.told());
            loaded.push(Loaded { outcome, end_lsn, rows, duration, quarantine });
        }
        Ok(loaded)
    }

    async fn request(&self, request: &TableRequest, deadline: Deadline) -> Result<Done, LoadError> {
        self.resume(request, deadline).await
    }
}

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Loads through `api` what lies in `objects`.
    #[must_use]
    pub fn new(api: A, objects: O, settings: ApplySettings) -> Self {
        Self { api, objects, settings, swept: Mutex::default() }
    }

    /// The first message's segment, and those after it that can be read.
    async fn segments(&self, messages: &[SegmentStaged]) -> Result<Vec<Segment>, LoadError> {
        let reads = messages.iter().map(|message| self.segment(message));
        let mut segments = Vec::new();
        for read in futures_util::future::join_all(reads).await {
            match read {
                Ok(segment) => segments.push(segment),
                Err(error) if segments.is_empty() => return Err(error),
                // It is told when its turn comes.
                Err(_) => break,
            }
        }
        Ok(segments)
    }

    /// The message's segment, whose manifest must be the one that it means.
    async fn segment(&self, message: &SegmentStaged) -> Result<Segment, LoadError> {
        let SegmentStaged { bucket, manifest_key: key, manifest_sha256, .. } = message;
        let manifest = self.manifest(bucket, key, manifest_sha256).await?;
        let Manifest { stream, epoch, seq, .. } = &manifest;
        if (stream, epoch, *seq) != (&message.stream, &message.epoch, message.seq) {
            let reason = format!("it is segment {seq} of {stream}, epoch {epoch}, and not the message's");
            return Err(LoadError::Manifest { key: key.clone(), reason });
        }
        Ok(Segment {
            manifest,
            manifest_sha256: manifest_sha256.clone(),
            bucket: bucket.clone(),
            manifest_key: key.clone(),
        })
    }

    /// A manifest with this checksum.
    pub(crate) async fn manifest(
        &self,
        bucket: &str,
        key: &str,
        sha256: &str,
    ) -> Result<Manifest, LoadError> {
        let json = self.objects.get(bucket, key).await?;
        let wrong = |reason: String| LoadError::Manifest { key: key.to_owned(), reason };
        if sha256_hex(&json) != sha256 {
            return Err(wrong("its checksum is not the message's".to_owned()));
        }
        let manifest = Manifest::from_json(&json).map_err(|error| match error {
            ManifestError::Newer { found } => LoadError::Newer {
                what: format!("manifest {key}"),
                found,
                reads: re_dms_shared::manifest::FORMAT,
            },
            // Only where it broke: serde's words may quote what stands there.
            ManifestError::Malformed(error) => {
                wrong(format!("malformed in line {}, column {}", error.line(), error.column()))
            }
        })?;
        let Manifest { seq, predecessor, .. } = &manifest;
        let expected = seq.checked_sub(1).filter(|before| *before > 0);
        let named = predecessor.as_ref().map(|segment| segment.seq);
        // The first segment after an initial copy was staged before the copy's last one was.
        let unnamed = named.is_none() && manifest.after_copy.is_some();
        if *seq == 0 || (named != expected && !unnamed) {
            return Err(wrong(format!("segment {seq} names a wrong predecessor")));
        }
        self.without_copied(bucket, manifest).await
    }

    /// Leaves out the steps that initial copies hold already.
    async fn without_copied(&self, bucket: &str, mut manifest: Manifest) -> Result<Manifest, LoadError> {
        let Some(key) = &manifest.after_copy else { return Ok(manifest) };
        let json = self.objects.get(bucket, key).await?;
        let copied: CopiedTables = serde_json::from_slice(&json).map_err(|error| LoadError::Manifest {
            key: key.clone(),
            reason: format!("malformed in line {}, column {}", error.line(), error.column()),
        })?;
        if copied.format > CopiedTables::FORMAT {
            let (found, reads) = (copied.format, CopiedTables::FORMAT);
            return Err(LoadError::Newer { what: key.clone(), found, reads });
        }
        let end = manifest.end_lsn;
        manifest.steps.retain(|step| !copied.holds(step.table.oid, end));
        Ok(manifest)
    }

    /// Applies the first segment and as many after it as go with it; says how many.
    async fn apply(
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
            if !bad.is_empty() {
                together = 1;
            }
            let input = plan::Input { segments: &staged[..together], copy, catalog, log };
            let error = match self.attempt(runner, &input, &bad, reading).await {
                Ok((done, outcome)) => {
                    if outcome == Outcome::Loaded {
                        log.learn_quarantine(&manifest.epoch, manifest.seq, &bad);
                    } else if !bad.is_empty() {
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
            if log.failures(&target) < most {
                return Err(error);
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
        let plan = plan::plan(input, bad)?;
        change_before(runner, &plan).await?;
        let (first, last) = (input.segments[0], input.segments[input.segments.len() - 1]);
        let Manifest { stream, epoch, seq, .. } = first.manifest;
        tracing::debug!(statements = plan.statements.len(), transport = ?plan.transport, "applying");
        let began = reading.asked_at;
        let result = match staging::stage(runner, stream, &plan, self.settings.concurrency, began).await {
            Ok(Ok(())) => once::run(runner, input.segments, &plan, began).await,
            not_staged => not_staged,
        };
        let (error, guarded) = match result {
            Ok(Ok(())) => return Ok((input.segments.len(), Outcome::Loaded)),
            Ok(Err(failure)) => {
                let guarded = failure.statement.as_ref().is_some_and(|of| of.purpose == Purpose::Guard);
                (explain::failure(runner, input.segments, &failure).await, guarded)
            }
            // Whatever is under way goes on; the next invocation finds it.
            Err(error @ LoadError::HandOver { .. }) => return Err(error),
            Err(error) => (error, false),
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

    /// Once in a function's life: what died before left no trace elsewhere.
    async fn sweep(&self, runner: &Runner<'_, A>, last: &Manifest, outcome: &Outcome) {
        let is_loaded = !matches!(outcome, Outcome::Gap { .. });
        let stream = last.stream.clone();
        let first_time = || self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
        if is_loaded && first_time() {
            staging::sweep(runner, &last.stream, last.seq).await;
        }
    }

    /// The data is in, with or without a receipt: trouble here is only told.
    async fn write_receipt(&self, segment: &Segment, duration: Option<Duration>) {
        let Segment { manifest, manifest_sha256, bucket, manifest_key } = segment;
        let Some(layout) = SegmentLayout::of_manifest(manifest_key) else { return };
        let receipt = Receipt {
            format: receipt::FORMAT,
            stream: manifest.stream.clone(),
            epoch: manifest.epoch.clone(),
            seq: manifest.seq,
            end_lsn: manifest.end_lsn,
            manifest_sha256: manifest_sha256.clone(),
            rows: plan::queries::rows(manifest),
            loaded_at: Timestamp::now(),
            duration_ms: duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            loaded_by: receipt::loaded_by(),
        };
        let written = match serde_json::to_vec_pretty(&receipt) {
            Ok(json) => self.objects.put_if_absent(bucket, &layout.receipt(), json).await,
            Err(_) => return,
        };
        if let Err(error) = written {
            tracing::warn!(%error, hint = error.hint(), "the segment is loaded, and its receipt could not be written");
        }
    }
}

/// A stream's name becomes part of the ledger's: anything else than the agreed form is refused.
pub(crate) fn check_stream(stream: &str) -> Result<(), LoadError> {
    let letter = |c: char| c.is_ascii_lowercase();
    let rest = |c: char| letter(c) || c.is_ascii_digit() || c == '_';
    if stream.len() <= 40 && stream.starts_with(letter) && stream.chars().all(rest) {
        return Ok(());
    }
    Err(LoadError::Message { reason: "its stream's name is not of the form [a-z][a-z0-9_]{0,39}".to_owned() })
}

/// The manifest's targets as they are in Redshift.
pub(crate) async fn catalog<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
) -> Result<Catalog, LoadError> {
    let mut catalog = Catalog::default();
    for sql in plan::queries::columns(manifest) {
        for row in runner.query("reading the catalog", sql).await? {
            if let [schema, table, column, data_type, numbers @ ..] = row.as_slice()
                && let [Some(schema), Some(table), Some(column), Some(data_type)] =
                    [schema.text(), table.text(), column.text(), data_type.text()]
            {
                let number = |position: usize| numbers.get(position).and_then(Cell::number);
                let not_null = numbers.get(3).and_then(Cell::text) == Some("NO");
                let numbers = [number(0), number(1), number(2)];
                catalog.add_row(schema, table, column, data_type, numbers, not_null);
            }
        }
    }
    dependents(runner, manifest, &mut catalog).await?;
    layouts(runner, manifest, &mut catalog).await?;
    Ok(catalog)
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

/// Which views stand in the way of what the segment drops.
async fn dependents<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
    catalog: &mut Catalog,
) -> Result<(), LoadError> {
    for sql in plan::queries::dependents(manifest) {
        for row in runner.query("reading which views depend on tables", sql).await? {
            if let [schema, table, column, view_schema, view] = row.as_slice()
                && let [Some(schema), Some(table), Some(view_schema), Some(view)] =
                    [schema.text(), table.text(), view_schema.text(), view.text()]
            {
                catalog.add_dependent(schema, table, column.text(), format!("{view_schema}.{view}"));
            }
        }
    }
    Ok(())
}

/// What else keeps Redshift from dropping columns.
async fn layouts<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
    catalog: &mut Catalog,
) -> Result<(), LoadError> {
    for sql in plan::queries::layouts(manifest) {
        for row in runner.query("reading how tables are distributed and sorted", sql).await? {
            if let [schema, table, column, distributes, sorts] = row.as_slice()
                && let [Some(schema), Some(table), Some(column)] =
                    [schema.text(), table.text(), column.text()]
            {
                let is = |cell: &Cell| cell.number() == Some(1);
                catalog.add_layout(schema, table, column, is(distributes), is(sorts));
            }
        }
    }
    for sql in plan::queries::primary_keys(manifest) {
        for row in runner.query("reading declared keys", sql).await? {
            if let [schema, table, constraint] = row.as_slice()
                && let [Some(schema), Some(table), Some(constraint)] =
                    [schema.text(), table.text(), constraint.text()]
            {
                catalog.add_primary_key(schema, table, constraint);
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
mod tests;
