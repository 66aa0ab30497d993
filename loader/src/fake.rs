//! For tests: a Data API with a small [`World`] behind it, and an S3 that is a map. Statements end as a script says.

mod session;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use re_dms_shared::manifest::{Action, Column, Compression, DataFile, Layout, Load, RowCounts, Step, Table};

use crate::error::LoadError;
use crate::objects::Objects;
use crate::statements::{
    ApiError, ApiErrorKind, Cell, Description, Part, PartStatus, Sql, Statements, Status, Submission,
    Submitted,
};
pub(crate) use world::{LogRow, World};

/// What befalls the next transaction or call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The first statement that contains the text fails with the error.
    Fail(&'static str, &'static str),
    /// The transaction is done, and called failed.
    FailAfterCommit(&'static str),
    /// The transaction goes on for as many questions.
    Slow(u32),
    /// The transaction begins only after so many calls, by whomever.
    Late(u32),
    /// The statement is taken, and its answer is lost.
    LoseAnswer,
    /// The call is refused for now.
    Throttle,
    /// Somebody drops all staging tables before the next query.
    LoseStages,
    /// Another loader commits the segment with this manifest first.
    Overtaken(u64, String),
}

/// Panics at a state that must not be.
pub(crate) type Check = Box<dyn FnMut(&World) + Send>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) world: World,
    /// Sees every committed state.
    pub(crate) on_commit: Option<Check>,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) load_errors: Vec<Vec<Cell>>,
    pub(crate) ledger_locked: bool,
    pub(crate) transactions: u32,
    pub(crate) rolled_back: u32,
    /// Statements that always fail, by a text in them, with the error.
    pub(crate) broken: Vec<(String, String)>,
    statements: Vec<Statement>,
    open: Option<session::Open>,
    sessions: u64,
    clock: u64,
    calls: u64,
}

#[derive(Clone)]
struct Statement {
    submission: Submission,
    request: String,
    created: u64,
    /// The call with which it begins.
    begins: u64,
    has_run: bool,
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
        let world = World { ledger: Some(ledger), ..World::default() };
        let faults = faults.into_iter().collect();
        Self(Mutex::new(State { world, faults, ..State::default() }))
    }

    pub(crate) fn ledger(&self) -> Vec<u64> {
        self.0.lock().unwrap().world.ledger.iter().flatten().map(|(seq, _)| *seq).collect()
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
        tokio::task::yield_now().await;
        let mut state = self.0.lock().unwrap();
        state.run_what_is_due();
        if matches!(state.faults.front(), Some(Fault::Throttle)) {
            state.faults.pop_front();
            return Err(api_error(ApiErrorKind::Busy));
        }
        let request = format!("{submission:?} {wait:?}");
        let known = state.statements.iter().position(|statement| {
            submission.token.is_some() && statement.submission.token == submission.token
        });
        let position = match known {
            // As strict as it may be: AWS does not say what a token does with another request.
            Some(known) => {
                assert_eq!(state.statements[known].request, request);
                known
            }
            None if !state.has_session(&submission.sql) => return Err(api_error(ApiErrorKind::Gone)),
            None => state.take(submission, request),
        };
        if submission.token.is_some() && matches!(state.faults.front(), Some(Fault::LoseAnswer)) {
            state.faults.pop_front();
            return Err(api_error(ApiErrorKind::Unclear));
        }
        Ok(state.submitted(position))
    }

    async fn describe(&self, id: &str, _: Duration) -> Result<Description, ApiError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut state = self.0.lock().unwrap();
        state.run_what_is_due();
        let position: usize = id.parse().unwrap();
        let statement = &mut state.statements[position];
        statement.questions = statement.questions.saturating_sub(1);
        let statement = statement.clone();
        let calls = state.calls;
        if let Some(open) = state.open.as_mut().filter(|open| Some(&open.id) == statement.session.as_ref()) {
            open.touched = calls;
        }
        let part = |number| Part {
            status: if statement.failed_part == Some(number) {
                PartStatus::Failed
            } else {
                PartStatus::Other
            },
            error: None,
            rows: Some(5),
            duration: None,
        };
        let submitted = state.submitted(position);
        Ok(Description {
            submitted,
            error: statement.error.clone(),
            parts: (0..statement.parts).map(part).collect(),
        })
    }

    async fn rows(&self, id: &str) -> Result<Vec<Vec<Cell>>, ApiError> {
        tokio::task::yield_now().await;
        Ok(self.0.lock().unwrap().statements[id.parse::<usize>().unwrap()].rows.clone())
    }
}

impl State {
    fn submitted(&self, position: usize) -> Submitted {
        let statement = &self.statements[position];
        let status = match (&statement.error, statement.questions) {
            _ if !statement.has_run => Status::Running,
            (_, 1..) => Status::Running,
            (Some(_), _) => Status::Failed,
            (None, _) => Status::Finished,
        };
        let created_at: SystemTime = UNIX_EPOCH + Duration::from_secs(statement.created);
        Submitted { id: position.to_string(), status, session: statement.session.clone(), created_at }
    }

    fn take(&mut self, submission: &Submission, request: String) -> usize {
        self.clock += 1;
        let mut begins = self.calls;
        if let (Sql::Batch(_), Some(Fault::Late(calls))) = (&submission.sql, self.faults.front()) {
            begins += u64::from(*calls);
            self.faults.pop_front();
        }
        self.statements.push(Statement {
            submission: submission.clone(),
            request,
            created: self.clock,
            begins,
            has_run: false,
            questions: 0,
            error: None,
            failed_part: None,
            parts: 0,
            rows: Vec::new(),
            session: None,
        });
        self.run_what_is_due();
        self.statements.len() - 1
    }

    /// What began runs at once and to its end, unless a session's transaction has the ledger.
    fn run_what_is_due(&mut self) {
        self.calls += 1;
        self.open.take_if(|open| open.is_forgotten(self.calls));
        for position in 0..self.statements.len() {
            let statement = &self.statements[position];
            let waits = session::begins(&statement.submission.sql) && self.open.is_some();
            if statement.has_run || statement.begins >= self.calls || waits {
                continue;
            }
            let mut statement = statement.clone();
            statement.has_run = true;
            self.execute(&mut statement);
            self.statements[position] = statement;
        }
    }

    fn execute(&mut self, statement: &mut Statement) {
        match statement.submission.sql.clone() {
            Sql::Alone(sql) => self.alone(&sql, statement),
            Sql::Batch(batch) => {
                self.transactions += u32::from(batch.len() > 2);
                statement.parts = batch.len();
                self.batch(&batch, statement);
            }
            Sql::OpenSession(..) => {
                self.transactions += 1;
                self.sessions += 1;
                let id = format!("session {}", self.sessions);
                self.open = Some(session::Open::begin(id.clone(), self.world.clone(), self.calls));
                statement.session = Some(id);
            }
            Sql::InSession(sql, id) => {
                statement.session = Some(id);
                self.in_session(&sql, statement);
            }
        }
    }

    fn has_session(&self, sql: &Sql) -> bool {
        let Sql::InSession(_, id) = sql else { return true };
        self.open.as_ref().is_some_and(|open| open.id == *id)
    }

    fn in_session(&mut self, sql: &str, statement: &mut Statement) {
        let Some(mut open) = self.open.take() else {
            statement.error = Some("ERROR: session expired".to_owned());
            return;
        };
        if sql == "ROLLBACK" {
            self.rolled_back += 1;
            return;
        }
        match open.take(self.calls) {
            Ok(mut world) => {
                let done = self.in_transaction(sql, &mut world, statement);
                if sql == "COMMIT" && done {
                    return self.commit(world);
                }
                if done {
                    open.put(world);
                }
            }
            Err(aborted) => statement.error = Some(aborted),
        }
        self.open = Some(open);
    }

    fn alone(&mut self, sql: &str, statement: &mut Statement) {
        if sql.contains("sys_load_error_detail") {
            statement.rows.clone_from(&self.load_errors);
            return;
        }
        if sql.contains("ledger_") && sql.starts_with("SELECT") && self.ledger_locked {
            statement.questions = u32::MAX;
            return;
        }
        if matches!(self.faults.front(), Some(Fault::LoseStages)) {
            self.faults.pop_front();
            self.world.stages.clear();
        }
        match self.world.query(sql) {
            Ok(rows) => statement.rows = rows,
            Err(error) => statement.error = Some(error),
        }
    }

    fn batch(&mut self, batch: &[String], statement: &mut Statement) {
        let mut world = self.world.clone();
        for (position, sql) in batch.iter().enumerate() {
            if !self.in_transaction(sql, &mut world, statement) {
                statement.failed_part = Some(position);
                return;
            }
        }
        if self.in_transaction("COMMIT", &mut world, statement) {
            self.commit(world);
        }
    }

    fn commit(&mut self, mut world: World) {
        world.end_transaction();
        if let Some(check) = &mut self.on_commit {
            check(&world);
        }
        self.world = world;
    }

    /// Whether it was done.
    fn in_transaction(&mut self, sql: &str, world: &mut World, statement: &mut Statement) -> bool {
        if let Some((_, error)) = self.broken.iter().find(|(text, _)| sql.contains(text)) {
            statement.error = Some(error.clone());
            return false;
        }
        match self.faults.front().cloned() {
            Some(Fault::Fail(text, error)) if sql.contains(text) => {
                self.faults.pop_front();
                statement.error = Some(error.to_owned());
                return false;
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
                self.world.ledger.get_or_insert_default().push((seq, sha256));
                *world = self.world.clone();
            }
            _ => {}
        }
        match world.change(sql) {
            Ok(()) => true,
            Err(error) => {
                statement.error = Some(error);
                false
            }
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

/// A load of three rows.
pub(crate) fn load_step(number: u32, table: &str, copy_manifest: String) -> Step {
    let column = Column {
        name: "id".into(),
        attribute_number: None,
        type_oid: 20,
        type_modifier: -1,
        target_name: "id".into(),
        redshift_type: "BIGINT".parse().unwrap(),
        key: true,
    };
    let table = Table {
        schema: "public".into(),
        name: table.into(),
        oid: 1,
        target_schema: "public".into(),
        target_name: table.into(),
        columns: vec![column],
        kept: Vec::new(),
        layout: Layout::default(),
    };
    let file = DataFile { key: "f".into(), rows: 3, bytes: 1, sha256: String::new() };
    let rows = RowCounts { inserts: 3, ..RowCounts::default() };
    let load = Load {
        copy_manifest,
        files: vec![file],
        compression: Compression::Gzip,
        rows,
        tagged_keys: false,
        present_sets: Vec::new(),
        altered: Vec::new(),
    };
    Step { number, table, action: Action::Load(load) }
}
