//! `re_dms check`: what was looked at and how it is, and the question that the command line puts to the loader.
//!
//! The loader answers by an object on S3: a running capture would take an acknowledgement away from who asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The format of question and answer that this build writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The word that tells this request from those for a table.
pub const REQUEST: &str = "check";

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not always.
    Warning,
    /// The stream can't run like this.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whose it is, and which, such as `source: wal_level`.
    pub item: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found. Never holds a row value or a secret.
    pub what: String,
    /// What to do; none if it is as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(item: impl Into<String>, what: impl Into<String>) -> Self {
        Self { item: item.into(), verdict: Verdict::Ok, what: what.into(), hint: None }
    }

    /// It works, and may not always.
    pub fn warning(item: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { item: item.into(), verdict: Verdict::Warning, what: what.into(), hint: Some(hint.into()) }
    }

    /// The stream can't run like this.
    pub fn error(item: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { item: item.into(), verdict: Verdict::Error, what: what.into(), hint: Some(hint.into()) }
    }
}

/// Command line to loader, through the FIFO queue in a group of its own: is Redshift as it should be?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// [`FORMAT`]
    pub format: u32,
    /// [`REQUEST`]
    pub request: String,
    /// The stream's name.
    pub stream: String,
    /// Tells this check from others: lower-case letters, digits and hyphens.
    pub id: String,
    /// The bucket of all keys here.
    pub bucket: String,
    /// A COPY manifest whose file holds rows as of a load of a table with one column `probe`, a `VARCHAR(64)`.
    pub copy_manifest: String,
    /// How many rows.
    pub rows: u64,
    /// Where the answer goes.
    pub answer_key: String,
    /// The schemas in Redshift that the stream's tables are in, or will be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
}

/// A table in one of these schemas that is not the loader's own, so that it may not be its to alter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: String,
}

/// Loader to command line, as an object on S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// [`FORMAT`]
    pub format: u32,
    /// The program that answers, with its version.
    pub answered_by: String,
    /// The loader's clock.
    pub at: Timestamp,
    /// How long an invocation may take, about.
    pub time_limit_seconds: u64,
    /// What it found in Redshift.
    pub findings: Vec<Finding>,
    /// Tables that belong to somebody else, the stream's or not; none if it did not find out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Vec<ForeignTable>>,
}
