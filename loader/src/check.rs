//! The loader's part of `re_dms check`: can it do in Redshift what segments ask for? The answer goes to S3, whatever it is.

use std::time::Duration;

use jiff::Timestamp;
use re_dms_plan::{Purpose, Statement, probe};
use re_dms_shared::check::{CheckAnswer, CheckRequest, FORMAT, Finding, ForeignTable};

use crate::apply::{self, Loader};
use crate::deadline::Deadline;
use crate::error::LoadError;
use crate::objects::Objects;
use crate::receipt::loaded_by;
use crate::runner::{End, Runner};
use crate::statements::{Cell, PartStatus, Sql, Statements, Submission};

/// Whoever asks waits no longer than about this.
const PATIENCE: Duration = Duration::from_secs(45);

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Tries what a segment would need, and answers.
    ///
    /// # Errors
    /// If the answer can't be written.
    pub async fn answer_check(&self, request: &CheckRequest, deadline: Deadline) -> Result<(), LoadError> {
        apply::check_stream(&request.stream)?;
        // Some of it has gone by already.
        let time_limit_seconds = (deadline.left() + Duration::from_millis(500)).as_secs();
        let runner = Runner::new(&self.api, deadline.no_later_than(PATIENCE));
        let findings = self.findings(&runner, request).await;
        let answer = CheckAnswer {
            format: FORMAT,
            answered_by: loaded_by(),
            at: Timestamp::now(),
            time_limit_seconds,
            findings,
            foreign: foreign_tables(&runner, request).await,
        };
        let json = serde_json::json!(answer).to_string().into_bytes();
        self.objects.put_if_absent(&request.bucket, &request.answer_key, json).await
    }

    async fn findings(&self, runner: &Runner<'_, A>, request: &CheckRequest) -> Vec<Finding> {
        let mut findings = Vec::new();
        let (user, database) = match first_row(runner.query("check/who", probe::WHO.to_owned()).await) {
            Ok([user, database]) => (user, database),
            Err(error) => {
                // Without it there is nothing else to find out.
                findings.push(failed("Redshift: login", &error));
                return findings;
            }
        };
        findings.push(Finding::ok("Redshift: login", format!("as {user} in {database}")));
        let level = first_row(runner.query("check/isolation", probe::isolation(&database)).await);
        // The loader works with both, so it is no harm if nobody tells.
        let level = level.map_or_else(|error| format!("unknown: {error}"), |[level]: [String; 1]| level);
        findings.push(Finding::ok("Redshift: isolation level", level));
        findings.extend(self.probe(runner, request).await);
        findings
    }

    /// One transaction: what fails in it is the finding, what came before it is as it should be.
    async fn probe(&self, runner: &Runner<'_, A>, request: &CheckRequest) -> Vec<Finding> {
        let statements = match probe::statements(request, &self.settings.copy) {
            Ok(statements) => statements,
            Err(error) => return vec![failed("Redshift: COPY", &error.into())],
        };
        let submission = Submission {
            sql: Sql::Batch(statements.iter().map(|statement| statement.sql.clone()).collect()),
            name: format!("re_dms/{}/check", request.stream),
            token: Some(format!("check-{}", request.id)),
        };
        let (failed_at, error) = match runner.run(&submission).await {
            Ok(End::Finished(_)) => (statements.len(), None),
            Ok(End::Failed(description)) => {
                let at = description.parts.iter().position(|part| part.status == PartStatus::Failed);
                let words = at.and_then(|at| description.parts[at].error.clone()).or(description.error);
                (at.unwrap_or(0), Some(LoadError::of_statement("the check", &words.unwrap_or_default())))
            }
            Err(error) => (0, Some(error)),
        };
        let mut findings = Vec::new();
        for (number, Statement { purpose, .. }) in statements.iter().enumerate() {
            let Some((item, fine)) = told(*purpose) else { continue };
            match &error {
                Some(error) if number >= failed_at => {
                    findings.push(failed(item, error));
                    break;
                }
                _ => findings.push(Finding::ok(item, fine)),
            }
        }
        findings
    }
}

/// None where it can't be found out: why, another finding says.
async fn foreign_tables<A: Statements>(
    runner: &Runner<'_, A>,
    request: &CheckRequest,
) -> Option<Vec<ForeignTable>> {
    if request.schemas.is_empty() {
        return None;
    }
    let rows = runner.query("check/owners", probe::foreign_tables(&request.schemas)).await;
    let rows = rows.inspect_err(|error| tracing::warn!(%error, "who owns tables can't be asked")).ok()?;
    let text = |cell: Option<&Cell>| cell.and_then(Cell::text).unwrap_or_default().to_owned();
    let table = |row: &Vec<Cell>| ForeignTable {
        schema: text(row.first()),
        name: text(row.get(1)),
        owner: text(row.get(2)),
    };
    Some(rows.iter().map(table).collect())
}

/// What a part of the probe stands for.
fn told(purpose: Purpose) -> Option<(&'static str, &'static str)> {
    Some(match purpose {
        Purpose::CreateSchema => {
            ("Redshift: CREATE on the database", "the schema re_dms is there or can be made")
        }
        Purpose::CreateStage => ("Redshift: CREATE in re_dms", "tables can be made"),
        Purpose::Copy => ("Redshift: COPY", "its role reads the bucket"),
        Purpose::CountRows => ("Redshift: rows", "all rows of the probe arrived"),
        _ => return None,
    })
}

fn failed(item: &str, error: &LoadError) -> Finding {
    Finding::error(item, error.to_string(), error.hint())
}

fn first_row<const N: usize>(rows: Result<Vec<Vec<Cell>>, LoadError>) -> Result<[String; N], LoadError> {
    let row = rows?.into_iter().next().unwrap_or_default();
    let text = |number: usize| row.get(number).and_then(Cell::text).unwrap_or("(no answer)").to_owned();
    Ok(std::array::from_fn(text))
}
