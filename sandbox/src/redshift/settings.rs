//! What can be chosen about the stand-in: its isolation, and how it reads what Redshift's documents leave open.
//! `POST /_standin/settings` changes it while it runs.

use serde::{Deserialize, Serialize};

/// A database's isolation level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// That of new clusters: what two transactions both update is a conflict.
    #[default]
    Snapshot,
    /// That of older ones: transactions that could not have run one after the other are a conflict.
    Serializable,
}

/// How the stand-in reads the points that only a real Redshift can settle (`redshift.md`, 9), each by its letter there. The
/// defaults are the narrower readings, as far as something that is in use is not known to need the wider one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenPoints {
    /// (a) A quoted field is compared with NULL AS, and empty is NULL for it, as if it were not quoted.
    pub quoted_fields_may_be_null: bool,
    /// (b) NULL AS means NULL in a SUPER column too; else it is malformed JSON.
    pub super_knows_null_as: bool,
    /// (b) An empty field is NULL in a SUPER column; else it is malformed JSON.
    pub empty_super_is_null: bool,
    /// (c) COPY takes NaN and Infinity for floating point columns.
    pub floats_may_be_special: bool,
    /// (d) COPY takes 24:00:00 as a time of day.
    pub times_may_be_24: bool,
    /// (e) COPY takes dates before the year 1 and after 9999.
    pub dates_may_be_far: bool,
    /// (f) A ClientToken that comes again with another body names the earlier statement; else it is refused.
    pub reused_tokens_replay: bool,
    /// (g) COMMIT in a TRANSACTION batch ends the transaction, and the next statement begins another; else it is refused.
    pub batches_may_commit: bool,
    /// (h) `ResultRows` of a COPY is the number of rows loaded; else -1.
    pub copies_report_rows: bool,
    /// (i) COPY into a table that the same transaction altered.
    pub copies_may_follow_alter: bool,
    /// (j) COPY's longest row, in megabytes.
    pub copy_row_megabytes: u32,
    /// (k) A backslash in COPY's option strings is an escape, as in any other string.
    pub copy_strings_are_escaped: bool,
    /// (l) Without Parameters, `::type` is taken for one, which has no value. Literals are not: AWS's examples hold ARNs.
    pub colons_are_parameters: bool,
}

impl Default for OpenPoints {
    fn default() -> Self {
        Self {
            quoted_fields_may_be_null: true,
            super_knows_null_as: true,
            empty_super_is_null: false,
            floats_may_be_special: false,
            times_may_be_24: true,
            dates_may_be_far: false,
            reused_tokens_replay: false,
            batches_may_commit: false,
            copies_report_rows: true,
            copies_may_follow_alter: false,
            copy_row_megabytes: 4,
            copy_strings_are_escaped: false,
            colons_are_parameters: false,
        }
    }
}

/// All that can be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The database's isolation level.
    pub isolation: Isolation,
    /// The open points.
    pub open_points: OpenPoints,
}
