//! What can go wrong with a segment. Every error says who has to act, whether to try again, and what to do.

use std::fmt;

use crate::copy_fault::CopyFault;
use crate::sql_error;
use crate::statements::ApiError;
use re_dms_plan::{PlanError, Purpose};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// What the capture wrote or sent.
    Capture,
    /// S3 or SQS.
    Aws,
    /// Redshift, or what is in it.
    Redshift,
    /// This program, or its settings.
    Loader,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Capture => "capture",
            Who::Aws => "aws",
            Who::Redshift => "redshift",
            Who::Loader => "loader",
        })
    }
}

/// Whether the message may succeed when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// At once: nothing failed.
    Now,
    /// After a moment.
    Soon,
    /// After a while.
    Wait,
    /// Not before somebody acts.
    Never,
}

/// Why a segment was not loaded. No message holds a row value.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The queue held something else.
    #[error("the message is not about a staged segment: {reason}")]
    Message {
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer capture.
    #[error("{what} has format {found}, and this loader reads up to {reads}")]
    Newer {
        /// The message or the manifest.
        what: String,
        /// Its format.
        found: u32,
        /// The newest that is understood.
        reads: u32,
    },
    /// Not the manifest that the message means.
    #[error("manifest {key}: {reason}")]
    Manifest {
        /// Its S3 key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The segment is next by its number, but follows another one than the ledger's last.
    #[error("segment {seq} does not continue what is loaded: {reason}")]
    Chain {
        /// The segment.
        seq: u64,
        /// What differs.
        reason: String,
    },
    /// The segment can't become SQL.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An object could not be read or written.
    #[error("{action} s3://{bucket}/{key}: {reason}")]
    Storage {
        /// Reading or writing.
        action: &'static str,
        /// Where.
        bucket: String,
        /// Which object.
        key: String,
        /// AWS's words.
        reason: String,
        /// Whether to try again.
        retry: Retry,
    },
    /// A message could not be sent.
    #[error("{action}: {reason}")]
    Queue {
        /// What was tried.
        action: &'static str,
        /// AWS's words.
        reason: String,
    },
    /// A call of the Data API failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A statement failed in Redshift.
    #[error("{what} failed{}: {message}", on(table.as_ref()))]
    Statement {
        /// What it was for.
        what: String,
        /// The target that it was about.
        table: Option<String>,
        /// Redshift's words, without values.
        message: String,
        /// Whether to try again.
        retry: Retry,
        /// What to do.
        hint: String,
    },
    /// COPY refused a row.
    #[error("{}{}: {fault}", Purpose::Copy, on(Some(table)))]
    Copy {
        /// The target.
        table: String,
        /// Where and why.
        fault: CopyFault,
    },
    /// COPY took another number of rows than the files hold.
    #[error("{table}: the files of step {step} hold {expected} rows, and Redshift took {}", taken.map_or("another number".to_owned(), |rows| rows.to_string()))]
    RowCount {
        /// The target.
        table: String,
        /// The step.
        step: u32,
        /// Rows by the manifest.
        expected: u64,
        /// Rows by Redshift.
        taken: Option<u64>,
    },
    /// A table is to be copied and is not empty.
    #[error("{table} is to get its initial copy and holds rows already")]
    NotEmpty {
        /// The target.
        table: String,
    },
    /// One table's fault, counted in its log: it is tried again until it is quarantined.
    #[error("{error}")]
    Counted {
        /// Failures of the segment for this table's sake, with this one.
        failures: u32,
        /// What went wrong.
        error: Box<LoadError>,
    },
    /// The ledger was elsewhere when the transaction ran.
    #[error("the ledger moved while segment {seq} was being loaded")]
    LedgerMoved {
        /// The segment.
        seq: u64,
    },
    /// Somebody took away what was staged.
    #[error("a staging table is gone before it was merged")]
    StageGone,
    /// Redshift goes on; the invocation can't wait any longer.
    #[error("still running at the end of the invocation: {what}")]
    HandOver {
        /// What runs.
        what: String,
    },
}

fn on(table: Option<&String>) -> String {
    table.map_or_else(String::new, |table| format!(" for {table}"))
}

/// An error and its causes on one line. AWS's own form of this would add the whole response.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

impl LoadError {
    /// A statement outside of a segment's transaction failed with Redshift's words.
    #[must_use]
    pub fn of_statement(what: &str, error: &str) -> Self {
        LoadError::Statement {
            what: what.to_owned(),
            table: None,
            message: sql_error::without_values(error),
            retry: sql_error::retry(error),
            hint: sql_error::hint(error).to_owned(),
        }
    }

    /// The target that is to blame, where no other one would have this error.
    #[must_use]
    pub fn table_to_blame(&self) -> Option<&str> {
        match self {
            LoadError::Counted { error, .. } => error.table_to_blame(),
            LoadError::Plan(error) => error.table(),
            LoadError::Copy { table, .. }
            | LoadError::RowCount { table, .. }
            | LoadError::NotEmpty { table } => Some(table),
            LoadError::Statement { table, message, retry: Retry::Never, .. }
                if !sql_error::concerns_all(message) =>
            {
                table.as_deref()
            }
            _ => None,
        }
    }

    /// The same, for a target.
    #[must_use]
    pub fn about(mut self, target: Option<&String>) -> Self {
        if let LoadError::Statement { table, .. } = &mut self {
            *table = target.cloned();
        }
        self
    }

    /// Who has to act.
    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            LoadError::Counted { error, .. } => error.who(),
            LoadError::Message { .. } | LoadError::Manifest { .. } | LoadError::Chain { .. } => Who::Capture,
            LoadError::RowCount { .. } | LoadError::Plan(PlanError::Manifest { .. }) => Who::Capture,
            LoadError::Newer { .. }
            | LoadError::LedgerMoved { .. }
            | LoadError::StageGone
            | LoadError::HandOver { .. } => Who::Loader,
            LoadError::Storage { .. } | LoadError::Queue { .. } => Who::Aws,
            LoadError::Plan(_)
            | LoadError::Api(_)
            | LoadError::Statement { .. }
            | LoadError::Copy { .. }
            | LoadError::NotEmpty { .. } => Who::Redshift,
        }
    }

    /// The invariant of the design that was found broken.
    #[must_use]
    pub fn invariant(&self) -> Option<u8> {
        match self {
            LoadError::Counted { error, .. } => error.invariant(),
            LoadError::Chain { .. } => Some(3),
            LoadError::RowCount { .. } => Some(8),
            _ => None,
        }
    }

    /// Whether the message may succeed when it comes again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            LoadError::Counted { error, .. } => error.retry(),
            LoadError::HandOver { .. } => Retry::Now,
            LoadError::LedgerMoved { .. } | LoadError::StageGone | LoadError::Queue { .. } => Retry::Soon,
            LoadError::Storage { retry, .. } | LoadError::Statement { retry, .. } => *retry,
            LoadError::Api(error) => error.retry(),
            LoadError::Message { .. } | LoadError::Newer { .. } | LoadError::Manifest { .. } => Retry::Never,
            LoadError::Chain { .. }
            | LoadError::Plan(_)
            | LoadError::Copy { .. }
            | LoadError::NotEmpty { .. }
            | LoadError::RowCount { .. } => Retry::Never,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            LoadError::Counted { error, .. } => error.hint(),
            LoadError::Message { .. } => "let only re_dms's capture send to this queue".into(),
            LoadError::Newer { .. } => "update the loader before the capture".into(),
            LoadError::Manifest { .. } => "compare it with the message: a manifest is written once and never changed".into(),
            LoadError::Chain { .. } => {
                "two captures may be writing the same stream: stop one, and compare the ledger with the segments on S3".into()
            }
            LoadError::Plan(error) => error.hint(),
            LoadError::Storage { .. } => {
                "check that the function's role may read and write the segment bucket, and that the object is there".into()
            }
            LoadError::Queue { .. } => "check that the function's role may use the queue".into(),
            LoadError::Api(error) => error.hint().into(),
            LoadError::Statement { hint, .. } => hint.clone(),
            LoadError::Copy { fault, .. } => fault.hint(),
            LoadError::RowCount { .. } => {
                "compare the step's files on S3 with their checksums in the manifest".into()
            }
            LoadError::NotEmpty { table } => format!(
                "nothing is loaded twice: TRUNCATE {table} in Redshift if its rows may go; once it is quarantined, \
                 `re_dms tables resume` then loads it"
            ),
            LoadError::LedgerMoved { .. } | LoadError::StageGone | LoadError::HandOver { .. } => "nothing: the next invocation goes on".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn causes_follow_on_one_line() {
        let error = Outer("x".parse::<i32>().unwrap_err());
        assert_eq!(with_causes(&error), "outer: invalid digit found in string");
    }
}
