//! ExecuteStatement and BatchExecuteStatement: take a statement, unless its token names one already, and start it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::describe::epoch_seconds;
use super::error::ApiError;
use super::requests::{Submission, input};
use super::validation;
use crate::redshift::faults::RequestFault;
use crate::redshift::sessions::SessionError;
use crate::redshift::statements::{Rejected, Request, Statement};
use crate::redshift::{StandIn, lock, runner};

/// Takes a statement; the answer waits for its end as long as the caller wants.
pub(super) async fn submit(stand_in: &Arc<StandIn>, body: Value, batch: bool) -> Result<Value, ApiError> {
    let submission: Submission = input(body.clone())?;
    validation::check(&submission, batch)?;
    if stand_in.settings().open_points.colons_are_parameters && submission.parameters.is_none() {
        validation::refuse_colons(&submission, batch)?;
    }
    match stand_in.faults.refuse_request() {
        None => {}
        Some(RequestFault::InternalError) => {
            return Err(ApiError::Internal("Internal server error".to_owned()));
        }
        Some(RequestFault::ActiveStatements) => return Err(ApiError::ActiveStatementsExceeded),
        Some(RequestFault::ActiveSessions) => return Err(ApiError::ActiveSessionsExceeded),
        Some(RequestFault::DatabaseConnection) => return Err(ApiError::DatabaseConnection),
    }
    let wait = submission.wait_time_seconds;
    let statement = take(stand_in, submission, body, batch)?;
    if let Some(seconds) = wait {
        statement.wait(Duration::from_secs(seconds)).await;
    }
    Ok(answer(&statement, wait.is_some()))
}

fn take(
    stand_in: &Arc<StandIn>,
    submission: Submission,
    mut body: Value,
    batch: bool,
) -> Result<Arc<Statement>, ApiError> {
    // The token names the request: all of it but the token itself.
    if let Some(members) = body.as_object_mut() {
        members.remove("ClientToken");
        members.insert("Operation".to_owned(), json!(batch));
    }
    let replay_any = stand_in.settings().open_points.reused_tokens_replay;
    let mut statements = lock(&stand_in.statements);
    if let Some(token) = &submission.client_token
        && let Some(known) =
            statements.replay(token, &body, replay_any).map_err(|rejected| refusal(&rejected))?
    {
        tracing::info!(id = known.id, "a client token was sent again");
        return Ok(known);
    }
    let (session, database) = session(stand_in, &submission)?;
    let token = submission.client_token.clone();
    let statement = Statement::new(request(submission, batch, session.clone(), database)?);
    if let Err(rejected) = statements.add(&statement, token, body) {
        if let Some(id) = session {
            stand_in.sessions.give_back(&id, None);
        }
        return Err(refusal(&rejected));
    }
    tokio::spawn(runner::run(stand_in.clone(), statement.clone()));
    Ok(statement)
}

fn refusal(rejected: &Rejected) -> ApiError {
    match rejected {
        Rejected::TooMany => ApiError::ActiveStatementsExceeded,
        Rejected::TokenReused => {
            ApiError::validation("The ClientToken was used for a request with other members before")
        }
    }
}

/// The session to run in, if any, and the database.
fn session(stand_in: &StandIn, submission: &Submission) -> Result<(Option<String>, String), ApiError> {
    let keep_alive = submission.session_keep_alive_seconds.map(Duration::from_secs);
    let refused = |error: &SessionError, id: &str| match error {
        SessionError::Unknown => {
            ApiError::not_found(format!("Session {id} does not exist or has expired"), id)
        }
        SessionError::Busy => ApiError::validation(format!("Session {id} is busy with another statement")),
        SessionError::TooMany => ApiError::ActiveSessionsExceeded,
    };
    if let Some(id) = &submission.session_id {
        let database = stand_in.sessions.reserve(id, keep_alive).map_err(|error| refused(&error, id))?;
        return Ok((Some(id.clone()), database));
    }
    let database = submission.database.clone().unwrap_or_default();
    if database != stand_in.warehouse.database() {
        return Err(ApiError::validation(format!(
            "Database {database} does not exist; the stand-in has {} only",
            stand_in.warehouse.database()
        )));
    }
    match keep_alive {
        Some(keep_alive) if !keep_alive.is_zero() => {
            let id = stand_in.sessions.open(keep_alive, &database).map_err(|error| refused(&error, ""))?;
            Ok((Some(id), database))
        }
        _ => Ok((None, database)),
    }
}

fn request(
    submission: Submission,
    batch: bool,
    session: Option<String>,
    database: String,
) -> Result<Request, ApiError> {
    let sqls = validation::texts(&submission, batch)?.to_vec();
    let selectors = [
        ("ClusterIdentifier", submission.cluster_identifier),
        ("WorkgroupName", submission.workgroup_name),
        ("SecretArn", submission.secret_arn),
        ("DbUser", submission.db_user),
    ];
    Ok(Request {
        sqls,
        parameters: validation::values(submission.parameters.as_deref().unwrap_or_default()),
        batch,
        csv: submission.result_format.as_deref() == Some("CSV"),
        transaction: batch && submission.execution_mode.as_deref() != Some("AUTO_COMMIT"),
        name: submission.statement_name,
        session,
        database,
        selectors: selectors
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect(),
    })
}

fn answer(statement: &Statement, waited: bool) -> Value {
    let mut members = Map::new();
    members.insert("Id".to_owned(), json!(statement.id));
    members.insert("CreatedAt".to_owned(), epoch_seconds(statement.created_at));
    members.insert("Database".to_owned(), json!(statement.request.database));
    for (name, value) in &statement.request.selectors {
        members.insert((*name).to_owned(), json!(value));
    }
    if let Some(session) = &statement.request.session {
        members.insert("SessionId".to_owned(), json!(session));
    }
    if waited {
        let state = statement.snapshot();
        members.insert("Status".to_owned(), json!(state.status.name()));
        members.insert("RedshiftPid".to_owned(), json!(state.pid));
        members.insert("HasResultSet".to_owned(), json!(state.subs.iter().any(|sub| sub.result.is_some())));
    }
    Value::Object(members)
}
