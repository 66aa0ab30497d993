//! Fills the staging tables of a segment's plans side by side before their transactions. What is there from an earlier invocation is used,
//! what runs since then is waited for, what is left of segments that are long done is dropped.

use std::collections::BTreeSet;
use std::time::SystemTime;

use futures_util::{StreamExt as _, stream};
use re_dms_shared::manifest::sha256_hex;

use crate::error::LoadError;
use crate::runner::{End, Runner};
use crate::sql_error;
use crate::statements::{Cell, Sql, Statements, Submission};
use crate::transaction::{ATTEMPTS, Failure, batch_failure};
use re_dms_plan::{self as plan, Staging};

/// Fills what is not filled yet, up to `concurrency` tables at a time. `began` is the API's time when this invocation
/// began with the segment.
///
/// # Errors
/// Troubles with the API. A failure in Redshift is a result.
pub async fn stage<A: Statements>(
    runner: &Runner<'_, A>,
    stream_name: &str,
    all: &[&Staging],
    concurrency: usize,
    began: SystemTime,
) -> Result<Result<(), Failure>, LoadError> {
    let Some(seq) = all.iter().find_map(|staging| plan::staging::seq_of(&staging.table)) else {
        return Ok(Ok(()));
    };
    let there = list(runner, stream_name).await?;
    let ours: BTreeSet<_> = all.iter().map(|staging| staging.table.clone()).collect();
    drop_orphans(runner, seq, there.difference(&ours)).await;

    let mut filling = Vec::new();
    for staging in all {
        if !there.contains(&staging.table) {
            filling.push(fill(runner, staging, began));
        }
    }
    let mut filling = stream::iter(filling).buffer_unordered(concurrency.max(1));
    while let Some(filled) = filling.next().await {
        if let Err(failure) = filled? {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}

/// Whether a statement failed since a staging table is not there (any more).
#[must_use]
pub fn is_gone(error: &str) -> bool {
    sql_error::is_missing_relation(error) && error.contains("stage.")
}

async fn list<A: Statements>(runner: &Runner<'_, A>, stream: &str) -> Result<BTreeSet<String>, LoadError> {
    let rows = runner.query("listing staging tables", plan::staging::list(stream)).await?;
    Ok(rows.iter().filter_map(|row| row.first().and_then(Cell::text)).map(str::to_owned).collect())
}

/// Drops what attempts left that died or came too late: all tables of segments up to `seq`, which is loaded. Trouble
/// here is only told.
pub async fn sweep<A: Statements>(runner: &Runner<'_, A>, stream: &str, seq: u64) {
    match list(runner, stream).await {
        Ok(there) => drop_orphans(runner, seq, there.iter()).await,
        Err(error) => tracing::warn!(%error, "old staging tables can't be listed"),
    }
}

/// Tables of segments up to this one that nobody will merge. Should somebody replay one of them just now, that is tried
/// again.
async fn drop_orphans<'a, A: Statements>(
    runner: &Runner<'_, A>,
    seq: u64,
    others: impl Iterator<Item = &'a String>,
) {
    let old: Vec<_> = others
        .map(String::as_str)
        .filter(|table| plan::staging::seq_of(table).is_some_and(|of| of <= seq))
        .collect();
    for sql in plan::staging::drop(old) {
        if let Err(error) = runner.statement("dropping old staging tables", sql).await {
            tracing::warn!(%error, "old staging tables stay for now");
        }
    }
}

async fn fill<A: Statements>(
    runner: &Runner<'_, A>,
    staging: &Staging,
    began: SystemTime,
) -> Result<Result<(), Failure>, LoadError> {
    let sql: Vec<_> = staging.statements.iter().map(|statement| statement.sql.clone()).collect();
    let name = format!("re_dms/{}", staging.table);
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        let token = sha256_hex(format!("{name}\n{}\n{attempt}", sql.join("\n")).as_bytes());
        let submission = Submission { sql: Sql::Batch(sql.clone()), name: name.clone(), token: Some(token) };
        match runner.run(&submission).await? {
            // Filled long ago and dropped since, or else the next attempt finds it there.
            End::Finished(submitted) if submitted.created_at < began => {}
            End::Finished(_) => return Ok(Ok(())),
            End::Failed(description) => {
                let failure = batch_failure(&staging.statements, &description);
                if failure.error.contains("already exists") {
                    return Ok(Ok(()));
                }
                if failure.submitted_at.is_none_or(|submitted_at| submitted_at >= began) {
                    return Ok(Err(failure));
                }
                last = Some(failure);
            }
        }
    }
    Ok(last.map_or(Ok(()), Err))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use re_dms_plan::{Purpose, Statement};

    use super::*;
    use crate::deadline::Deadline;
    use crate::statements::{ApiError, Description, Status, Submitted};

    /// An API where each batch takes a moment; how many are under way, and the most that were.
    #[derive(Default)]
    struct Slow {
        now: AtomicUsize,
        most: AtomicUsize,
        batches: AtomicUsize,
    }

    impl Statements for Slow {
        async fn submit(&self, submission: &Submission, _: Duration) -> Result<Submitted, ApiError> {
            if matches!(submission.sql, Sql::Batch(_)) {
                self.batches.fetch_add(1, Ordering::Relaxed);
                let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
                self.most.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.now.fetch_sub(1, Ordering::Relaxed);
            }
            let created_at = SystemTime::now();
            Ok(Submitted { id: "1".to_owned(), status: Status::Finished, session: None, created_at })
        }

        async fn describe(&self, _: &str, _: Duration) -> Result<Description, ApiError> {
            unreachable!("every statement has ended")
        }

        async fn rows(&self, _: &str) -> Result<Vec<Vec<Cell>>, ApiError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn as_many_tables_are_filled_at_a_time_as_are_wanted() {
        let filling = |number: u32| Staging {
            table: format!("stage.main.0000000000000000.1.{number}"),
            statements: vec![Statement { purpose: Purpose::Copy, of: None, sql: format!("COPY {number}") }],
        };
        let tables: Vec<_> = (1..=20).map(filling).collect();
        let tables: Vec<_> = tables.iter().collect();
        for concurrency in [1, 8] {
            let api = Slow::default();
            let runner = Runner::new(&api, Deadline::after(Duration::from_secs(60)));
            let staged = stage(&runner, "main", &tables, concurrency, SystemTime::UNIX_EPOCH).await;
            staged.unwrap().unwrap();
            assert_eq!(api.most.into_inner(), concurrency);
            assert_eq!(api.batches.into_inner(), 20);
        }
    }
}
