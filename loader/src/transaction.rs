//! A plan as one transaction in Redshift, that every invocation finds again instead of running it twice.
//!
//! Each statement's ClientToken is made of the segment, the plan's text and an attempt. An invocation that comes after one
//! which died submits the same tokens, gets the same statements, and waits for whichever still runs. A failed statement's
//! token answers with its failure for eight hours: what failed before this invocation began is passed over, and the next
//! attempt is a new transaction. Should two ever run at once, the ledger's lock and guard let one of them through.
//!
//! A transaction that was committed is found just so, also where Redshift has forgotten it since: it was restored to an older
//! state, or lost. So one that was sent before this invocation began is only [`Ran::Earlier`]: who asked must look for it, and
//! goes on with the next attempt if it is not there.

use std::time::{Duration, SystemTime};

use re_dms_shared::manifest::sha256_hex;

use crate::error::{LoadError, Retry};
use crate::runner::{End, Runner};
use crate::sql_error;
use crate::statements::{ApiErrorKind, Description, PartStatus, Sql, Statements, Submission};
use re_dms_plan::{Plan, Purpose, Statement, Transport};

/// How long Redshift keeps a session that nobody talks to, with its transaction and its lock on the ledger: enough for the
/// next invocation to go on in it.
const SESSION_KEPT: Duration = Duration::from_secs(180);

/// Transactions tried within one invocation, while Redshift says that trying again helps.
const TRIES: u32 = 3;

/// Attempts at one plan. The queue gives up long before.
pub(crate) const ATTEMPTS: u32 = 100;

/// What a transaction failed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The statement, if it is known.
    pub statement: Option<Statement>,
    /// Redshift's words. May hold values.
    pub error: String,
    /// Rows that the statement before it took: those of the COPY, where their count is what failed.
    pub rows_before: Option<u64>,
    /// When the API took the failed statement; none for what is surely this invocation's.
    pub(crate) submitted_at: Option<SystemTime>,
    /// Whether the same plan may succeed.
    retry: Retry,
}

/// A transaction that the API calls committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// By this invocation.
    Now,
    /// Sent by an earlier one, in this attempt: it is in, unless Redshift was set back since.
    Earlier(u32),
}

/// A plan that is run.
#[derive(Debug)]
pub struct Transaction<'a, A> {
    runner: &'a Runner<'a, A>,
    /// Tells Redshift's history, and its tokens, what it is.
    name: String,
    plan: &'a Plan,
    fingerprint: String,
}

impl<'a, A: Statements> Transaction<'a, A> {
    /// Ready to run. No two plans have one name and the same text, unless they are for the same segments.
    #[must_use]
    pub fn new(runner: &'a Runner<'a, A>, name: String, plan: &'a Plan) -> Self {
        let texts: Vec<_> = plan.statements.iter().map(|statement| statement.sql.as_str()).collect();
        Self { runner, name, plan, fingerprint: sha256_hex(texts.join("\n").as_bytes()) }
    }

    /// Runs the plan, or waits for the end of the run that is under way. `began` is the API's time when this invocation
    /// began with the segment; attempts before `first` are known to be gone.
    ///
    /// # Errors
    /// Troubles with the API. A failure in Redshift is a result.
    pub async fn run(&self, began: SystemTime, first: u32) -> Result<Result<Ran, Failure>, LoadError> {
        let mut tries = 0;
        let mut last = None;
        for attempt in first..ATTEMPTS {
            let result = match self.plan.transport {
                Transport::Batch => self.batch(attempt).await?,
                Transport::Session => self.session(attempt).await?,
            };
            let failure = match result {
                Ok(sent_at) if sent_at < began => return Ok(Ok(Ran::Earlier(attempt))),
                Ok(_) => return Ok(Ok(Ran::Now)),
                Err(failure) => failure,
            };
            if failure.submitted_at.is_some_and(|submitted_at| submitted_at < began) {
                tracing::debug!(attempt, "passing over an earlier failure");
                last = Some(failure);
                continue;
            }
            tries += 1;
            if failure.retry != Retry::Soon || tries == TRIES {
                return Ok(Err(failure));
            }
            tracing::warn!(
                attempt,
                reason = sql_error::without_values(&failure.error),
                "trying the transaction again"
            );
            self.runner.breathe("a new try of the transaction", Duration::from_secs(1) * tries).await?;
            last = Some(failure);
        }
        Ok(Err(last.unwrap_or_else(exhausted)))
    }

    /// When the API took it.
    async fn batch(&self, attempt: u32) -> Result<Result<SystemTime, Failure>, LoadError> {
        let statements = self.plan.statements.iter().map(|statement| statement.sql.clone()).collect();
        let submission = self.submission(&format!("{attempt}"), Sql::Batch(statements));
        match self.runner.run(&submission).await? {
            End::Finished(submitted) => {
                self.runner.tell_parts(&self.plan.statements, &submitted).await;
                Ok(Ok(submitted.created_at))
            }
            End::Failed(description) => Ok(Err(batch_failure(&self.plan.statements, &description))),
        }
    }

    /// When the API took its last statement.
    async fn session(&self, attempt: u32) -> Result<Result<SystemTime, Failure>, LoadError> {
        let mut session: Option<String> = None;
        let mut sent_at = SystemTime::UNIX_EPOCH;
        for (position, statement) in self.plan.statements.iter().enumerate() {
            // With the session in its token, a statement is only ever taken for one of the same transaction: tokens are
            // forgotten after a while, and not all at once.
            let (part, sql) = match &session {
                None => (format!("{attempt}"), Sql::OpenSession(statement.sql.clone(), SESSION_KEPT)),
                Some(session) => (
                    format!("{attempt}/{position}/{session}"),
                    Sql::InSession(statement.sql.clone(), session.clone()),
                ),
            };
            match self.runner.run(&self.submission(&part, sql)).await {
                Ok(End::Finished(submitted)) => {
                    tracing::debug!(position, purpose = %statement.purpose, "done");
                    sent_at = submitted.created_at;
                    if session.is_none() {
                        session = self.runner.session_of(submitted).await?;
                    }
                    if session.is_none() {
                        return Ok(Err(no_session()));
                    }
                }
                Ok(End::Failed(description)) => {
                    if let Some(session) = session {
                        self.roll_back(session).await;
                    }
                    return Ok(Err(failure_at(statement, &description)));
                }
                // The session of an earlier invocation is over, and its transaction with it. A COMMIT never comes here
                // undone and unseen: the ledger is asked before anything is tried again.
                Err(LoadError::Api(error))
                    if position > 0 && matches!(error.kind, ApiErrorKind::Gone | ApiErrorKind::Refused) =>
                {
                    return Ok(Err(Failure {
                        statement: None,
                        error: error.to_string(),
                        rows_before: None,
                        submitted_at: None,
                        retry: if statement.purpose == Purpose::Commit { Retry::Wait } else { Retry::Soon },
                    }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(sent_at))
    }

    /// Frees the ledger's lock at once instead of when the session is forgotten.
    async fn roll_back(&self, session: String) {
        let name = format!("{}/rollback", self.name);
        let submission =
            Submission { sql: Sql::InSession("ROLLBACK".to_owned(), session), name, token: None };
        if let Err(error) = self.runner.run(&submission).await {
            tracing::debug!(%error, "the session could not be rolled back; Redshift ends it by itself");
        }
    }

    /// `part` tells the transaction's submissions apart, and attempts from each other.
    fn submission(&self, part: &str, sql: Sql) -> Submission {
        let name = self.name.clone();
        let token = sha256_hex(format!("{name}\n{}\n{part}", self.fingerprint).as_bytes());
        Submission { sql, name, token: Some(token) }
    }
}

/// What a batch of these statements failed at.
pub(crate) fn batch_failure(statements: &[Statement], description: &Description) -> Failure {
    let position = description.parts.iter().position(|part| part.status == PartStatus::Failed);
    let part_error = position.and_then(|position| description.parts[position].error.clone());
    let before = position.and_then(|position| position.checked_sub(1));
    let error = description.error.clone().or(part_error).unwrap_or_default();
    Failure {
        statement: position.and_then(|position| statements.get(position)).cloned(),
        rows_before: before.and_then(|before| description.parts[before].rows),
        retry: sql_error::retry(&error),
        error,
        submitted_at: Some(description.submitted.created_at),
    }
}

fn failure_at(statement: &Statement, description: &Description) -> Failure {
    let failure = batch_failure(&[], description);
    Failure { statement: Some(statement.clone()), rows_before: None, ..failure }
}

fn exhausted() -> Failure {
    let error = format!("{ATTEMPTS} attempts at one transaction came to nothing");
    Failure { statement: None, error, rows_before: None, submitted_at: None, retry: Retry::Never }
}

fn no_session() -> Failure {
    let error = "the Data API opened no session".to_owned();
    Failure { statement: None, error, rows_before: None, submitted_at: None, retry: Retry::Never }
}

#[cfg(test)]
mod tests;
