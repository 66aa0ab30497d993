//! DescribeStatement and CancelStatement, and finding a statement by `id` or `id:n`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::requests::{ById, input};
use super::validation::check_wait;
use crate::redshift::statements::{State, Statement, SubState};
use crate::redshift::{StandIn, lock};

/// Describes a statement, or one of a batch's: then it is the parent with only that one.
pub(super) async fn describe(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    let (statement, sub) = find_and_wait(stand_in, body).await?;
    Ok(description(&statement, &statement.snapshot(), sub))
}

/// Finds the statement of a request and waits for it as long as the request wants. The number is a sub-statement's position.
pub(super) async fn find_and_wait(
    stand_in: &StandIn,
    body: Value,
) -> Result<(Arc<Statement>, Option<usize>), ApiError> {
    let ById { id, wait_time_seconds, next_token } = input(body)?;
    check_wait(wait_time_seconds)?;
    if next_token.is_some() {
        return Err(ApiError::validation("NextToken is invalid"));
    }
    let (statement, sub) = find(stand_in, &id)?;
    if let Some(seconds) = wait_time_seconds {
        statement.wait(Duration::from_secs(seconds)).await;
    }
    Ok((statement, sub))
}

fn find(stand_in: &StandIn, id: &str) -> Result<(Arc<Statement>, Option<usize>), ApiError> {
    let (parent, number) = match id.split_once(':') {
        Some((parent, number)) => (parent, Some(number)),
        None => (id, None),
    };
    if uuid::Uuid::try_parse(parent).is_err() || parent.len() != 36 {
        return Err(ApiError::validation(
            "id must satisfy regex pattern: [a-z0-9]{8}(-[a-z0-9]{4}){3}-[a-z0-9]{12}(:\\d{0,2})?",
        ));
    }
    let missing = || ApiError::not_found("Query does not exist.", id);
    let statement = lock(&stand_in.statements).find(parent).ok_or_else(missing)?;
    let Some(number) = number else { return Ok((statement, None)) };
    let number: usize = number.parse().map_err(|_| ApiError::validation("id is malformed"))?;
    let exists = statement.request.batch && (1..=statement.request.sqls.len()).contains(&number);
    if exists { Ok((statement, Some(number - 1))) } else { Err(missing()) }
}

fn description(statement: &Statement, state: &State, only: Option<usize>) -> Value {
    let request = &statement.request;
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("Id", json!(statement.id));
    put("Status", json!(state.status.name()));
    put("CreatedAt", epoch_seconds(statement.created_at));
    put("UpdatedAt", epoch_seconds(state.updated_at));
    put("Duration", nanoseconds(state.duration));
    put("RedshiftPid", json!(state.pid));
    put(
        "RedshiftQueryId",
        json!(state.subs.first().filter(|_| !request.batch).map_or(0, |sub| sub.query_id)),
    );
    put("HasResultSet", json!(state.subs.iter().any(|sub| sub.result.is_some())));
    put("ResultRows", json!(total_rows(&state.subs)));
    put("ResultSize", json!(state.subs.iter().map(result_size).sum::<usize>()));
    put("Database", json!(request.database));
    put("ResultFormat", json!(request.result_format()));
    if let Some(error) = &state.error {
        put("Error", json!(error));
    }
    for (name, value) in &request.selectors {
        put(name, json!(value));
    }
    if let Some(session) = &request.session {
        put("SessionId", json!(session));
    }
    if !request.parameters.is_empty() {
        let parameter = |(name, value): &(String, String)| json!({"name": name, "value": value});
        put("QueryParameters", request.parameters.iter().map(parameter).collect());
    }
    if request.batch {
        put("ExecutionMode", json!(if request.transaction { "TRANSACTION" } else { "AUTO_COMMIT" }));
        let subs = state.subs.iter().zip(&request.sqls).enumerate();
        let wanted = subs.filter(|(position, _)| only.is_none_or(|only| only == *position));
        let subs: Vec<Value> =
            wanted.map(|(position, (sub, sql))| sub_description(statement, position, sub, sql)).collect();
        put("SubStatements", Value::Array(subs));
    } else {
        put("QueryString", json!(request.sqls.first()));
    }
    Value::Object(members)
}

fn sub_description(statement: &Statement, position: usize, sub: &SubState, sql: &str) -> Value {
    let mut value = json!({
        "Id": format!("{}:{}", statement.id, position + 1),
        "Status": sub.status.name(),
        "Duration": nanoseconds(sub.duration),
        "ResultRows": sub.rows,
        "ResultSize": result_size(sub),
        "HasResultSet": sub.result.is_some(),
        "QueryString": sql,
        "RedshiftQueryId": sub.query_id,
        "CreatedAt": epoch_seconds(sub.created_at),
        "UpdatedAt": epoch_seconds(sub.updated_at),
    });
    if let (Some(error), Some(members)) = (&sub.error, value.as_object_mut()) {
        members.insert("Error".to_owned(), json!(error));
    }
    value
}

/// Rows of all texts that have some; -1 if none has.
fn total_rows(subs: &[SubState]) -> i64 {
    subs.iter().map(|sub| sub.rows).filter(|rows| *rows >= 0).reduce(|a, b| a + b).unwrap_or(-1)
}

fn result_size(sub: &SubState) -> usize {
    sub.result.as_ref().map_or(0, |result| result.bytes)
}

fn nanoseconds(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Seconds since 1970 with milliseconds, as the protocol wants times.
pub(super) fn epoch_seconds(at: Timestamp) -> Value {
    let milliseconds = u32::try_from(at.subsec_millisecond()).unwrap_or(0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 fit a double for longer than Redshift will last"
    )]
    let seconds = at.as_second() as f64;
    json!(seconds + f64::from(milliseconds) / 1000.0)
}

/// Stops a statement that has not ended.
pub(super) fn cancel(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    let ById { id, .. } = input(body)?;
    if id.contains(':') {
        return Err(ApiError::validation("A sub-statement can't be cancelled"));
    }
    let (statement, _) = find(stand_in, &id)?;
    let status = statement.state.borrow().status;
    if status.is_terminal() {
        return Err(ApiError::validation(format!(
            "Could not cancel a query that is already in {} state",
            status.name()
        )));
    }
    statement.cancelled.notify_one();
    Ok(json!({"Status": true}))
}
