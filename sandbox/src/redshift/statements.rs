//! Statements that were handed in: their texts, how far they are, their results, and the client tokens that name them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::results::ResultSet;

/// How long things are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Results and descriptions.
    pub statement_seconds: u64,
    /// Which statement a client token names.
    pub token_seconds: u64,
}

/// Redshift's: 24 hours and 8.
impl Default for Memory {
    fn default() -> Self {
        Self { statement_seconds: 24 * 3600, token_seconds: 8 * 3600 }
    }
}

/// And at most this many, to bound memory.
const MAX_KEPT: usize = 5000;
/// Statements that may run or wait at a time.
const MAX_ACTIVE: usize = 500;

/// How far a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Submitted,
    Picked,
    Started,
    Finished,
    Failed,
    Aborted,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Picked => "PICKED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }

    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Aborted)
    }
}

/// What was handed in; never changes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) sqls: Vec<String>,
    pub(super) parameters: Vec<(String, String)>,
    /// By BatchExecuteStatement.
    pub(super) batch: bool,
    /// Results are asked for as CSV.
    pub(super) csv: bool,
    /// One transaction around all of it.
    pub(super) transaction: bool,
    pub(super) name: Option<String>,
    pub(super) session: Option<String>,
    pub(super) database: String,
    /// `ClusterIdentifier`, `WorkgroupName`, `DbUser`, `SecretArn`: echoed.
    pub(super) selectors: Vec<(&'static str, String)>,
}

impl Request {
    /// `ResultFormat`
    pub(super) fn result_format(&self) -> &'static str {
        if self.csv { "CSV" } else { "JSON" }
    }
}

/// One of a statement's SQL texts.
#[derive(Clone, Debug)]
pub(super) struct SubState {
    pub(super) status: Status,
    pub(super) error: Option<String>,
    /// Returned or changed; -1 for none.
    pub(super) rows: i64,
    pub(super) result: Option<Arc<ResultSet>>,
    pub(super) query_id: i64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) duration: Duration,
}

/// How far the whole is.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) error: Option<String>,
    pub(super) pid: i32,
    pub(super) updated_at: Timestamp,
    pub(super) duration: Duration,
    pub(super) subs: Vec<SubState>,
}

/// A statement.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) id: String,
    pub(super) created_at: Timestamp,
    pub(super) request: Request,
    pub(super) state: watch::Sender<State>,
    /// Notified by CancelStatement.
    pub(super) cancelled: Notify,
    submitted: Instant,
}

impl Statement {
    pub(super) fn new(request: Request) -> Arc<Self> {
        let now = Timestamp::now();
        let sub = SubState {
            status: Status::Submitted,
            error: None,
            rows: -1,
            result: None,
            query_id: 0,
            created_at: now,
            updated_at: now,
            duration: Duration::ZERO,
        };
        let state = State {
            status: Status::Submitted,
            error: None,
            pid: 0,
            updated_at: now,
            duration: Duration::ZERO,
            subs: vec![sub; request.sqls.len()],
        };
        Arc::new(Self {
            id: uuid::Uuid::new_v4().to_string(),
            created_at: now,
            request,
            state: watch::Sender::new(state),
            cancelled: Notify::new(),
            submitted: Instant::now(),
        })
    }

    /// Changes the state and tells those who wait.
    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            state.updated_at = Timestamp::now();
        });
    }

    /// Changes one text's state.
    pub(super) fn update_sub(&self, position: usize, change: impl FnOnce(&mut SubState)) {
        self.update(|state| {
            if let Some(sub) = state.subs.get_mut(position) {
                change(sub);
                sub.updated_at = Timestamp::now();
            }
        });
    }

    pub(super) fn snapshot(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until it has ended, or for so long.
    pub(super) async fn wait(&self, limit: Duration) {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.status.is_terminal());
        let _ = tokio::time::timeout(limit, ended).await;
    }
}

/// Why a statement is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// The token belongs to another request.
    TokenReused,
    /// Too many run already.
    TooMany,
}

/// All statements, newest last.
#[derive(Debug, Default)]
pub(super) struct Statements {
    list: VecDeque<Arc<Statement>>,
    tokens: HashMap<String, Token>,
    memory: Memory,
}

#[derive(Debug)]
struct Token {
    /// The request that it came with.
    body: Value,
    statement: Arc<Statement>,
}

impl Statements {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, ..Self::default() }
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Statement>> {
        let retention = Duration::from_secs(self.memory.statement_seconds);
        let found = self.newest_first().find(|statement| statement.id == id);
        found.filter(|statement| statement.submitted.elapsed() < retention).cloned()
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.list.iter().rev()
    }

    /// The statement that a token names already.
    pub(super) fn replay(
        &mut self,
        token: &str,
        body: &Value,
        whatever_the_body: bool,
    ) -> Result<Option<Arc<Statement>>, Rejected> {
        let life = Duration::from_secs(self.memory.token_seconds);
        self.tokens.retain(|_, token| token.statement.submitted.elapsed() < life);
        match self.tokens.get(token) {
            Some(known) if whatever_the_body || known.body == *body => Ok(Some(known.statement.clone())),
            Some(_) => Err(Rejected::TokenReused),
            None => Ok(None),
        }
    }

    /// Adds a statement, named by a token if there is one.
    pub(super) fn add(
        &mut self,
        statement: &Arc<Statement>,
        token: Option<String>,
        body: Value,
    ) -> Result<(), Rejected> {
        let retention = Duration::from_secs(self.memory.statement_seconds);
        while self.list.len() >= MAX_KEPT
            || self.list.front().is_some_and(|oldest| oldest.submitted.elapsed() > retention)
        {
            self.list.pop_front();
        }
        let active = self.list.iter().filter(|known| !known.state.borrow().status.is_terminal()).count();
        if active >= MAX_ACTIVE {
            return Err(Rejected::TooMany);
        }
        self.list.push_back(statement.clone());
        if let Some(token) = token {
            self.tokens.insert(token, Token { body, statement: statement.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statement() -> Arc<Statement> {
        Statement::new(Request {
            sqls: vec!["SELECT 1".into()],
            parameters: Vec::new(),
            batch: false,
            csv: false,
            transaction: false,
            name: None,
            session: None,
            database: "d".into(),
            selectors: Vec::new(),
        })
    }

    #[test]
    fn a_token_names_one_request() {
        let mut statements = Statements::default();
        let first = statement();
        statements.add(&first, Some("t".into()), json!({"Sql": "a"})).unwrap();
        let replayed = statements.replay("t", &json!({"Sql": "a"}), false).unwrap();
        assert_eq!(replayed.map(|statement| statement.id.clone()), Some(first.id.clone()));
        assert_eq!(statements.replay("t", &json!({"Sql": "b"}), false).unwrap_err(), Rejected::TokenReused);
        assert!(statements.replay("u", &json!({"Sql": "a"}), false).unwrap().is_none());
    }

    #[test]
    fn active_statements_are_limited() {
        let mut statements = Statements::default();
        for _ in 0..MAX_ACTIVE {
            statements.add(&statement(), None, Value::Null).unwrap();
        }
        assert_eq!(statements.add(&statement(), None, Value::Null), Err(Rejected::TooMany));
        statements.newest_first().for_each(|known| known.update(|state| state.status = Status::Finished));
        assert_eq!(statements.add(&statement(), None, Value::Null), Ok(()));
    }
}
