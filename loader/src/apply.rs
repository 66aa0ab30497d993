//! One segment, from its message to its receipt.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{Manifest, ManifestError, sha256_hex};
use re_dms_shared::message::{Outcome, SegmentStaged};
use re_dms_shared::s3_layout::SegmentLayout;

use crate::config::CopySettings;
use crate::copy_fault::CopyFault;
use crate::deadline::Deadline;
use crate::error::{LoadError, Retry};
use crate::handler::SegmentLoader;
use crate::ledger::{self, Place, Reading};
use crate::objects::Objects;
use crate::plan::{self, Catalog, Plan, Purpose, Statement};
use crate::receipt::{self, Receipt};
use crate::runner::Runner;
use crate::sql_error;
use crate::statements::{Cell, Statements};
use crate::transaction::{Failure, Segment, Transaction};

/// Loads segments. Kept over the invocations of a warm function.
#[derive(Debug)]
pub struct Loader<A, O> {
    api: A,
    objects: O,
    copy: CopySettings,
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
}

impl<A: Statements, O: Objects> SegmentLoader for Loader<A, O> {
    async fn load(&self, message: &SegmentStaged, deadline: Deadline) -> Result<Loaded, LoadError> {
        let started = Instant::now();
        check_stream(&message.stream)?;
        let runner = Runner::new(&self.api, deadline);
        // The catalog is asked for beside the ledger, though a segment that is not next won't need it: most are.
        let prepared = async {
            let manifest = self.manifest(message).await?;
            let catalog = catalog(&runner, &manifest).await;
            Ok::<_, LoadError>((manifest, catalog))
        };
        let (prepared, reading) =
            tokio::join!(prepared, ledger::read(&runner, &message.stream, &message.epoch));
        let ((manifest, catalog), reading) = (prepared?, reading?);
        let outcome = match reading.place(&manifest, &message.manifest_sha256)? {
            Place::Next => self.apply(&runner, message, &manifest, &catalog?, &reading).await?,
            Place::Loaded => Outcome::AlreadyLoaded,
            Place::Gap { missing } => Outcome::Gap { missing },
        };
        let duration = started.elapsed();
        let rows = plan::queries::rows(&manifest);
        if !matches!(outcome, Outcome::Gap { .. }) {
            let this_time = (outcome == Outcome::Loaded).then_some(duration);
            self.write_receipt(message, &manifest, this_time).await;
        }
        Ok(Loaded { outcome, end_lsn: manifest.end_lsn, rows, duration })
    }
}

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Loads through `api` what lies in `objects`.
    #[must_use]
    pub fn new(api: A, objects: O, copy: CopySettings) -> Self {
        Self { api, objects, copy }
    }

    /// The message's manifest, which must be the one that it means.
    async fn manifest(&self, message: &SegmentStaged) -> Result<Manifest, LoadError> {
        let key = &message.manifest_key;
        let json = self.objects.get(&message.bucket, key).await?;
        let wrong = |reason: String| LoadError::Manifest { key: key.clone(), reason };
        if sha256_hex(&json) != message.manifest_sha256 {
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
        let Manifest { stream, epoch, seq, predecessor, .. } = &manifest;
        if (stream, epoch, *seq) != (&message.stream, &message.epoch, message.seq) {
            return Err(wrong(format!(
                "it is segment {seq} of {stream}, epoch {epoch}, and not the message's"
            )));
        }
        let expected = seq.checked_sub(1).filter(|before| *before > 0);
        if *seq == 0 || predecessor.as_ref().map(|segment| segment.seq) != expected {
            return Err(wrong(format!("segment {seq} names a wrong predecessor")));
        }
        Ok(manifest)
    }

    async fn apply(
        &self,
        runner: &Runner<'_, A>,
        message: &SegmentStaged,
        manifest: &Manifest,
        catalog: &Catalog,
        reading: &Reading,
    ) -> Result<Outcome, LoadError> {
        let plan = plan::plan(&plan::Input {
            manifest,
            manifest_sha256: &message.manifest_sha256,
            bucket: &message.bucket,
            copy: &self.copy,
            catalog,
        })?;
        for statement in &plan.before {
            let what = statement.purpose.to_string();
            match runner.statement(&what, statement.sql.clone()).await {
                // Somebody was faster: an invocation that died while this waited for its lock.
                Err(LoadError::Statement { message, .. }) if sql_error::is_done_already(&message) => {}
                done => done.map(drop).map_err(|error| error.about(statement.table.as_ref()))?,
            }
        }
        let segment = Segment { stream: &manifest.stream, epoch: &manifest.epoch, seq: manifest.seq };
        tracing::debug!(statements = plan.statements.len(), transport = ?plan.transport, "applying");
        let result = Transaction::new(runner, segment, &plan).run(reading.asked_at).await;
        let (error, guarded) = match result {
            Ok(Ok(())) => return Ok(Outcome::Loaded),
            Ok(Err(failure)) => {
                let guarded = purpose(&plan, &failure) == Some(Purpose::Guard);
                (self.explain(runner, message, &plan, &failure, manifest).await, guarded)
            }
            // Whatever is under way goes on; the next invocation finds it.
            Err(error @ LoadError::HandOver { .. }) => return Err(error),
            Err(error) => (error, false),
        };
        // A lost answer or a lost connection says nothing: only the ledger does.
        let now = match ledger::read(runner, &manifest.stream, &manifest.epoch).await {
            Ok(now) => now,
            Err(unreadable) => {
                tracing::warn!(%unreadable, "the ledger can't be read after a failure");
                return Err(error);
            }
        };
        match now.place(manifest, &message.manifest_sha256)? {
            Place::Loaded if guarded => Ok(Outcome::AlreadyLoaded),
            Place::Loaded => Ok(Outcome::Loaded),
            Place::Gap { missing } => Ok(Outcome::Gap { missing }),
            Place::Next => Err(error),
        }
    }

    /// What a failed transaction means.
    async fn explain(
        &self,
        runner: &Runner<'_, A>,
        message: &SegmentStaged,
        plan: &Plan,
        failure: &Failure,
        manifest: &Manifest,
    ) -> LoadError {
        let statement = failure.position.and_then(|position| plan.statements.get(position));
        let retry = sql_error::retry(&failure.error);
        let table = statement.and_then(|statement| statement.table.clone());
        match (statement.map(|statement| statement.purpose), statement, &table) {
            (Some(Purpose::Guard), ..) if retry == Retry::Never => {
                return LoadError::LedgerMoved { seq: manifest.seq };
            }
            (Some(Purpose::CountRows), Some(Statement { step: Some(step), .. }), Some(table))
                if retry == Retry::Never =>
            {
                return LoadError::RowCount {
                    table: table.clone(),
                    step: *step,
                    expected: rows_of_step(manifest, *step),
                    taken: failure.rows_before,
                };
            }
            (Some(Purpose::Copy), _, Some(table)) => {
                if let Some(fault) = copy_fault(runner, message).await {
                    return LoadError::Copy { table: table.clone(), fault };
                }
            }
            _ => {}
        }
        let what = statement.map_or("the transaction".to_owned(), |statement| statement.purpose.to_string());
        LoadError::Statement {
            what,
            table,
            message: sql_error::without_values(&failure.error),
            retry,
            hint: sql_error::hint(&failure.error).to_owned(),
        }
    }

    /// The data is in, with or without a receipt: trouble here is only told.
    async fn write_receipt(&self, message: &SegmentStaged, manifest: &Manifest, duration: Option<Duration>) {
        let Some(layout) = SegmentLayout::of_manifest(&message.manifest_key) else { return };
        let receipt = Receipt {
            format: receipt::FORMAT,
            stream: manifest.stream.clone(),
            epoch: manifest.epoch.clone(),
            seq: manifest.seq,
            end_lsn: manifest.end_lsn,
            manifest_sha256: message.manifest_sha256.clone(),
            rows: plan::queries::rows(manifest),
            loaded_at: Timestamp::now(),
            duration_ms: duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            loaded_by: receipt::loaded_by(),
        };
        let written = match serde_json::to_vec_pretty(&receipt) {
            Ok(json) => self.objects.put_if_absent(&message.bucket, &layout.receipt(), json).await,
            Err(_) => return,
        };
        if let Err(error) = written {
            tracing::warn!(%error, hint = error.hint(), "the segment is loaded, and its receipt could not be written");
        }
    }
}

/// A stream's name becomes part of the ledger's: anything else than the agreed form is refused.
fn check_stream(stream: &str) -> Result<(), LoadError> {
    let letter = |c: char| c.is_ascii_lowercase();
    let rest = |c: char| letter(c) || c.is_ascii_digit() || c == '_';
    if stream.len() <= 40 && stream.starts_with(letter) && stream.chars().all(rest) {
        return Ok(());
    }
    Err(LoadError::Message { reason: "its stream's name is not of the form [a-z][a-z0-9_]{0,39}".to_owned() })
}

async fn catalog<A: Statements>(runner: &Runner<'_, A>, manifest: &Manifest) -> Result<Catalog, LoadError> {
    let mut catalog = Catalog::default();
    for sql in plan::queries::columns(manifest) {
        for row in runner.query("reading the catalog", sql).await? {
            if let [schema, table, column, data_type, numbers @ ..] = row.as_slice()
                && let [Some(schema), Some(table), Some(column), Some(data_type)] =
                    [schema.text(), table.text(), column.text(), data_type.text()]
            {
                let number = |position: usize| numbers.get(position).and_then(Cell::number);
                catalog.add_row(schema, table, column, data_type, [number(0), number(1), number(2)]);
            }
        }
    }
    dependents(runner, manifest, &mut catalog).await?;
    Ok(catalog)
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

fn purpose(plan: &Plan, failure: &Failure) -> Option<Purpose> {
    failure.position.and_then(|position| plan.statements.get(position)).map(|statement| statement.purpose)
}

fn rows_of_step(manifest: &Manifest, number: u32) -> u64 {
    let step = manifest.steps.iter().find(|step| step.number == number);
    step.map_or(0, |step| plan::queries::rows_of(&step.action))
}

async fn copy_fault<A: Statements>(runner: &Runner<'_, A>, message: &SegmentStaged) -> Option<CopyFault> {
    let folder = message.manifest_key.strip_suffix("manifest.json")?;
    let sql = plan::queries::load_error(&message.bucket, folder);
    match runner.query("reading load errors", sql).await {
        Ok(rows) => rows.first().and_then(|row| CopyFault::from_row(row)),
        Err(error) => {
            tracing::warn!(%error, "sys_load_error_detail can't be read");
            None
        }
    }
}

#[cfg(test)]
mod tests;
