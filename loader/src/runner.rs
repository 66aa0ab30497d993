//! Statements from submission to their end: waits for the API when it is busy, asks again when an answer was lost, and stops
//! before the invocation ends.

use std::time::{Duration, SystemTime};

use rand::RngExt;
use re_dms_plan::Statement;

use crate::deadline::Deadline;
use crate::error::LoadError;
use crate::statements::{
    ApiError, ApiErrorKind, Cell, Description, Sql, Statements, Status, Submission, Submitted,
};
use crate::traces::LoadSpans;

/// How often a call without a clear answer is made again. The SDK has tried by then, too.
const UNCLEAR_CALLS: u32 = 3;

/// How long a submission waits for the statement's end before it is asked for. Always the same: a known token may come with
/// nothing but the very same request.
const SUBMISSION_WAIT: Duration = Duration::from_secs(2);

/// The first pause of a busy API's client; each one is up to twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs statements within one invocation.
#[derive(Debug)]
pub struct Runner<'a, A> {
    api: &'a A,
    deadline: Deadline,
    spans: Option<LoadSpans>,
}

/// How a statement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was done.
    Finished(Submitted),
    /// It failed in Redshift.
    Failed(Box<Description>),
}

impl<'a, A: Statements> Runner<'a, A> {
    /// Nothing waits past `deadline`.
    pub fn new(api: &'a A, deadline: Deadline) -> Self {
        Self { api, deadline, spans: None }
    }

    /// Tells there how long statements take.
    #[must_use]
    pub fn traced(self, spans: Option<LoadSpans>) -> Self {
        Self { spans, ..self }
    }

    /// Tells what the parts of a finished batch took. Costs a call, and only where traces are wanted.
    pub(crate) async fn tell_parts(&self, statements: &[Statement], finished: &Submitted) {
        let Some(spans) = &self.spans else { return };
        match self.api.describe(&finished.id, Duration::ZERO).await {
            Ok(description) => spans.parts(statements, &description),
            Err(error) => tracing::debug!(%error, "the parts of the transaction are not traced"),
        }
    }

    /// Submits a statement and waits for its end.
    ///
    /// # Errors
    /// The API refuses or can't be reached, or the invocation is at its end.
    pub async fn run(&self, submission: &Submission) -> Result<End, LoadError> {
        let began = SystemTime::now();
        let end = async {
            let submitted = self.submit(submission).await?;
            self.end(submitted, &submission.name).await
        };
        let end = end.await;
        if let Some(spans) = &self.spans {
            spans.statement(&submission.name, began, !matches!(end, Ok(End::Finished(_))));
        }
        end
    }

    /// Submits a statement; it may have ended already.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn submit(&self, submission: &Submission) -> Result<Submitted, LoadError> {
        let mut pauses = Pauses::default();
        loop {
            if self.wait(&submission.name)? < SUBMISSION_WAIT {
                return Err(hand_over(&submission.name));
            }
            match self.api.submit(submission, SUBMISSION_WAIT).await {
                Ok(submitted) => return Ok(submitted),
                Err(error) => self.pause(&mut pauses, error).await?,
            }
        }
    }

    async fn end(&self, submitted: Submitted, name: &str) -> Result<End, LoadError> {
        if submitted.status == Status::Finished {
            return Ok(End::Finished(submitted));
        }
        let mut pauses = Pauses::default();
        // The API limits who waits; asking without waiting is always allowed.
        let mut ask_only = false;
        loop {
            let wait = if ask_only { Duration::ZERO } else { self.wait(name)? };
            match self.api.describe(&submitted.id, wait).await {
                Ok(description) => match description.submitted.status {
                    Status::Running if ask_only => self.breathe(name, FIRST_PAUSE * 4).await?,
                    Status::Running => {}
                    Status::Finished => return Ok(End::Finished(description.submitted)),
                    Status::Failed => return Ok(End::Failed(Box::new(description))),
                },
                Err(error) => {
                    ask_only |= error.kind == ApiErrorKind::Busy;
                    self.pause(&mut pauses, error).await?;
                }
            }
        }
    }

    /// The session that a finished statement opened. Not every answer to a known token need repeat it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn session_of(&self, finished: Submitted) -> Result<Option<String>, LoadError> {
        if finished.session.is_some() {
            return Ok(finished.session);
        }
        let description = self.api.describe(&finished.id, Duration::ZERO).await?;
        Ok(description.submitted.session)
    }

    /// Runs a statement that does no harm when it is run twice.
    ///
    /// # Errors
    /// As [`Self::run`], and the statement's own failure.
    pub async fn statement(&self, what: &str, sql: String) -> Result<Submitted, LoadError> {
        let submitted = self.submit(&harmless(what, sql)).await?;
        self.finish(submitted, what).await
    }

    async fn finish(&self, submitted: Submitted, what: &str) -> Result<Submitted, LoadError> {
        match self.end(submitted, what).await? {
            End::Finished(submitted) => Ok(submitted),
            End::Failed(description) => {
                Err(LoadError::of_statement(what, &description.error.unwrap_or_default()))
            }
        }
    }

    /// Runs a query and gives its rows.
    ///
    /// # Errors
    /// As [`Self::statement`].
    pub async fn query(&self, what: &str, sql: String) -> Result<Vec<Vec<Cell>>, LoadError> {
        let submitted = self.statement(what, sql).await?;
        self.rows(&submitted.id).await
    }

    /// Runs a query that may meet a lock, and waits for it no longer than `patience`. Gives when the API took it, and its
    /// rows unless time ran out.
    ///
    /// # Errors
    /// As [`Self::statement`].
    pub async fn query_within(
        &self,
        patience: Duration,
        what: &str,
        sql: String,
    ) -> Result<(SystemTime, Result<Option<Vec<Vec<Cell>>>, LoadError>), LoadError> {
        let deadline = self.deadline.no_later_than(patience);
        let short = Runner { api: self.api, deadline, spans: None };
        let submitted = short.submit(&harmless(what, sql)).await?;
        let taken_at = submitted.created_at;
        let rows = match short.finish(submitted, what).await {
            Ok(submitted) => self.rows(&submitted.id).await.map(Some),
            Err(LoadError::HandOver { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        Ok((taken_at, rows))
    }

    /// The rows of a finished query.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn rows(&self, id: &str) -> Result<Vec<Vec<Cell>>, LoadError> {
        let mut pauses = Pauses::default();
        loop {
            match self.api.rows(id).await {
                Ok(rows) => return Ok(rows),
                Err(error) => self.pause(&mut pauses, error).await?,
            }
        }
    }

    /// Sleeps, or gives up for this invocation.
    pub(crate) async fn breathe(&self, what: &str, time: Duration) -> Result<(), LoadError> {
        if self.deadline.sleep(time).await { Ok(()) } else { Err(hand_over(what)) }
    }

    fn wait(&self, what: &str) -> Result<Duration, LoadError> {
        self.deadline.next_wait().ok_or_else(|| hand_over(what))
    }

    /// Pauses after an error that a later call may not have.
    async fn pause(&self, pauses: &mut Pauses, error: ApiError) -> Result<(), LoadError> {
        pauses.taken += 1;
        let again = match error.kind {
            ApiErrorKind::Busy => true,
            ApiErrorKind::Unclear => pauses.taken < UNCLEAR_CALLS,
            ApiErrorKind::Gone | ApiErrorKind::Refused => false,
        };
        if again && self.deadline.sleep(pauses.next()).await {
            tracing::debug!(operation = error.operation, attempt = pauses.taken, "asking the Data API again");
            return Ok(());
        }
        Err(error.into())
    }
}

fn harmless(what: &str, sql: String) -> Submission {
    Submission { sql: Sql::Alone(sql), name: format!("re_dms/{what}"), token: None }
}

fn hand_over(what: &str) -> LoadError {
    LoadError::HandOver { what: what.to_owned() }
}

/// Growing pauses with jitter.
#[derive(Default)]
struct Pauses {
    taken: u32,
}

impl Pauses {
    fn next(&self) -> Duration {
        let longest = (FIRST_PAUSE * 2_u32.saturating_pow(self.taken.min(16))).min(LONGEST_PAUSE);
        longest.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_no_two_are_alike() {
        let draw = |taken| (0..50).map(|_| Pauses { taken }.next()).collect::<Vec<_>>();
        for (taken, longest) in [(0, FIRST_PAUSE), (3, FIRST_PAUSE * 8), (40, LONGEST_PAUSE)] {
            let drawn = draw(taken);
            assert!(drawn.iter().all(|pause| *pause >= longest / 2 && *pause <= longest), "{drawn:?}");
            assert!(
                drawn.iter().any(|pause| *pause != drawn[0]),
                "callers that failed together come back together"
            );
        }
    }
}
