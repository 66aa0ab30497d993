//! For tests: a Data API with nothing behind it but a ledger, and an S3 that is a map. Statements end as a script says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::LoadError;
use crate::objects::Objects;
use crate::statements::{
    ApiError, ApiErrorKind, Cell, Description, Part, PartStatus, Sql, Statements, Status, Submission,
    Submitted,
};

/// What befalls the next transaction or call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The first statement that contains the text fails with the error.
    Fail(&'static str, &'static str),
    /// The transaction is done, and called failed.
    FailAfterCommit(&'static str),
    /// The transaction goes on for as many questions.
    Slow(u32),
    /// The statement is taken, and its answer is lost.
    LoseAnswer,
    /// The call is refused for now.
    Throttle,
    /// Another loader commits the segment with this manifest first.
    Overtaken(u64, String),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) ledger: Option<Vec<(u64, String)>>,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) load_errors: Vec<Vec<Cell>>,
    pub(crate) ledger_locked: bool,
    pub(crate) transactions: u32,
    pub(crate) rolled_back: u32,
    statements: Vec<Statement>,
    uncommitted: Vec<(u64, String)>,
    clock: u64,
}

#[derive(Clone)]
struct Statement {
    token: Option<String>,
    request: String,
    created: u64,
    questions: u32,
    error: Option<String>,
    failed_part: Option<usize>,
    parts: usize,
    rows: Vec<Vec<Cell>>,
    session: Option<String>,
}

/// The Data API.
#[derive(Default)]
pub(crate) struct FakeApi(pub(crate) Mutex<State>);

impl FakeApi {
    pub(crate) fn with_ledger(segments: &[(u64, &str)], faults: impl IntoIterator<Item = Fault>) -> Self {
        let ledger = segments.iter().map(|(seq, sha256)| (*seq, (*sha256).to_owned())).collect();
        let faults = faults.into_iter().collect();
        Self(Mutex::new(State { ledger: Some(ledger), faults, ..State::default() }))
    }

    pub(crate) fn ledger(&self) -> Vec<u64> {
        self.0.lock().unwrap().ledger.iter().flatten().map(|(seq, _)| *seq).collect()
    }

    pub(crate) fn transactions(&self) -> u32 {
        self.0.lock().unwrap().transactions
    }
}

fn api_error(kind: ApiErrorKind) -> ApiError {
    ApiError { operation: "Fake", message: format!("{kind:?}"), kind }
}

impl Statements for FakeApi {
    async fn submit(&self, submission: &Submission, wait: Duration) -> Result<Submitted, ApiError> {
        let mut state = self.0.lock().unwrap();
        if matches!(state.faults.front(), Some(Fault::Throttle)) {
            state.faults.pop_front();
            return Err(api_error(ApiErrorKind::Busy));
        }
        let request = format!("{submission:?} {wait:?}");
        let known = submission.token.is_some()
            && state.statements.iter().any(|statement| statement.token == submission.token);
        if known {
            // As strict as it may be: AWS does not say what a token does with another request.
            let of_token = |statement: &&Statement| statement.token == submission.token;
            assert_eq!(state.statements.iter().find(of_token).unwrap().request, request);
        } else {
            let mut statement = state.execute(submission);
            statement.request = request;
            state.statements.push(statement);
        }
        if submission.token.is_some() && matches!(state.faults.front(), Some(Fault::LoseAnswer)) {
            state.faults.pop_front();
            return Err(api_error(ApiErrorKind::Unclear));
        }
        let position = state
            .statements
            .iter()
            .position(|statement| submission.token.is_some() && statement.token == submission.token);
        Ok(state.submitted(position.unwrap_or(state.statements.len() - 1)))
    }

    async fn describe(&self, id: &str, _: Duration) -> Result<Description, ApiError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut state = self.0.lock().unwrap();
        let position: usize = id.parse().unwrap();
        let statement = &mut state.statements[position];
        statement.questions = statement.questions.saturating_sub(1);
        let statement = statement.clone();
        let part = |number| Part {
            status: if statement.failed_part == Some(number) {
                PartStatus::Failed
            } else {
                PartStatus::Other
            },
            error: None,
            rows: Some(5),
        };
        let submitted = state.submitted(position);
        Ok(Description {
            submitted,
            error: statement.error.clone(),
            parts: (0..statement.parts).map(part).collect(),
        })
    }

    async fn rows(&self, id: &str) -> Result<Vec<Vec<Cell>>, ApiError> {
        Ok(self.0.lock().unwrap().statements[id.parse::<usize>().unwrap()].rows.clone())
    }
}

impl State {
    fn submitted(&self, position: usize) -> Submitted {
        let statement = &self.statements[position];
        let status = match (&statement.error, statement.questions) {
            (_, 1..) => Status::Running,
            (Some(_), _) => Status::Failed,
            (None, _) => Status::Finished,
        };
        let created_at: SystemTime = UNIX_EPOCH + Duration::from_secs(statement.created);
        Submitted { id: position.to_string(), status, session: statement.session.clone(), created_at }
    }

    fn execute(&mut self, submission: &Submission) -> Statement {
        self.clock += 1;
        let mut statement = Statement {
            token: submission.token.clone(),
            request: String::new(),
            created: self.clock,
            questions: 0,
            error: None,
            failed_part: None,
            parts: 0,
            rows: Vec::new(),
            session: None,
        };
        match &submission.sql {
            Sql::Alone(sql) => self.alone(sql, &mut statement),
            Sql::Batch(batch) => {
                self.transactions += 1;
                statement.parts = batch.len();
                self.transaction(batch, &mut statement);
            }
            Sql::OpenSession(sql, _) | Sql::InSession(sql, _) => {
                statement.session = Some("session".to_owned());
                self.transactions += u32::from(sql == "BEGIN");
                if sql == "ROLLBACK" {
                    self.rolled_back += 1;
                    self.uncommitted.clear();
                } else {
                    self.in_transaction(sql, &mut statement);
                }
            }
        }
        statement
    }

    fn alone(&mut self, sql: &str, statement: &mut Statement) {
        if sql.contains("CREATE TABLE") {
            self.ledger.get_or_insert_default();
        } else if sql.contains("sys_load_error_detail") {
            statement.rows.clone_from(&self.load_errors);
        } else if sql.contains("ledger_") && sql.starts_with("SELECT") {
            statement.questions = if self.ledger_locked { u32::MAX } else { 0 };
            match &self.ledger {
                None => {
                    statement.error =
                        Some(r#"ERROR: relation "re_dms.ledger_main" does not exist"#.to_owned());
                }
                Some(ledger) => {
                    let cells = |(seq, sha256): &(u64, String)| {
                        let seq = i64::try_from(*seq).unwrap();
                        vec![Cell::Number(seq), Cell::Text("0/1".into()), Cell::Text(sha256.clone())]
                    };
                    statement.rows = ledger.last().map(cells).into_iter().collect();
                }
            }
        }
    }

    fn transaction(&mut self, batch: &[String], statement: &mut Statement) {
        for (position, sql) in batch.iter().enumerate() {
            self.in_transaction(sql, statement);
            if statement.error.is_some() {
                statement.failed_part = Some(position);
                self.uncommitted.clear();
                return;
            }
        }
        self.in_transaction("COMMIT", statement);
    }

    fn in_transaction(&mut self, sql: &str, statement: &mut Statement) {
        match self.faults.front().cloned() {
            Some(Fault::Fail(text, error)) if sql.contains(text) => {
                self.faults.pop_front();
                statement.error = Some(error.to_owned());
                return;
            }
            Some(Fault::FailAfterCommit(error)) if sql == "COMMIT" => {
                self.faults.pop_front();
                statement.error = Some(error.to_owned());
            }
            Some(Fault::Slow(questions)) => {
                self.faults.pop_front();
                statement.questions = questions;
            }
            Some(Fault::Overtaken(seq, sha256)) => {
                self.faults.pop_front();
                self.ledger.get_or_insert_default().push((seq, sha256));
            }
            _ => {}
        }
        let ledger = self.ledger.get_or_insert_default();
        let last = ledger.last().map_or(0, |(seq, _)| *seq);
        if sql.contains("\"last\"") && !sql.ends_with(&format!(" = {last}")) {
            statement.error = Some("ERROR: division by zero".to_owned());
        } else if sql.starts_with("INSERT INTO \"re_dms\"") {
            let values: Vec<_> = sql.split_once("VALUES (").unwrap().1.split(", ").collect();
            self.uncommitted.push((values[1].parse().unwrap(), values[4].trim_matches('\'').to_owned()));
        } else if sql == "COMMIT" {
            ledger.append(&mut self.uncommitted);
        }
    }
}

/// S3.
#[derive(Default)]
pub(crate) struct FakeObjects(pub(crate) Mutex<BTreeMap<String, Vec<u8>>>);

impl Objects for FakeObjects {
    async fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>, LoadError> {
        let missing = || LoadError::Storage {
            action: "reading",
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            reason: "NoSuchKey".to_owned(),
            retry: crate::error::Retry::Never,
        };
        self.0.lock().unwrap().get(key).cloned().ok_or_else(missing)
    }

    async fn put_if_absent(&self, _: &str, key: &str, content: Vec<u8>) -> Result<(), LoadError> {
        self.0.lock().unwrap().entry(key.to_owned()).or_insert(content);
        Ok(())
    }
}
