//! [`Statements`] over AWS's SDK. Nothing else here knows its types.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::config::http::HttpResponse;
use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_redshiftdata::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::operation::execute_statement::ExecuteStatementOutput;
use aws_sdk_redshiftdata::primitives::DateTime;
use aws_sdk_redshiftdata::types::{Field, StatementStatusString, StatusString, SubStatementData};

use crate::config::{Identity, Location, Warehouse};
use crate::error::with_causes;
use crate::statements::{
    ApiError, ApiErrorKind, Cell, Description, Part, PartStatus, Sql, Statements, Status, Submission,
    Submitted,
};

/// The Data API of one database.
#[derive(Clone, Debug)]
pub struct DataApi {
    client: Client,
    warehouse: Warehouse,
}

impl DataApi {
    /// Statements go to `warehouse`.
    #[must_use]
    pub fn new(client: Client, warehouse: Warehouse) -> Self {
        Self { client, warehouse }
    }
}

/// Puts the database, where it is and who connects into a request: the builders share no trait.
macro_rules! addressed {
    ($request:expr, $warehouse:expr) => {{
        let request = $request.database(&$warehouse.database);
        let request = match &$warehouse.location {
            Location::Workgroup(name) => request.workgroup_name(name),
            Location::Cluster(name) => request.cluster_identifier(name),
        };
        match &$warehouse.identity {
            Identity::Iam => request,
            Identity::DbUser(user) => request.db_user(user),
            Identity::Secret(arn) => request.secret_arn(arn),
        }
    }};
}

impl Statements for DataApi {
    async fn submit(&self, submission: &Submission, wait: Duration) -> Result<Submitted, ApiError> {
        let Submission { sql, name, token } = submission;
        let execute = || {
            let request = self.client.execute_statement().statement_name(name);
            request.set_client_token(token.clone()).wait_time_seconds(seconds(wait))
        };
        let request = match sql {
            Sql::Batch(statements) => {
                let request = self.client.batch_execute_statement().statement_name(name);
                let request = request.set_client_token(token.clone()).wait_time_seconds(seconds(wait));
                let request = addressed!(request, self.warehouse).set_sqls(Some(statements.clone()));
                let answer =
                    request.send().await.map_err(|error| api_error("BatchExecuteStatement", &error))?;
                return submitted_batch(answer);
            }
            Sql::Alone(sql) => addressed!(execute(), self.warehouse).sql(sql),
            Sql::OpenSession(sql, keep) => {
                addressed!(execute(), self.warehouse).sql(sql).session_keep_alive_seconds(seconds(*keep))
            }
            // A session knows where it is and who opened it.
            Sql::InSession(sql, session) => execute().sql(sql).session_id(session),
        };
        let answer = request.send().await.map_err(|error| api_error("ExecuteStatement", &error))?;
        submitted_alone(answer)
    }

    async fn describe(&self, id: &str, wait: Duration) -> Result<Description, ApiError> {
        let request = self.client.describe_statement().id(id);
        let request = if wait.is_zero() { request } else { request.wait_time_seconds(seconds(wait)) };
        let answer = request.send().await.map_err(|error| api_error("DescribeStatement", &error))?;
        Ok(description(answer))
    }

    async fn rows(&self, id: &str) -> Result<Vec<Vec<Cell>>, ApiError> {
        let mut rows = Vec::new();
        let mut pages = self.client.get_statement_result().id(id).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| api_error("GetStatementResult", &error))?;
            rows.extend(page.records.into_iter().map(|row| row.into_iter().map(cell).collect()));
        }
        Ok(rows)
    }
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

fn submitted_alone(answer: ExecuteStatementOutput) -> Result<Submitted, ApiError> {
    submitted(answer.id, answer.status.as_ref(), answer.session_id, answer.created_at)
}

fn submitted_batch(answer: BatchExecuteStatementOutput) -> Result<Submitted, ApiError> {
    submitted(answer.id, answer.status.as_ref(), answer.session_id, answer.created_at)
}

fn submitted(
    id: Option<String>,
    status: Option<&StatementStatusString>,
    session: Option<String>,
    created_at: Option<DateTime>,
) -> Result<Submitted, ApiError> {
    let status = match status {
        Some(StatementStatusString::Finished) => Status::Finished,
        Some(StatementStatusString::Failed | StatementStatusString::Aborted) => Status::Failed,
        _ => Status::Running,
    };
    let without_id = || ApiError {
        operation: "ExecuteStatement",
        message: "the answer has no statement id".to_owned(),
        kind: ApiErrorKind::Unclear,
    };
    Ok(Submitted { id: id.ok_or_else(without_id)?, status, session, created_at: time(created_at) })
}

fn description(answer: DescribeStatementOutput) -> Description {
    let status = match answer.status {
        Some(StatusString::Finished) => Status::Finished,
        Some(StatusString::Failed | StatusString::Aborted) => Status::Failed,
        _ => Status::Running,
    };
    let parts = answer.sub_statements.unwrap_or_default().into_iter().map(part).collect();
    let created_at = time(answer.created_at);
    let submitted = Submitted { id: answer.id, status, session: answer.session_id, created_at };
    Description { submitted, error: answer.error, parts }
}

fn part(part: SubStatementData) -> Part {
    let failed = matches!(part.status, Some(aws_sdk_redshiftdata::types::StatementStatusString::Failed));
    let status = if failed { PartStatus::Failed } else { PartStatus::Other };
    let duration = u64::try_from(part.duration).ok().map(Duration::from_nanos);
    Part { status, error: part.error, rows: u64::try_from(part.result_rows).ok(), duration }
}

/// The API always tells the time; without one a statement counts as old, and is never taken for this invocation's.
fn time(time: Option<DateTime>) -> SystemTime {
    let millis = time.and_then(|time| time.to_millis().ok()).and_then(|millis| u64::try_from(millis).ok());
    UNIX_EPOCH + Duration::from_millis(millis.unwrap_or_default())
}

fn cell(field: Field) -> Cell {
    match field {
        Field::LongValue(number) => Cell::Number(number),
        Field::StringValue(text) => Cell::Text(text),
        Field::BooleanValue(value) => Cell::Text(value.to_string()),
        Field::DoubleValue(value) => Cell::Text(value.to_string()),
        _ => Cell::Null,
    }
}

fn api_error<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> ApiError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let kind = match (error, code) {
        (SdkError::ConstructionFailure(_), _) => ApiErrorKind::Refused,
        (_, Some(code)) if is_busy(code) => ApiErrorKind::Busy,
        (_, Some("ResourceNotFoundException")) => ApiErrorKind::Gone,
        (SdkError::ServiceError(service), _) if service.raw().status().is_server_error() => {
            ApiErrorKind::Unclear
        }
        (SdkError::ServiceError(_), _) => ApiErrorKind::Refused,
        // No answer, or one that broke off.
        _ => ApiErrorKind::Unclear,
    };
    let message = match error.as_service_error().and_then(ProvideErrorMetadata::message) {
        Some(message) => {
            format!("{}: {}", code.unwrap_or("error"), crate::sql_error::without_values(message))
        }
        None => with_causes(error),
    };
    ApiError { operation, message, kind }
}

fn is_busy(code: &str) -> bool {
    code.starts_with("Throttl")
        || code.starts_with("TooManyRequests")
        || matches!(
            code,
            "ActiveStatementsExceededException"
                | "ActiveSessionsExceededException"
                | "ActiveWaitingRequestsExceededException"
        )
}
