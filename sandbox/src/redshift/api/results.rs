//! GetStatementResult and GetStatementResultV2, in pages. Each is only for statements that asked for its form.

use serde_json::{Value, json};

use super::describe::find_and_wait;
use super::error::ApiError;
use crate::redshift::StandIn;
use crate::redshift::statements::Status;

/// Rows of one page.
const PAGE_ROWS: usize = 1000;

/// What rows are sent as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// GetStatementResult.
    Json,
    /// GetStatementResultV2.
    Csv,
}

/// The rows of a statement, or of one of a batch's.
pub(super) async fn get(stand_in: &StandIn, mut body: Value, form: Form) -> Result<Value, ApiError> {
    let id = body.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let token = body.as_object_mut().and_then(|members| members.remove("NextToken"));
    let start = start(token.as_ref())?;
    let (statement, sub) = find_and_wait(stand_in, body).await?;
    if statement.request.csv != (form == Form::Csv) {
        let format = statement.request.result_format();
        return Err(ApiError::validation(format!(
            "The statement was run with ResultFormat {format}: get its result by the operation for that format"
        )));
    }
    let state = statement.snapshot();
    let none = || {
        ApiError::not_found(
            "Query does not have result. Please check query status with DescribeStatement.",
            &id,
        )
    };
    if statement.request.batch && sub.is_none() {
        return Err(none());
    }
    let sub = state.subs.get(sub.unwrap_or(0)).ok_or_else(none)?;
    // In a transaction nothing has a result before its end.
    let ended = state.status.is_terminal() && sub.status == Status::Finished;
    let result = sub.result.as_ref().filter(|_| ended).ok_or_else(none)?;
    let next = result.rows.len().min(start.saturating_add(PAGE_ROWS));
    let mut answer = match form {
        Form::Json => json!({ "Records": result.records(start, PAGE_ROWS) }),
        Form::Csv => {
            json!({ "Records": [{ "CSVRecords": result.csv(start, PAGE_ROWS) }], "ResultFormat": "CSV" })
        }
    };
    answer["ColumnMetadata"] = json!(result.metadata());
    answer["TotalNumRows"] = json!(result.rows.len());
    if let (true, Some(members)) = (next < result.rows.len(), answer.as_object_mut()) {
        members.insert("NextToken".to_owned(), json!(next.to_string()));
    }
    Ok(answer)
}

/// A token is the number of the first row that was not sent yet.
fn start(token: Option<&Value>) -> Result<usize, ApiError> {
    match token {
        None | Some(Value::Null) => Ok(0),
        Some(token) => token
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ApiError::validation("NextToken is invalid")),
    }
}
