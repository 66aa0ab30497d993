//! The Redshift Data API as the loader sees it: statements go in, are waited for by their id, and give rows.
//!
//! [`crate::data_api`] is the one over AWS's SDK.

use std::future::Future;
use std::time::{Duration, SystemTime};

use crate::error::Retry;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The SQL.
    pub sql: Sql,
    /// Names it in Redshift's history.
    pub name: String,
    /// The same token gives the same statement for eight hours, whoever asks; none where running twice does no harm.
    pub token: Option<String>,
}

/// How SQL is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sql {
    /// One statement, committed by itself.
    Alone(String),
    /// Up to 40 statements as one transaction.
    Batch(Vec<String>),
    /// One statement that opens a session, which is kept so long after each statement.
    OpenSession(String, Duration),
    /// One statement in an open session.
    InSession(String, String),
}

/// A statement as the API last told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub status: Status,
    /// The session that it runs in.
    pub session: Option<String>,
    /// When the API took it: long ago if its token was known.
    pub created_at: SystemTime,
}

/// How far a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waiting or running.
    Running,
    /// Done.
    Finished,
    /// Failed or stopped.
    Failed,
}

/// All that there is to know about a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// As it was submitted, with its present status.
    pub submitted: Submitted,
    /// Redshift's words for a failure. May hold values: see [`crate::sql_error`].
    pub error: Option<String>,
    /// The parts of a batch, in order.
    pub parts: Vec<Part>,
}

/// One statement of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How far it is.
    pub status: PartStatus,
    /// Redshift's words for a failure.
    pub error: Option<String>,
    /// Rows that it gave or took, where the API says so.
    pub rows: Option<u64>,
    /// How long it took, where the API says so.
    pub duration: Option<Duration>,
}

/// How far one statement of a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartStatus {
    /// It is what the batch failed at.
    Failed,
    /// Anything else; what was undone may still be called finished.
    Other,
}

/// A value of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL
    Null,
    /// An integer.
    Number(i64),
    /// Everything else that the loader asks for.
    Text(String),
}

impl Cell {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text.trim_end()),
            Cell::Null | Cell::Number(_) => None,
        }
    }

    /// The number, if it is one; DECIMALs travel as text.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Cell::Number(number) => Some(*number),
            Cell::Text(text) => text.trim().parse().ok(),
            Cell::Null => None,
        }
    }
}

/// A call of the API failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redshift Data API, {operation}: {message}")]
pub struct ApiError {
    /// The call.
    pub operation: &'static str,
    /// AWS's error code and words.
    pub message: String,
    /// What it means for the call.
    pub kind: ApiErrorKind,
}

/// What a failed call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// Too much at once: the same call later.
    Busy,
    /// No answer, or a fault over there: it may have been done.
    Unclear,
    /// The statement or session is not there (any more).
    Gone,
    /// It will not be done: wrong settings or missing permissions.
    Refused,
}

impl ApiError {
    /// Whether to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.kind {
            ApiErrorKind::Busy => Retry::Wait,
            ApiErrorKind::Unclear | ApiErrorKind::Gone => Retry::Soon,
            ApiErrorKind::Refused => Retry::Never,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.kind {
            ApiErrorKind::Busy => {
                "nothing: it is tried again; if it lasts, look at who else uses the Data API"
            }
            ApiErrorKind::Unclear => {
                "nothing: the ledger tells whether it was done; if it lasts, look at AWS's health"
            }
            ApiErrorKind::Gone => "nothing: it is tried again from the ledger's state",
            ApiErrorKind::Refused => {
                "check RE_DMS_DATABASE, the workgroup or cluster, its user, and the function role's redshift-data permissions"
            }
        }
    }
}

/// The Data API.
pub trait Statements: Send + Sync {
    /// Sends a statement and waits for its end no longer than `wait`.
    fn submit(
        &self,
        submission: &Submission,
        wait: Duration,
    ) -> impl Future<Output = Result<Submitted, ApiError>> + Send;

    /// Asks for a statement and waits for its end no longer than `wait`.
    fn describe(
        &self,
        id: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<Description, ApiError>> + Send;

    /// The rows of a finished query.
    fn rows(&self, id: &str) -> impl Future<Output = Result<Vec<Vec<Cell>>, ApiError>> + Send;
}
