//! Segments, from their messages to their receipts.

mod attempt;
mod catalog;
pub(crate) mod explain;
mod group;
mod manifests;
mod once;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::check::CheckRequest;
use re_dms_shared::manifest::Manifest;
use re_dms_shared::message::{Outcome, SegmentStaged, TableRequest};
use re_dms_shared::remove::RemoveRequest;
use re_dms_shared::s3_layout::SegmentLayout;
use re_dms_shared::table_log::Quarantine;
use re_dms_shared::verify::VerifyRequest;
use re_dms_telemetry::traces::Tracer;

use crate::config::ApplySettings;
use crate::deadline::Deadline;
use crate::error::LoadError;
use crate::handler::SegmentLoader;
use crate::ledger::{self, Place};
use crate::objects::Objects;
use crate::receipt::{self, Receipt};
use crate::resume::Done;
use crate::runner::Runner;
use crate::staging;
use crate::statements::Statements;
use crate::table_log;
use crate::traces::LoadSpans;
pub(crate) use attempt::change_before;
pub(crate) use catalog::{catalog, take_columns};
pub(crate) use group::all_steps;
use re_dms_plan::{self as plan, StagedSegment};

/// Loads segments. Kept over the invocations of a warm function.
#[derive(Debug)]
pub struct Loader<A, O> {
    pub(crate) api: A,
    pub(crate) objects: O,
    pub(crate) settings: ApplySettings,
    /// Streams whose old staging tables were looked for since the function's start.
    swept: Mutex<BTreeSet<String>>,
    tracer: Tracer,
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
    /// Its files' size, compressed.
    pub bytes: u64,
    /// When its first transaction was committed on the source.
    pub first_commit: Timestamp,
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
        let Some(first) = messages.first() else { return Ok(Vec::new()) };
        let spans = LoadSpans::begin(&self.tracer, first);
        let runner = Runner::new(&self.api, deadline).traced(spans.clone());
        let outcome = self.load_group(&runner, first, messages).await;
        if let Some(spans) = spans {
            spans.end(messages, &outcome);
        }
        outcome
    }

    async fn check(&self, request: &CheckRequest, deadline: Deadline) -> Result<(), LoadError> {
        self.answer_check(request, deadline).await
    }

    async fn remove(&self, request: &RemoveRequest, deadline: Deadline) -> Result<(), LoadError> {
        self.remove_and_answer(request, deadline).await
    }

    async fn verify(&self, request: &VerifyRequest, deadline: Deadline) -> Result<(), LoadError> {
        self.answer_verify(request, deadline).await
    }

    async fn request(&self, request: &TableRequest, deadline: Deadline) -> Result<Done, LoadError> {
        self.resume(request, deadline).await
    }
}

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Loads through `api` what lies in `objects`.
    #[must_use]
    pub fn new(api: A, objects: O, settings: ApplySettings) -> Self {
        Self { api, objects, settings, swept: Mutex::default(), tracer: Tracer::default() }
    }

    /// Hands in spans there.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    async fn load_group(
        &self,
        runner: &Runner<'_, A>,
        first: &SegmentStaged,
        messages: &[SegmentStaged],
    ) -> Result<Vec<Loaded>, LoadError> {
        let started = Instant::now();
        check_stream(&first.stream)?;
        // The catalog is asked for beside the ledger, though a segment that is not next won't need it: most are.
        let prepared = async {
            let segments = self.segments(messages).await?;
            let catalog = catalog(runner, &all_steps(&segments)).await;
            Ok::<_, LoadError>((segments, catalog))
        };
        let (prepared, reading, log) = tokio::join!(
            prepared,
            ledger::read(runner, &first.stream, &first.epoch),
            table_log::read_existing(runner, &first.stream, &first.epoch, first.seq)
        );
        let ((segments, catalog), reading, log) = (prepared?, reading?, log?);
        let mut log = match log {
            Some(log) => log,
            // Only now: the ledger's reader may have been making their schema.
            None => table_log::create(runner, &first.stream).await?,
        };
        let (manifest, sha256) = (&segments[0].manifest, &segments[0].manifest_sha256);
        let (done, outcome) = match reading.place(manifest, sha256)? {
            Place::Next => self.apply(runner, &segments, &catalog?, &reading, &mut log).await?,
            Place::Loaded => (1, Outcome::AlreadyLoaded),
            Place::Gap { missing } => (1, Outcome::Gap { missing }),
        };
        let duration = started.elapsed();
        self.sweep(runner, &segments[done.saturating_sub(1)].manifest, &outcome).await;
        let mut loaded = Vec::new();
        for segment in &segments[..done] {
            if !matches!(outcome, Outcome::Gap { .. }) {
                let this_time = (outcome == Outcome::Loaded).then_some(duration);
                self.write_receipt(segment, this_time).await;
            }
            let manifest = &segment.manifest;
            let (end_lsn, rows) = (manifest.end_lsn, plan::queries::rows(manifest));
            let (outcome, quarantine) = (outcome.clone(), log.told());
            let (bytes, first_commit) = (group::files_bytes(manifest), manifest.first_commit_time);
            loaded.push(Loaded { outcome, end_lsn, rows, bytes, first_commit, duration, quarantine });
        }
        Ok(loaded)
    }

    /// Once in a function's life: what died before left no trace elsewhere, and the log's past grows slowly.
    async fn sweep(&self, runner: &Runner<'_, A>, last: &Manifest, outcome: &Outcome) {
        let is_loaded = !matches!(outcome, Outcome::Gap { .. });
        let stream = last.stream.clone();
        let first_time = || self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
        if is_loaded && first_time() {
            staging::sweep(runner, &last.stream, last.seq).await;
            table_log::prune(runner, &last.stream).await;
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

#[cfg(test)]
mod tests;
