//! The operations' inputs, member by member as in the service's model. A member that is not known here is refused: the caller
//! expects something of it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;

/// ExecuteStatement and BatchExecuteStatement, which share all but the texts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(super) struct Submission {
    /// ExecuteStatement.
    pub(super) sql: Option<String>,
    /// BatchExecuteStatement.
    pub(super) sqls: Option<Vec<String>>,
    /// BatchExecuteStatement.
    pub(super) execution_mode: Option<String>,
    pub(super) database: Option<String>,
    pub(super) cluster_identifier: Option<String>,
    pub(super) workgroup_name: Option<String>,
    pub(super) secret_arn: Option<String>,
    pub(super) db_user: Option<String>,
    pub(super) parameters: Option<Vec<Parameter>>,
    pub(super) statement_name: Option<String>,
    /// Events are not sent.
    #[serde(rename = "WithEvent")]
    pub(super) _with_event: Option<bool>,
    pub(super) client_token: Option<String>,
    pub(super) result_format: Option<String>,
    pub(super) session_keep_alive_seconds: Option<u64>,
    pub(super) session_id: Option<String>,
    pub(super) wait_time_seconds: Option<u64>,
}

/// `:name` and its value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
}

/// DescribeStatement, CancelStatement, GetStatementResult.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ById {
    pub(super) id: String,
    pub(super) wait_time_seconds: Option<u64>,
    pub(super) next_token: Option<String>,
}

/// ListStatements and ListSessions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(super) struct Listing {
    pub(super) next_token: Option<String>,
    pub(super) max_results: Option<u64>,
    pub(super) statement_name: Option<String>,
    pub(super) status: Option<String>,
    /// Every caller has the same role here.
    #[serde(rename = "RoleLevel")]
    pub(super) _role_level: Option<bool>,
    pub(super) session_id: Option<String>,
    pub(super) database: Option<String>,
    pub(super) cluster_identifier: Option<String>,
    pub(super) workgroup_name: Option<String>,
}

/// Reads an operation's input.
pub(super) fn input<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body).map_err(|error| ApiError::validation(error.to_string()))
}
