//! What the service checks before it takes a statement (`redshift.md`, 5.2 and 8.22). Where the documents leave a
//! combination open the narrower reading holds.

use std::collections::BTreeSet;

use super::error::ApiError;
use super::requests::{Parameter, Submission};
use crate::redshift::sql::{self, Kind};

const MAX_SQLS: usize = 40;
/// The documents say 100 KB, newer ones 200.
const MAX_SQL_BYTES: usize = 100 * 1024;

/// Checks everything that needs no state.
pub(super) fn check(submission: &Submission, batch: bool) -> Result<(), ApiError> {
    check_texts(submission, batch)?;
    check_selectors(submission)?;
    let length = |name: &str, value: Option<&String>, max: usize| match value {
        Some(value) if value.is_empty() || value.len() > max => {
            Err(ApiError::validation(format!("{name} must have 1 to {max} characters")))
        }
        _ => Ok(()),
    };
    length("ClientToken", submission.client_token.as_ref(), 64)?;
    if submission.statement_name.as_ref().is_some_and(|name| name.len() > 2048) {
        return Err(ApiError::validation("StatementName must have at most 2048 characters"));
    }
    if let Some(other) =
        submission.result_format.as_deref().filter(|format| !["JSON", "CSV"].contains(format))
    {
        return Err(ApiError::validation(format!("ResultFormat {other} is none of JSON, CSV")));
    }
    if submission.session_keep_alive_seconds.is_some_and(|seconds| seconds > 86_400) {
        return Err(ApiError::validation("SessionKeepAliveSeconds must be between 0 and 86400"));
    }
    check_wait(submission.wait_time_seconds)?;
    check_parameters(submission, batch)
}

/// `WaitTimeSeconds`
pub(super) fn check_wait(seconds: Option<u64>) -> Result<(), ApiError> {
    match seconds {
        None | Some(1..=30) => Ok(()),
        Some(_) => Err(ApiError::validation("WaitTimeSeconds must be between 1 and 30")),
    }
}

fn check_texts(submission: &Submission, batch: bool) -> Result<(), ApiError> {
    let texts = texts(submission, batch)?;
    if !(1..=MAX_SQLS).contains(&texts.len()) {
        return Err(ApiError::validation(format!("Sqls must have 1 to {MAX_SQLS} members")));
    }
    for text in texts {
        if text.trim().is_empty() {
            return Err(ApiError::validation("A SQL statement must not be empty"));
        }
        if text.len() > MAX_SQL_BYTES {
            return Err(ApiError::validation("A SQL statement must not be longer than 100 KB"));
        }
    }
    match submission.execution_mode.as_deref() {
        Some(_) if !batch => Err(ApiError::validation("ExecutionMode belongs to BatchExecuteStatement")),
        None | Some("TRANSACTION" | "AUTO_COMMIT") => Ok(()),
        Some(other) => {
            Err(ApiError::validation(format!("ExecutionMode {other} is none of TRANSACTION, AUTO_COMMIT")))
        }
    }
}

/// `Sql` or `Sqls`, whichever the operation has.
pub(super) fn texts(submission: &Submission, batch: bool) -> Result<&[String], ApiError> {
    match (batch, &submission.sql, &submission.sqls) {
        (false, Some(sql), None) => Ok(std::slice::from_ref(sql)),
        (true, None, Some(sqls)) => Ok(sqls),
        (false, ..) => Err(ApiError::validation("ExecuteStatement needs Sql")),
        (true, ..) => Err(ApiError::validation("BatchExecuteStatement needs Sqls")),
    }
}

/// Which warehouse, which database, as whom.
pub(super) fn check_selectors(submission: &Submission) -> Result<(), ApiError> {
    let Submission { cluster_identifier, workgroup_name, secret_arn, db_user, database, session_id, .. } =
        submission;
    if session_id.is_some() {
        let any = [cluster_identifier, workgroup_name, secret_arn, db_user, database];
        if any.into_iter().any(Option::is_some) {
            return Err(ApiError::validation(
                "SessionId must not come with Database, ClusterIdentifier, WorkgroupName, SecretArn or DbUser",
            ));
        }
        return Ok(());
    }
    match (cluster_identifier, workgroup_name) {
        (Some(cluster), None) if is_cluster(cluster) => {}
        (None, Some(workgroup)) if is_workgroup(workgroup) => {}
        (Some(_), None) => return Err(ApiError::validation("ClusterIdentifier is malformed")),
        (None, Some(_)) => return Err(ApiError::validation("WorkgroupName is malformed")),
        (Some(_), Some(_)) => {
            return Err(ApiError::validation("Specify either ClusterIdentifier or WorkgroupName, not both"));
        }
        (None, None) => {
            return Err(ApiError::validation("Either ClusterIdentifier or WorkgroupName must be specified"));
        }
    }
    if db_user.is_some() && secret_arn.is_some() {
        return Err(ApiError::validation("Specify either SecretArn or DbUser, not both"));
    }
    if db_user.is_some() && workgroup_name.is_some() {
        return Err(ApiError::validation("DbUser must not come with WorkgroupName"));
    }
    if secret_arn.as_ref().is_some_and(|arn| !arn.starts_with("arn:")) {
        return Err(ApiError::validation("SecretArn is malformed"));
    }
    match database {
        Some(database) if !database.is_empty() => Ok(()),
        _ => Err(ApiError::validation("Database must be specified")),
    }
}

/// `[a-z][a-z0-9]*(-[a-z0-9]+)*`, at most 63.
fn is_cluster(name: &str) -> bool {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(plain)
}

/// A name or an ARN.
fn is_workgroup(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    name.len() >= 3 && name.len() <= 128 && (plain || name.starts_with("arn:aws"))
}

fn check_parameters(submission: &Submission, batch: bool) -> Result<(), ApiError> {
    let Some(parameters) = &submission.parameters else { return Ok(()) };
    if parameters.is_empty() {
        return Err(ApiError::validation("Parameters must have at least 1 member"));
    }
    let values = values(parameters);
    let mut used = BTreeSet::new();
    for text in texts(submission, batch)? {
        // A text that is not even tokens fails when it is run.
        if let Ok(mut tokens) = sql::tokens(text) {
            used.extend(sql::bind(&mut tokens, &values));
        }
    }
    for (position, Parameter { name, value }) in parameters.iter().enumerate() {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain {
            return Err(ApiError::validation("A parameter's name must match [0-9a-zA-Z_]+"));
        }
        if value.is_empty() {
            return Err(ApiError::validation(format!(
                "The value of parameter {name} must have at least 1 character"
            )));
        }
        if parameters.iter().take(position).any(|earlier| earlier.name == *name) {
            return Err(ApiError::validation(format!("Parameter {name} is given twice")));
        }
        if !used.contains(name) {
            return Err(ApiError::validation(format!("Parameters list contains unused parameters: {name}")));
        }
    }
    Ok(())
}

/// Open point (l): a colon before a word, in a cast too, names a parameter, and that has no value.
pub(super) fn refuse_colons(submission: &Submission, batch: bool) -> Result<(), ApiError> {
    let is_colon = |token: &sql::Token| matches!(token.kind, Kind::Parameter(_) | Kind::Symbol("::"));
    for text in texts(submission, batch)? {
        if sql::tokens(text).is_ok_and(|tokens| tokens.iter().any(is_colon)) {
            return Err(ApiError::validation("Parameters are missing for a statement that names some"));
        }
    }
    Ok(())
}

/// Parameters as the binder wants them.
pub(super) fn values(parameters: &[Parameter]) -> Vec<(String, String)> {
    parameters.iter().map(|parameter| (parameter.name.clone(), parameter.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::redshift::api::requests::input;

    fn refused(changes: &serde_json::Value, batch: bool) -> Option<String> {
        let mut body = json!({"WorkgroupName": "wg-1", "Database": "d"});
        body[if batch { "Sqls" } else { "Sql" }] =
            if batch { json!(["SELECT 1"]) } else { json!("SELECT 1") };
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        let submission: Submission = match input(body) {
            Ok(submission) => submission,
            Err(error) => return Some(format!("{error:?}")),
        };
        check(&submission, batch).err().map(|error| format!("{error:?}"))
    }

    #[test]
    fn a_plain_request_passes() {
        assert_eq!(refused(&json!({}), false), None);
        assert_eq!(refused(&json!({"ExecutionMode": "AUTO_COMMIT", "ClientToken": "t"}), true), None);
        assert_eq!(
            refused(&json!({"WorkgroupName": null, "ClusterIdentifier": "c", "DbUser": "u"}), false),
            None
        );
    }

    #[test]
    fn everything_else_is_refused() {
        let cases = [
            (json!({"ClusterIdentifier": "c"}), false),
            (json!({"WorkgroupName": null}), false),
            (json!({"DbUser": "u"}), false),
            (json!({"Database": null}), false),
            (json!({"SessionId": "s"}), false),
            (json!({"Sql": " "}), false),
            (json!({"Sql": "x".repeat(MAX_SQL_BYTES + 1)}), false),
            (json!({"Sqls": []}), true),
            (json!({"Sqls": vec!["SELECT 1"; 41]}), true),
            (json!({"ExecutionMode": "TRANSACTION"}), false),
            (json!({"ExecutionMode": "MAYBE"}), true),
            (json!({"ClientToken": "x".repeat(65)}), false),
            (json!({"ResultFormat": "csv"}), false),
            (json!({"WaitTimeSeconds": 31}), false),
            (json!({"WaitTimeSeconds": 0}), false),
            (json!({"SessionKeepAliveSeconds": 86_401}), false),
            (json!({"Parameters": []}), false),
            (json!({"Sql": "SELECT :a", "Parameters": [{"name": "a", "value": ""}]}), false),
            (json!({"Parameters": [{"name": "a", "value": "1"}]}), false),
            (json!({"Sql": "SELECT ':a'", "Parameters": [{"name": "a", "value": "1"}]}), false),
            (json!({"Unknown": 1}), false),
        ];
        for (changes, batch) in cases {
            assert!(refused(&changes, batch).is_some(), "{changes} was taken");
        }
    }
}
