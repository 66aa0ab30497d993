//! `re_dms verify`: what both sides compute of a table, so that equal rows give equal numbers and nothing else does.
//!
//! The source and Redshift are asked the same question in SQL ([`queries`]): rows in groups, and of each group their number and
//! two sums of parts of the rows' MD5. Sums do not depend on the rows' order, and a row that is there twice counts twice. A
//! row's hash is made of each value's canonical text ([`Form`]), which both databases can make with functions that are
//! documented; values are taken on the source as the declared policies make them ([`source_value`]). See ADR 23.
//!
//! The loader answers by an object on S3, as for [`crate::check`].

mod form;
mod query;
mod value;

use serde::{Deserialize, Serialize};

pub use form::Form;
pub use query::{Dialect, Value, join, queries};
pub use value::{SourceColumn, form, source_value};

/// The format of question and answer that this build writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The word that tells this request from those for a table.
pub const REQUEST: &str = "verify";

/// Capture to loader, through the stream's FIFO group, between the segment `seq` and the next one: what is in Redshift now?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// [`FORMAT`]
    pub format: u32,
    /// [`REQUEST`]
    pub request: String,
    /// The stream's name.
    pub stream: String,
    /// The epoch's text form.
    pub epoch: String,
    /// The last segment that must be in, and no later one; 0 for none.
    pub seq: u64,
    /// Tells this question from others: lower-case letters, digits and hyphens.
    pub id: String,
    /// The bucket of both keys.
    pub bucket: String,
    /// Where the [`Checks`] are.
    pub checks_key: String,
    /// Where the answer goes.
    pub answer_key: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// [`FORMAT`]
    pub format: u32,
    /// Of these tables.
    pub tables: Vec<TableCheck>,
}

/// What is asked of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCheck {
    /// Schema in Redshift.
    pub schema: String,
    /// Name in Redshift.
    pub name: String,
    /// The columns that are compared, in the source's order.
    pub columns: Vec<CheckColumn>,
    /// Rows are grouped by their key; else by all that is compared of them.
    pub keyed: bool,
    /// Which rows, in which groups.
    pub ask: Ask,
}

/// A column that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckColumn {
    /// Its name in Redshift.
    pub name: String,
    /// Its type there, or a narrower one.
    pub redshift_type: crate::types::RedshiftType,
    /// Its canonical text.
    pub form: Form,
    /// Part of the key.
    pub key: bool,
}

/// Which rows, in which groups. Each row has a number by its key's hash; its bucket is what is left of that after a division.
/// Where both databases have one order for the key's first column, there are ranges, too, which need not be looked for in
/// all of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Only those of these ranges; of all if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// And only those of these buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Buckets>,
    /// How they are grouped.
    pub by: By,
}

/// Values of the key's first column, as PostgreSQL prints them in ISO's forms and UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first one; none for whatever comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first one behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Some of a number of buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// How many there are.
    pub of: u64,
    /// Which, from 0.
    pub buckets: Vec<u64>,
}

/// How rows are grouped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// In ranges of the key's first column: from each of these values on, ascending, another one begins. Numbered from 0.
    Ranges(Vec<String>),
    /// In so many buckets.
    Buckets(u64),
    /// Each key by itself.
    Keys {
        /// Whether their values are wanted, too.
        shown: bool,
        /// No more groups than this.
        most: u32,
    },
}

/// Loader to capture, as an object on S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`FORMAT`]
    pub format: u32,
    /// The program that answers, with its version.
    pub answered_by: String,
    /// What it found.
    pub outcome: Outcome,
}

/// What the loader found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// Of each table, in the order of the question.
    Read {
        /// What Redshift has.
        tables: Vec<TableAnswer>,
    },
    /// Redshift was not as of the segment that was meant: another question may be.
    Elsewhere {
        /// The last segment that was in; none if that was not certain.
        last: Option<u64>,
    },
    /// It can't be answered.
    Failed {
        /// What went wrong. Never holds a row value.
        error: String,
        /// What to do about it.
        hint: String,
    },
}

/// What Redshift has of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "table", rename_all = "snake_case")]
pub enum TableAnswer {
    /// Its rows.
    Groups {
        /// By group.
        groups: Vec<Group>,
    },
    /// There is no such table.
    Missing,
    /// Its columns are not those that the stream made.
    Unlike {
        /// Which, and how.
        what: String,
    },
    /// Its steps wait: it is not as of the segment.
    Waiting {
        /// Why.
        reason: String,
    },
    /// It can't be read.
    Failed {
        /// What went wrong. Never holds a row value.
        error: String,
        /// What to do about it.
        hint: String,
    },
}

/// Rows of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The range's or the bucket's number, or the key's hash.
    pub id: String,
    /// How many there are.
    pub rows: u64,
    /// Sums of two parts of their hashes.
    pub sums: [String; 2],
    /// The key's values, where they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}
