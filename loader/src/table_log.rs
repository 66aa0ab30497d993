//! Reading the table log, adding failures to it, removing what is long over.

use jiff::{SignedDuration, Timestamp};
use re_dms_shared::manifest::Manifest;

use crate::error::LoadError;
use crate::runner::{End, Runner};
use crate::sql_error;
use crate::statements::{Cell, Sql, Statements, Submission};
use re_dms_plan as plan;
use re_dms_plan::table_log::LogRow;
use re_dms_plan::{Blame, TableLog, Target};

/// How long the log tells of a quarantine that ended.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Where a quarantined table was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The number of the row that says so.
    pub change: u64,
    /// The segment's epoch.
    pub epoch: String,
    /// The segment.
    pub seq: u64,
    /// Where its manifest is.
    pub bucket: String,
    /// Its key there.
    pub manifest_key: String,
    /// Its checksum.
    pub manifest_sha256: String,
}

/// Reads what the log says for one segment; makes the log if there is none.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn read<A: Statements>(
    runner: &Runner<'_, A>,
    stream: &str,
    epoch: &str,
    seq: u64,
) -> Result<TableLog, LoadError> {
    match read_existing(runner, stream, epoch, seq).await? {
        Some(log) => Ok(log),
        None => create(runner, stream).await,
    }
}

/// Makes the log.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn create<A: Statements>(runner: &Runner<'_, A>, stream: &str) -> Result<TableLog, LoadError> {
    let [schema, _] = plan::ledger::ensure(stream);
    runner.statement("creating the table log's schema", schema).await?;
    runner.statement("creating the table log", plan::table_log::ensure(stream)).await?;
    Ok(TableLog::default())
}

/// Reads what the log says for one segment, if there is one.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn read_existing<A: Statements>(
    runner: &Runner<'_, A>,
    stream: &str,
    epoch: &str,
    seq: u64,
) -> Result<Option<TableLog>, LoadError> {
    let what = "reading the table log";
    let submitted = match runner.statement(what, plan::table_log::read(stream, epoch, seq)).await {
        Ok(submitted) => submitted,
        Err(LoadError::Statement { message, .. }) if sql_error::is_missing_relation(&message) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut log = TableLog::new(submitted.created_at, epoch, seq);
    for row in runner.rows(&submitted.id).await? {
        log.add(log_row(&row).ok_or_else(|| malformed(what))?);
    }
    Ok(Some(log))
}

/// Up to `limit` segments where the target was skipped since the row `since` and that were not replayed, in order.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn skipped<A: Statements>(
    runner: &Runner<'_, A>,
    stream: &str,
    target: &Target,
    since: u64,
    limit: usize,
) -> Result<Vec<Skipped>, LoadError> {
    let what = "reading what was skipped";
    let rows = runner.query(what, plan::table_log::skipped(stream, target, since, limit)).await?;
    rows.iter().map(|row| skipped_row(row).ok_or_else(|| malformed(what))).collect()
}

/// Where the rows of a table are that was read anew, by the number of the log's row that says so.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn copied<A: Statements>(
    runner: &Runner<'_, A>,
    stream: &str,
    change: u64,
) -> Result<Skipped, LoadError> {
    let what = "reading where the rows are that were read anew";
    let rows = runner.query(what, plan::table_log::copied(stream, change)).await?;
    rows.first().and_then(|row| skipped_row(row)).ok_or_else(|| malformed(what))
}

/// Adds a failure, once however often it is tried: `known` is how many the log had when it was read.
///
/// # Errors
/// Redshift or the API refuse.
pub async fn note_failure<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
    target: &Target,
    blame: &Blame,
    known: u32,
) -> Result<(), LoadError> {
    let Manifest { stream, epoch, seq, .. } = manifest;
    let statements = plan::table_log::note_failure(stream, epoch, *seq, target, blame, known);
    let name = format!("re_dms/{stream}/{epoch}/{seq}/failure");
    let submission = Submission { sql: Sql::Batch(statements.to_vec()), name, token: None };
    match runner.run(&submission).await? {
        End::Finished(_) => Ok(()),
        End::Failed(description) => {
            Err(LoadError::of_statement("noting the failure", description.error.unwrap_or_default().as_str()))
        }
    }
}

/// Removes what the log has of quarantines that ended long ago. Trouble here is only told.
pub async fn prune<A: Statements>(runner: &Runner<'_, A>, stream: &str) {
    if let Err(error) = try_to_prune(runner, stream).await {
        tracing::warn!(%error, "the table log keeps its past for now");
    }
}

async fn try_to_prune<A: Statements>(runner: &Runner<'_, A>, stream: &str) -> Result<(), LoadError> {
    let before = Timestamp::now().checked_sub(KEPT).unwrap_or(Timestamp::UNIX_EPOCH);
    let what = "looking for quarantines that ended";
    let rows = runner.query(what, plan::table_log::ended(stream, before)).await?;
    let ended = |row: &Vec<Cell>| {
        let [schema, name, change] = row.as_slice() else { return None };
        Some((Target::new(schema.text()?, name.text()?), number(change)?))
    };
    let ended: Vec<_> =
        rows.iter().map(|row| ended(row).ok_or_else(|| malformed(what))).collect::<Result<_, _>>()?;
    if ended.is_empty() {
        return Ok(());
    }
    let (sql, name) = (Sql::Batch(plan::table_log::prune(stream, &ended)), format!("re_dms/{stream}/prune"));
    match runner.run(&Submission { sql, name, token: None }).await? {
        End::Finished(_) => Ok(()),
        End::Failed(description) => Err(LoadError::of_statement(
            "removing quarantines that ended",
            &description.error.unwrap_or_default(),
        )),
    }
}

fn log_row(row: &[Cell]) -> Option<LogRow> {
    let [change, event, schema, name, epoch, seq, reason, hint] = row else { return None };
    let text = |cell: &Cell| cell.text().unwrap_or_default().to_owned();
    Some(LogRow {
        change: number(change)?,
        event: text(event),
        target: Target::new(schema.text()?, name.text()?),
        epoch: text(epoch),
        seq: number(seq)?,
        blame: Blame { reason: text(reason), hint: text(hint), held: false },
    })
}

fn skipped_row(row: &[Cell]) -> Option<Skipped> {
    let [change, epoch, seq, bucket, key, sha256] = row else { return None };
    Some(Skipped {
        change: number(change)?,
        epoch: epoch.text()?.to_owned(),
        seq: number(seq)?,
        bucket: bucket.text()?.to_owned(),
        manifest_key: key.text()?.to_owned(),
        manifest_sha256: sha256.text()?.to_owned(),
    })
}

fn number(cell: &Cell) -> Option<u64> {
    cell.number().and_then(|number| u64::try_from(number).ok())
}

fn malformed(what: &str) -> LoadError {
    LoadError::Statement {
        what: what.to_owned(),
        table: None,
        message: "a row is not of the log's shape".to_owned(),
        retry: crate::error::Retry::Never,
        hint: "the table is re_dms's own: compare it with the documented columns".to_owned(),
    }
}
