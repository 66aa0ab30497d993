//! ListStatements and ListSessions.

use serde_json::{Map, Value, json};

use super::describe::epoch_seconds;
use super::error::ApiError;
use super::page::page;
use super::requests::{Listing, input};
use crate::redshift::statements::Statement;
use crate::redshift::{StandIn, lock};

const MAX_RESULTS: u64 = 100;
const STATUSES: [&str; 7] = ["SUBMITTED", "PICKED", "STARTED", "FINISHED", "FAILED", "ABORTED", "ALL"];

impl Listing {
    fn page(&self, member: &str, found: Vec<Value>) -> Result<Value, ApiError> {
        page(member, found, (self.max_results, MAX_RESULTS), self.next_token.as_deref())
    }
}

/// Statements, newest first; by default those that have finished.
pub(super) fn statements(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    let listing: Listing = input(body)?;
    let status = listing.status.as_deref().unwrap_or("FINISHED");
    if !STATUSES.contains(&status) {
        return Err(ApiError::validation(format!("Status {status} is unknown")));
    }
    let selector = |statement: &Statement, name: &str, wanted: Option<&String>| {
        let given =
            statement.request.selectors.iter().find(|(given, _)| *given == name).map(|(_, value)| value);
        wanted.is_none_or(|wanted| given == Some(wanted))
    };
    let wanted = |statement: &Statement| {
        let request = &statement.request;
        let prefix = listing.statement_name.as_deref();
        (status == "ALL" || statement.state.borrow().status.name() == status)
            && prefix
                .is_none_or(|prefix| request.name.as_deref().is_some_and(|name| name.starts_with(prefix)))
            && listing.database.as_ref().is_none_or(|database| *database == request.database)
            && selector(statement, "ClusterIdentifier", listing.cluster_identifier.as_ref())
            && selector(statement, "WorkgroupName", listing.workgroup_name.as_ref())
    };
    let known = lock(&stand_in.statements);
    let found: Vec<Value> =
        known.newest_first().filter(|statement| wanted(statement)).map(|s| summary(s)).collect();
    listing.page("Statements", found)
}

fn summary(statement: &Statement) -> Value {
    let state = statement.snapshot();
    let request = &statement.request;
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("Id", json!(statement.id));
    put("Status", json!(state.status.name()));
    put("CreatedAt", epoch_seconds(statement.created_at));
    put("UpdatedAt", epoch_seconds(state.updated_at));
    put("IsBatchStatement", json!(request.batch));
    put("ResultFormat", json!(request.result_format()));
    if request.batch {
        put("QueryStrings", json!(request.sqls));
    } else {
        put("QueryString", json!(request.sqls.first()));
    }
    if let Some(name) = &request.name {
        put("StatementName", json!(name));
    }
    if let Some(session) = &request.session {
        put("SessionId", json!(session));
    }
    Value::Object(members)
}

/// Sessions that are open.
pub(super) fn sessions(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    let listing: Listing = input(body)?;
    let mut sessions = stand_in.sessions.list();
    sessions.sort_by_key(|session| std::cmp::Reverse(session.created_at));
    let status = |busy: bool| if busy { "BUSY" } else { "AVAILABLE" };
    let found = sessions
        .iter()
        .filter(|session| listing.status.as_deref().is_none_or(|wanted| wanted == status(session.busy)))
        .filter(|session| listing.session_id.as_ref().is_none_or(|wanted| *wanted == session.id))
        .map(|session| {
            json!({
                "SessionId": session.id,
                "Status": status(session.busy),
                "CreatedAt": epoch_seconds(session.created_at),
                "UpdatedAt": epoch_seconds(session.updated_at),
                "SessionAliveSeconds": session.keep_alive.as_secs(),
                "Database": session.database,
            })
        })
        .collect();
    listing.page("Sessions", found)
}
