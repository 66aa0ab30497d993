//! What a failed transaction means.

use re_dms_shared::manifest::{Action, Step};

use crate::copy_fault::CopyFault;
use crate::error::{LoadError, Retry};
use crate::runner::Runner;
use crate::sql_error;
use crate::staging;
use crate::statements::Statements;
use crate::transaction::Failure;
use re_dms_plan::{self as plan, Purpose, StagedSegment, Statement};

/// The failure of a transaction with these segments.
pub(crate) async fn failure<A: Statements>(
    runner: &Runner<'_, A>,
    segments: &[StagedSegment<'_>],
    failure: &Failure,
) -> LoadError {
    let retry = sql_error::retry(&failure.error);
    let Some(Statement { purpose, of, .. }) = &failure.statement else {
        return statement("the transaction".to_owned(), None, &failure.error, retry);
    };
    let table = of.as_ref().map(|step| step.target.to_string());
    if staging::is_gone(&failure.error) {
        return LoadError::StageGone;
    }
    match (purpose, of) {
        (Purpose::Guard, _) if retry == Retry::Never => {
            let seq = segments.first().map_or(0, |segment| segment.manifest.seq);
            return LoadError::LedgerMoved { seq };
        }
        (Purpose::CheckEmpty, Some(step)) if retry == Retry::Never => {
            return LoadError::NotEmpty { table: step.target.to_string() };
        }
        (Purpose::CountRows, Some(step)) if retry == Retry::Never => {
            return LoadError::RowCount {
                table: step.target.to_string(),
                step: step.number,
                expected: step.rows,
                taken: failure.rows_before,
            };
        }
        // Rows of earlier tries stay in the system table: it is asked only if there is a new one.
        (Purpose::Copy, Some(step)) if failure.error.to_ascii_lowercase().contains("load into table") => {
            let segment = segments.iter().find(|segment| segment.manifest.seq == step.seq);
            if let Some(segment) = segment
                && let Some(fault) = copy_fault(runner, segment, step.number).await
            {
                return LoadError::Copy { table: step.target.to_string(), fault };
            }
        }
        _ => {}
    }
    statement(purpose.to_string(), table, &failure.error, retry)
}

fn statement(what: String, table: Option<String>, error: &str, retry: Retry) -> LoadError {
    LoadError::Statement {
        what,
        table,
        message: sql_error::without_values(error),
        retry,
        hint: sql_error::hint(error).to_owned(),
    }
}

async fn copy_fault<A: Statements>(
    runner: &Runner<'_, A>,
    segment: &StagedSegment<'_>,
    step: u32,
) -> Option<CopyFault> {
    let Step { table, action, .. } = segment.manifest.steps.iter().find(|known| known.number == step)?;
    let Action::Load(load) = action else { return None };
    let folder = load.copy_manifest.rfind('/').map_or("", |end| &load.copy_manifest[..=end]);
    // A segment has a folder of its own; images of tables share theirs.
    let files =
        if segment.manifest.is_image() { format!("{folder}{}-", table.oid) } else { folder.to_owned() };
    let sql = plan::queries::load_error(segment.bucket, &files);
    match runner.query("reading load errors", sql).await {
        Ok(rows) => rows.first().and_then(|row| CopyFault::from_row(row)),
        Err(error) => {
            tracing::warn!(%error, "sys_load_error_detail can't be read");
            None
        }
    }
}
