//! `re_dms destroy`: what the command line asks the loader to remove from Redshift, and the answer.
//!
//! It goes through the stream's own FIFO group, behind all that was announced, so that nothing that comes later makes a ledger
//! anew. The answer is an object on S3, as that to [a check](crate::check).

use serde::{Deserialize, Serialize};

/// The format of request and answer that this build writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The word that tells this request from others.
pub const REQUEST: &str = "remove";

/// Tables that one request may name: it is one transaction, which the Data API bounds.
pub const MOST_TABLES: usize = 30;

/// Command line to loader: remove this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// [`FORMAT`]
    pub format: u32,
    /// [`REQUEST`]
    pub request: String,
    /// The stream's name.
    pub stream: String,
    /// Tells this request from others: lower-case letters, digits and hyphens.
    pub id: String,
    /// The bucket that the answer goes to.
    pub bucket: String,
    /// Where in it.
    pub answer_key: String,
    /// Tables to drop, at most [`MOST_TABLES`]. One that is not there is no error.
    #[serde(default)]
    pub tables: Vec<RemovedTable>,
    /// Drop the stream's ledger and table log, too.
    #[serde(default)]
    pub records: bool,
}

/// A table in Redshift.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RemovedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// Loader to command line, as an object on S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveAnswer {
    /// [`FORMAT`]
    pub format: u32,
    /// The program that answers, with its version.
    pub answered_by: String,
    /// Why nothing of it was done; none if all of it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RemoveFailure>,
}

/// Why nothing was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveFailure {
    /// What went wrong. Never holds a row value.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}
