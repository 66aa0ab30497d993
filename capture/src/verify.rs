//! `re_dms verify`: are the tables in Redshift as on the source? Both sides compute the same sums over hashes of their rows, at
//! one position of the source's WAL, while the stream goes on; where they differ, buckets of rows are looked at more closely,
//! down to the keys. See ADR 23.
//!
//! Asked for through the source's WAL ([`messages`]) or by the configuration's interval, done by the capture that runs the
//! stream ([`Verifier`]), since only it can have a segment end where a snapshot lies. Nothing survives a death: whoever asked
//! asks again.

mod columns;
mod compare;
mod desk;
mod doubts;
pub mod messages;
pub mod repair;
pub mod report;
pub mod request;
mod round;
mod subject;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::status::VerifiedStatus;
use tokio::sync::watch;

use crate::aws::Objects;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::progress::Progress;
use crate::resync::new_id;
use crate::source::Source;
use columns::{Prepared, unknown_types};
use compare::buckets_for;
pub use desk::{AtCollector, AtVerifier, Barrier, KnownNow, Order, Placed, desk};
use doubts::Doubts;
pub use messages::{Message, PREFIX as RUNS, Run};
pub use report::{Report, TableReport, Verdict};
use round::Question;
use subject::{Subject, first_question};

/// Rows that are compared at one position, about: for as long as Redshift hashes them the stream's segments wait.
const ROWS_AT_ONCE: u64 = 20_000_000;

/// Tables that are compared at one position.
const TABLES_AT_ONCE: usize = 100;

/// Ranges of a table's key: each costs a comparison of each row with a bound.
const MOST_RANGES: u64 = 64;

/// Of a sample, at least.
const RANGES_OF_SAMPLE: u64 = 40;

/// How often a table is looked at that could not be compared only just now, or of which nothing had come.
const PASSES: u32 = 3;

/// How often groups that differ are looked at more closely.
const LEVELS: u32 = 6;

/// Verifies for as long as the stream runs.
pub(crate) struct Verifier {
    /// What the tables are like.
    pub(crate) config: Arc<Config>,
    /// The epoch's text form.
    pub(crate) epoch: String,
    /// The bucket.
    pub(crate) objects: Objects,
    /// Where in it.
    pub(crate) layout: StreamLayout,
    /// Where to tell what was found.
    pub(crate) progress: Arc<Progress>,
    /// Whether the initial copy is over.
    pub(crate) flight: Arc<Mutex<Flight>>,
    /// The collector.
    pub(crate) collector: mpsc::Sender<Order>,
}

/// Nothing is done by itself.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The tables of a run.
struct Found {
    /// Those that can be compared.
    subjects: Vec<Subject>,
    /// Those that have rows of which nothing came, as far as the stream is.
    unknown: Vec<TableReport>,
}

impl Verifier {
    /// Ends when told to. `asked` are the runs that somebody asks for.
    pub(crate) async fn run(
        self,
        mut asked: tokio::sync::mpsc::UnboundedReceiver<Run>,
        mut stop: watch::Receiver<bool>,
    ) {
        let work = async {
            let interval = self.config.verify.interval;
            let mut next = interval.map(|interval| Instant::now() + interval);
            loop {
                let wait = next.map_or(FOREVER, |next| next.saturating_duration_since(Instant::now()));
                match tokio::time::timeout(wait, asked.recv()).await {
                    Ok(Some(run)) => {
                        let report = self.verify_and_tell(&run).await;
                        self.write(&result_key(&self.layout, &run.id), &report).await;
                    }
                    Ok(None) => return,
                    Err(_) => {
                        let sample = Some(self.config.verify.sample).filter(|sample| *sample < 100);
                        let run = Run { id: new_id(), sample, ..Run::default() };
                        let report = self.verify_and_tell(&run).await;
                        self.write(&result_key(&self.layout, BY_ITSELF), &report).await;
                    }
                }
                if next.is_some_and(|next| next <= Instant::now()) {
                    next = interval.map(|interval| Instant::now() + interval);
                }
            }
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|&stop| stop) => {}
        }
    }

    async fn verify_and_tell(&self, run: &Run) -> Report {
        tracing::info!(id = run.id, "verifying");
        let report = self.verify(run).await;
        let different = report.tables.iter().filter(|table| table.verdict == Verdict::Different);
        for TableReport { table, source_rows, redshift_rows, .. } in different {
            tracing::warn!(table, source_rows, redshift_rows, "is not in Redshift as on the source");
        }
        tracing::info!(id = run.id, verdict = %report.verdict, tables = report.tables.len(), "verified");
        let named = |verdict| {
            let tables = report.tables.iter().filter(|table| table.verdict == verdict);
            tables.map(|table| table.table.clone()).collect()
        };
        let verified = VerifiedStatus {
            id: run.id.clone(),
            at: report.finished_at,
            tables: report.tables.len() as u64,
            different: named(Verdict::Different),
            unverified: named(Verdict::Unverified),
            error: report.error.clone(),
        };
        self.progress.update(|state| state.verified = Some(verified));
        report
    }

    async fn write(&self, key: &str, report: &Report) {
        let json = Bytes::from(serde_json::json!(report).to_string());
        if let Err(error) = self.objects.put(key, json).await {
            tracing::error!(%error, "the result can't be written");
        }
    }

    async fn verify(&self, run: &Run) -> Report {
        let started_at = Timestamp::now();
        let mut tables = Vec::new();
        let error = self.verify_tables(run, &mut tables).await.err().map(|error| error.to_string());
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        let worst = tables.iter().map(|table| table.verdict).max().unwrap_or_default();
        let verdict = if error.is_some() { worst.max(Verdict::Unverified) } else { worst };
        Report {
            format: report::FORMAT,
            stream: self.config.stream.clone(),
            id: run.id.clone(),
            started_at,
            finished_at: Timestamp::now(),
            verdict,
            sample: run.sample,
            tables,
            error,
        }
    }

    async fn verify_tables(&self, run: &Run, done: &mut Vec<TableReport>) -> Result<()> {
        if self.flight.lock().unwrap_or_else(PoisonError::into_inner).is_copying() {
            let hint = "verify once it is done: `re_dms status` shows how far it is";
            return Err(Error::fatal(Who::Stream, "the initial copy goes on", hint));
        }
        let mut run = run.clone();
        let mut number = 0;
        for left in (0..PASSES).rev() {
            let Found { subjects, unknown } = self.subjects(&run, done).await?;
            if subjects.is_empty() && !unknown.is_empty() {
                // The stream comes to where they were found.
                number += 1;
                self.round(&format!("{}-{number}", run.id), &[]).await?;
            }
            let mut again = self.ask_all(&run, subjects, &mut number, done).await?;
            again.extend(unknown);
            if left == 0 {
                done.extend(again);
                break;
            }
            run.tables = again.into_iter().map(|report| report.table).collect();
            if run.tables.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Asks of these tables all that there is to be asked. Those that could not be compared only just now come back.
    async fn ask_all(
        &self,
        run: &Run,
        subjects: Vec<Subject>,
        number: &mut u32,
        done: &mut Vec<TableReport>,
    ) -> Result<Vec<TableReport>> {
        let mut again = Vec::new();
        let mut subjects = subjects.into_iter().peekable();
        while subjects.peek().is_some() {
            let mut together: Vec<Subject> = Vec::new();
            let mut rows = 0;
            while let Some(subject) = subjects.next_if(|subject| {
                together.is_empty()
                    || (rows + subject.rows <= ROWS_AT_ONCE && together.len() < TABLES_AT_ONCE)
            }) {
                rows += subject.rows;
                together.push(subject);
            }
            for level in 0..LEVELS {
                if together.iter().all(|subject| subject.next.is_none()) {
                    break;
                }
                *number += 1;
                self.level(&format!("{}-{number}", run.id), level, &mut together, run).await?;
            }
            for mut subject in together {
                if run.repair && subject.report.verdict == Verdict::Different {
                    self.have_read_anew(&mut subject).await;
                }
                let reports = if subject.again { &mut again } else { &mut *done };
                reports.push(subject.report);
            }
        }
        Ok(again)
    }

    /// The tables that are to be compared; of those that can't be it is told why.
    async fn subjects(&self, run: &Run, done: &mut Vec<TableReport>) -> Result<Found> {
        let source = Source::connect(&self.config.source).await?;
        if source.is_standby().await? {
            let hint = "let source.url lead to the primary, whose stream has the same";
            return Err(Error::fatal(
                Who::Source,
                "the server is a standby: nothing can be placed in its WAL",
                hint,
            ));
        }
        let known = self.tables().await?;
        let label = |known: &KnownNow| format!("{}.{}", known.table.schema, known.table.name);
        let wanted: BTreeSet<_> = run.tables.iter().cloned().collect();
        let is_wanted = |label: &String| wanted.is_empty() || wanted.contains(label);
        let mut subjects = Vec::new();
        let types = source.catalog_types(&unknown_types(known.iter().map(|known| &known.table))).await?;
        for known in known.iter().filter(|known| is_wanted(&label(known))) {
            let target = format!("{}.{}", known.table.target_schema, known.table.target_name);
            if let Some(excuse) = &known.excuse {
                done.push(TableReport::unverified(label(known), target, excuse));
                continue;
            }
            let prepared = Prepared::new(known.table.clone(), &self.config.source.columns, &types);
            let rows = source.rows_about(known.table.oid).await?;
            // The role may not read it, or somebody has it locked: the others are compared all the same.
            let bounds = match self.bounds(&source, &prepared, rows, run).await {
                Ok(bounds) => bounds,
                Err(error) => {
                    done.push(TableReport::unverified(label(known), target, error.to_string()));
                    continue;
                }
            };
            let report = TableReport {
                table: label(known),
                target,
                columns: prepared.skipped.iter().cloned().chain(prepared.notes()).collect(),
                ..TableReport::default()
            };
            let next = Some(first_question(rows, bounds, run.sample));
            subjects.push(Subject { prepared, rows, next, report, doubts: Doubts::default(), again: false });
        }
        let mut named: BTreeSet<_> = known.iter().map(label).collect();
        let mut unknown = Vec::new();
        let nothing_came = "nothing of it has come to Redshift: `re_dms tables resync` reads it";
        for table in source.stream_tables(&self.config.source).await? {
            let label = format!("{}.{}", table.schema, table.name);
            if is_wanted(&label) && !named.contains(&label) {
                if !table.readable || source.has_rows(&table.schema, &table.name).await? {
                    unknown.push(TableReport::unverified(label.clone(), String::new(), nothing_came));
                } else if wanted.contains(&label) {
                    done.push(TableReport {
                        table: label.clone(),
                        remark: Some("no rows".into()),
                        ..TableReport::default()
                    });
                }
                named.insert(label);
            }
        }
        for label in wanted.difference(&named) {
            done.push(TableReport::unverified(label.clone(), String::new(), "it is not in the stream"));
        }
        Ok(Found { subjects, unknown })
    }

    /// Where ranges of the table's key begin; none if it has no order that both sides have.
    async fn bounds(
        &self,
        source: &Source,
        prepared: &Prepared,
        rows: u64,
        run: &Run,
    ) -> Result<Option<Vec<String>>> {
        source.check_readable(prepared.table.oid, &prepared.label()).await?;
        let Some(column) = prepared.ordered_by() else { return Ok(None) };
        let least = if run.sample.is_some() { RANGES_OF_SAMPLE } else { 1 };
        let ranges = buckets_for(rows).min(MOST_RANGES).max(least);
        source.bounds(prepared.table.oid, column, ranges, rows).await
    }

    /// Asks once, and sets what is asked next.
    async fn level(&self, id: &str, level: u32, subjects: &mut [Subject], run: &Run) -> Result<()> {
        let asked: Vec<_> = (0..subjects.len()).filter(|&at| subjects[at].next.is_some()).collect();
        let questions: Vec<_> = asked
            .iter()
            .filter_map(|&at| {
                let Subject { prepared, next, .. } = &subjects[at];
                next.clone().map(|ask| Question { prepared, ask })
            })
            .collect();
        let (at, seen) = self.round(id, &questions).await?;
        let asks: Vec<_> = questions.into_iter().map(|question| question.ask).collect();
        for ((position, ask), seen) in asked.into_iter().zip(asks).zip(seen) {
            let subject = &mut subjects[position];
            subject.next = None;
            if level == 0 {
                subject.report.at = at;
            }
            subject.take(level, &ask, seen, run);
        }
        Ok(())
    }
}

/// In the place of a run's id: the last result of those that nobody asked for.
const BY_ITSELF: &str = "by-itself";

/// Where a run's result is.
fn result_key(layout: &StreamLayout, id: &str) -> String {
    format!("{}/result.json", layout.verification(id))
}
