//! The loader's part of `re_dms verify`: what the tables hold in Redshift as of a segment, in canonical numbers. The answer goes
//! to S3, whatever it is.
//!
//! The question comes through the stream's group, so that it is answered between two segments. That the tables are as of the
//! one before is proved by the transaction that reads them: its snapshot has the ledger in it.

use std::collections::BTreeMap;

use re_dms_plan::verify::{self as plan, Unfit};
use re_dms_plan::{Catalog, TableLog};
use re_dms_shared::verify::{
    Answer, Checks, FORMAT, Group, Outcome, TableAnswer, TableCheck, VerifyRequest, join,
};

use crate::apply::{self, Loader, take_columns};
use crate::deadline::Deadline;
use crate::error::{LoadError, Retry};
use crate::ledger::{self, Ledger};
use crate::objects::Objects;
use crate::receipt::loaded_by;
use crate::runner::{End, Runner};
use crate::statements::{Cell, PartStatus, Sql, Statements, Submission};
use crate::table_log;

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Answers, unless it takes another invocation.
    ///
    /// # Errors
    /// If the invocation ends before, or the answer can't be written.
    pub async fn answer_verify(&self, request: &VerifyRequest, deadline: Deadline) -> Result<(), LoadError> {
        apply::check_stream(&request.stream)?;
        let runner = Runner::new(&self.api, deadline);
        let outcome = match self.look_at_tables(&runner, request).await {
            Ok(outcome) => outcome,
            Err(error) if error.retry() == Retry::Now => return Err(error),
            // Segments wait behind it: whoever asked may ask again.
            Err(error) => Outcome::Failed { error: error.to_string(), hint: error.hint() },
        };
        let answer = Answer { format: FORMAT, answered_by: loaded_by(), outcome };
        let json = serde_json::json!(answer).to_string().into_bytes();
        self.objects.put_if_absent(&request.bucket, &request.answer_key, json).await
    }

    async fn look_at_tables(
        &self,
        runner: &Runner<'_, A>,
        request: &VerifyRequest,
    ) -> Result<Outcome, LoadError> {
        let (stream, epoch, seq) = (&request.stream, &request.epoch, request.seq);
        let json = self.objects.get(&request.bucket, &request.checks_key).await?;
        let checks: Checks = serde_json::from_slice(&json).map_err(|error| LoadError::Message {
            reason: format!("its list of tables breaks off in line {}", error.line()),
        })?;
        if checks.format > FORMAT {
            let what = "the list of tables to verify".to_owned();
            return Err(LoadError::Newer { what, found: checks.format, reads: FORMAT });
        }
        let last = match ledger::read(runner, stream, epoch).await?.ledger {
            Ledger::Empty => 0,
            Ledger::Last(last) => last.seq,
            Ledger::Locked => return Ok(Outcome::Elsewhere { last: None }),
        };
        // Tables of the next segment may be done already where each is committed alone.
        let log = table_log::read(runner, stream, epoch, seq + 1).await?;
        if last != seq || log.has_loaded() {
            return Ok(Outcome::Elsewhere { last: Some(last) });
        }
        let mut catalog = Catalog::default();
        for sql in plan::columns(&checks.tables) {
            take_columns(&mut catalog, &runner.query("reading the catalog", sql).await?);
        }
        let mut answers: Vec<_> =
            checks.tables.iter().map(|table| without_asking(table, &catalog, &log)).collect();
        let open = (0..answers.len()).filter(|&position| answers[position].is_none());
        let queries = open.flat_map(|position| {
            plan::groups(&checks.tables[position]).into_iter().map(move |sql| (position, sql))
        });
        let queries: Vec<_> = queries.collect();
        let mut parts = BTreeMap::new();
        for (batch, queries) in queries.chunks(plan::QUERIES_AT_ONCE).enumerate() {
            let of_batch = Batch { request, change: log.last_change(), batch };
            if !of_batch.ask(runner, queries, &mut parts).await? {
                return Ok(Outcome::Elsewhere { last: Some(last) });
            }
        }
        for (position, parts) in parts {
            answers[position] = Some(match parts.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(parts) => {
                    TableAnswer::Groups { groups: join(parts).into_iter().map(|(group, _)| group).collect() }
                }
                Err(failed) => failed,
            });
        }
        Ok(Outcome::Read { tables: answers.into_iter().flatten().collect() })
    }
}

/// What is known of a table without looking at its rows.
fn without_asking(table: &TableCheck, catalog: &Catalog, log: &TableLog) -> Option<TableAnswer> {
    let target = plan::target(table);
    if log.is_quarantined(&target) {
        let label = target.to_string();
        let told = log.told().tables.into_iter().find(|waiting| waiting.table == label);
        let reason = told.map_or_else(|| "its changes wait on S3".to_owned(), |told| told.reason);
        return Some(TableAnswer::Waiting { reason });
    }
    match plan::fits(table, catalog) {
        Ok(()) => None,
        Err(Unfit::Missing) => Some(TableAnswer::Missing),
        Err(Unfit::Unlike(what)) => Some(TableAnswer::Unlike { what }),
        Err(Unfit::TooLong) => Some(TableAnswer::Failed {
            error: "the question is longer than the Data API takes: it has no key, and too many columns"
                .to_owned(),
            hint: "name the other tables to `re_dms verify`; the rows of this one can be counted by hand"
                .to_owned(),
        }),
    }
}

/// Groups of one query, each with nothing to be said of its width; or why there are none.
type Part = Result<Vec<(Group, u64)>, TableAnswer>;

/// Queries that are one transaction.
struct Batch<'a> {
    request: &'a VerifyRequest,
    change: u64,
    batch: usize,
}

impl Batch<'_> {
    /// False if Redshift is not as of the segment any more. A query that fails is left out, and the others are asked again: a
    /// transaction fails as a whole. `parts`: what was given, by the table's position.
    async fn ask<A: Statements>(
        &self,
        runner: &Runner<'_, A>,
        queries: &[(usize, String)],
        parts: &mut BTreeMap<usize, Vec<Part>>,
    ) -> Result<bool, LoadError> {
        let mut queries = queries.to_vec();
        let mut attempt = 0;
        while !queries.is_empty() {
            attempt += 1;
            let texts: Vec<_> = queries.iter().map(|(_, sql)| sql.clone()).collect();
            let VerifyRequest { stream, id, .. } = self.request;
            let submission = Submission {
                sql: Sql::Batch(plan::statements(self.request, self.change, &texts)),
                name: format!("re_dms/{stream}/verify"),
                // The next invocation finds it.
                token: Some(format!("verify-{id}-{}-{attempt}", self.batch)),
            };
            let description = match runner.run(&submission).await? {
                End::Finished(submitted) => {
                    for (number, (position, _)) in queries.iter().enumerate() {
                        // Statements are numbered from 1, and the first one is the guard.
                        let rows = runner.rows(&format!("{}:{}", submitted.id, number + 2)).await?;
                        parts.entry(*position).or_default().push(groups(&rows));
                    }
                    return Ok(true);
                }
                End::Failed(description) => description,
            };
            let failed = description.parts.iter().position(|part| part.status == PartStatus::Failed);
            let words = failed.and_then(|at| description.parts[at].error.clone());
            let words = words.or(description.error).unwrap_or_default();
            match failed {
                Some(0) => return Ok(false),
                Some(at) if at <= queries.len() => {
                    let error = LoadError::of_statement("verifying a table", &words);
                    let (position, _) = queries.remove(at - 1);
                    let failed = TableAnswer::Failed { error: error.to_string(), hint: error.hint() };
                    parts.entry(position).or_default().push(Err(failed));
                }
                _ => return Err(LoadError::of_statement("verifying tables", &words)),
            }
        }
        Ok(true)
    }
}

/// What a query for a table gave.
fn groups(rows: &[Vec<Cell>]) -> Part {
    let group = |row: &Vec<Cell>| {
        let [id, rows, first, second, shown @ ..] = row.as_slice() else { return None };
        let text = |cell: &Cell| cell.text().map(str::to_owned);
        let group = Group {
            id: text(id)?,
            rows: u64::try_from(rows.number()?).ok()?,
            sums: [text(first)?, text(second)?],
            shown: shown.first().and_then(text),
        };
        Some((group, 0))
    };
    rows.iter().map(group).collect::<Option<Vec<_>>>().ok_or_else(|| TableAnswer::Failed {
        error: "Redshift's answer has another form than was asked for".to_owned(),
        hint: "report this as a bug".to_owned(),
    })
}
