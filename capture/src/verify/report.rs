//! What a verification found, for people and as JSON. Values of keys are in it only where they were asked for.

use std::fmt;

use jiff::Timestamp;
use re_dms_shared::Lsn;
use serde::{Deserialize, Serialize};

/// The format that is written.
pub const FORMAT: u32 = 1;

/// What was found of all tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`]
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// The run's.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The worst of the tables'.
    pub verdict: Verdict,
    /// Per cent of the rows that were looked at, about; all if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u8>,
    /// By table.
    pub tables: Vec<TableReport>,
    /// Why the run broke off; none if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How both sides compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was compared is the same.
    #[default]
    Equal,
    /// It could not be compared.
    Unverified,
    /// It is not the same.
    Different,
}

/// What was found of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// `schema.name` on the source.
    pub table: String,
    /// Schema and name in Redshift.
    pub target: String,
    /// How both sides compare.
    pub verdict: Verdict,
    /// Where the source was read, and up to where Redshift was loaded.
    pub at: Lsn,
    /// Rows on the source that were looked at.
    pub source_rows: u64,
    /// Rows in Redshift that were looked at.
    pub redshift_rows: u64,
    /// Why it could not be compared, or what else there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Groups of rows that were compared, and of these those that differed.
    pub groups: u64,
    /// See [`Self::groups`].
    pub groups_different: u64,
    /// Of the keys that were looked at one by one.
    #[serde(default)]
    pub differences: Differences,
    /// Not all groups that differed were looked at more closely.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// The values of keys that differ, if they were asked for: at most some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<DifferentKey>,
    /// Columns that are not compared, or not in every respect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<SkippedColumn>,
    /// What of it is read anew, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
}

/// What of a table is read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// So many ranges of its keys.
    Ranges(u64),
    /// All of it.
    Whole,
}

/// How many keys differ in which way; rows, where a table has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// Redshift lacks them.
    pub missing: u64,
    /// The source lacks them.
    pub extra: u64,
    /// Both have them, not equally often.
    pub copies: u64,
    /// Both have them with other values.
    pub changed: u64,
}

impl Differences {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { missing, extra, copies, changed } = self;
        missing + extra + copies + changed
    }
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentKey {
    /// Its values.
    pub key: String,
    /// How.
    pub what: How,
}

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Redshift lacks it.
    Missing,
    /// The source lacks it.
    Extra,
    /// Both have it, not equally often.
    Copies,
    /// Both have it with other values.
    Changed,
}

/// A column that is not compared, or not in every respect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedColumn {
    /// Its name.
    pub column: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// With what a later run found of some of its tables in the place of what this one did.
    pub fn take(&mut self, mut later: Report) {
        for table in &mut later.tables {
            table.repair =
                self.tables.iter().find(|other| other.table == table.table).and_then(|other| other.repair);
        }
        self.tables.retain(|table| later.tables.iter().all(|other| other.table != table.table));
        self.tables.extend(later.tables);
        self.tables.sort_by(|a, b| a.table.cmp(&b.table));
        self.finished_at = later.finished_at;
        self.error = self.error.take().or(later.error);
        let worst = self.tables.iter().map(|table| table.verdict).max().unwrap_or_default();
        self.verdict = if self.error.is_some() { worst.max(Verdict::Unverified) } else { worst };
    }
}

impl TableReport {
    /// It was not compared.
    #[must_use]
    pub fn unverified(table: String, target: String, why: impl Into<String>) -> Self {
        Self { table, target, verdict: Verdict::Unverified, remark: Some(why.into()), ..Self::default() }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Equal => "equal",
            Verdict::Unverified => "UNVERIFIED",
            Verdict::Different => "DIFFERENT",
        })
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Ranges(1) => f.write_str("one range"),
            Repair::Ranges(ranges) => write!(f, "{ranges} ranges"),
            Repair::Whole => f.write_str("all of it"),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Missing => "missing in Redshift",
            How::Extra => "only in Redshift",
            How::Copies => "not equally often",
            How::Changed => "other values",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.tables.iter().map(|table| table.table.len()).max().unwrap_or(0);
        for table in &self.tables {
            write!(f, "{:<width$}  {:<10}", table.table, table.verdict)?;
            if table.verdict == Verdict::Equal {
                write!(f, "  {} rows at {}", table.source_rows, table.at)?;
            } else if table.verdict == Verdict::Different {
                let TableReport { source_rows, redshift_rows, at, .. } = table;
                write!(f, "  {source_rows} rows on the source, {redshift_rows} in Redshift at {at}")?;
            }
            if let Some(remark) = &table.remark {
                write!(f, "  {remark}")?;
            }
            writeln!(f)?;
            let Differences { missing, extra, copies, changed } = table.differences;
            let named = [
                (missing, "missing in Redshift"),
                (extra, "only in Redshift"),
                (copies, "not equally often"),
                (changed, "with other values"),
            ];
            for (count, what) in named.into_iter().filter(|(count, _)| *count > 0) {
                writeln!(f, "    {count} {what}")?;
            }
            if table.more {
                writeln!(f, "    and more: not all that differs was looked at")?;
            }
            for key in &table.keys {
                writeln!(f, "    {}: {}", key.key, key.what)?;
            }
            for SkippedColumn { column, reason } in &table.columns {
                writeln!(f, "    column {column}: {reason}")?;
            }
        }
        if let Some(error) = &self.error {
            writeln!(f, "broken off: {error}")?;
        }
        let count = |verdict| self.tables.iter().filter(|table| table.verdict == verdict).count();
        let (equal, different) = (count(Verdict::Equal), count(Verdict::Different));
        writeln!(f, "{equal} equal, {different} different, {} unverified", count(Verdict::Unverified))
    }
}
