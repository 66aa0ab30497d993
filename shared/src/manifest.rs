//! `manifest.json`: what a segment is. Written once, last, after every file that it names.

use std::ops::AddAssign;
mod chunk;
mod copied;
mod layout;
mod schema;
mod tagged;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lsn::Lsn;
use crate::types::RedshiftType;
pub use chunk::{Chunk, KeyBound, KeyRange};
pub use copied::{CopiedTable, CopiedTables};
pub use layout::{Distribution, Encoding, Layout, ParseEncodingError, can_be_layout_key};
pub use schema::{Fill, OldValues, SchemaChange, TableChange};
pub use tagged::{MOST_COLUMNS, TagParts, can_be_tagged, key_tag, most_columns, needs_tagged_keys};

/// The newest format that this build reads. Every older one is read too: format 1 knew no [`Operation::Remove`], format 2
/// no [`Action::Schema`], only [`Compression::Gzip`], and of a table neither [`Layout`] nor columns that are kept; format 3 no
/// [`Manifest::copy`] and [`Manifest::after_copy`]; format 4 no [`Load::tagged_keys`], [`Action::Resync`] and [`Action::Replace`];
/// format 5 no [`Action::Chunk`] and no [`Manifest::restores`].
pub const FORMAT: u32 = 6;

/// The format of segments of an initial copy and of those that are staged beside it.
pub const COPY_FORMAT: u32 = 4;

/// The format of a manifest that restores a checkpoint.
pub const RESTORE_FORMAT: u32 = 6;

/// The lowest format that says all that the steps hold: what a manifest is written in, so that an older loader goes on as
/// long as it can.
#[must_use]
pub fn lowest_format(steps: &[Step]) -> u32 {
    let needs_3 = |step: &Step| {
        let by_action = match &step.action {
            Action::Load(load) => load.compression != Compression::Gzip,
            Action::Schema(_) | Action::Chunk(_) => true,
            Action::Truncate | Action::Resync | Action::Replace(_) => false,
        };
        by_action || !step.table.layout.is_auto() || !step.table.kept.is_empty()
    };
    let needs_5 = |step: &Step| match &step.action {
        Action::Load(load) => load.tagged_keys,
        Action::Resync | Action::Replace(_) => true,
        Action::Schema(_) | Action::Truncate | Action::Chunk(_) => false,
    };
    match steps {
        steps if steps.iter().any(|step| matches!(step.action, Action::Chunk(_))) => 6,
        steps if steps.iter().any(needs_5) => 5,
        steps if steps.iter().any(needs_3) => 3,
        _ => 2,
    }
}

/// A segment: whole transactions of one epoch, as ordered steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What [`lowest_format`] said when it was written.
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// The epoch's text form.
    pub epoch: String,
    /// From 1, without gaps.
    pub seq: u64,
    /// The segment before this one; none for the first, and where it was not there yet: see [`Manifest::after_copy`].
    pub predecessor: Option<Predecessor>,
    /// The end of the segment before; the epoch's consistent point for the first. The segment covers `(start, end]`.
    pub start_lsn: Lsn,
    /// The end of its last transaction's commit record.
    pub end_lsn: Lsn,
    /// When its first transaction was committed.
    pub first_commit_time: Timestamp,
    /// When its last transaction was committed.
    pub last_commit_time: Timestamp,
    /// Source transactions in it.
    pub transactions: u64,
    /// The program that wrote it, with its version.
    pub captured_by: String,
    /// S3 key of the file that has the tables' shapes as of the segment's end; none before there was one. Only the
    /// capture reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapes: Option<String>,
    /// The segment is the initial copy of this table: its one load holds inserts alone, in files of the table's columns and
    /// nothing else, and goes straight into the table, which must be empty. Since format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopiedTable>,
    /// This is no segment but what a checkpoint holds: the state at the end of this one, for a ledger that has none. Its loads
    /// are like an initial copy's; the ledger takes it for that segment. Since format 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<Predecessor>,
    /// S3 key of the list of copied tables ([`CopiedTables`]), where the segment was staged while the initial copy went
    /// on. Steps of tables whose snapshot is not before this segment's end are in the copy already. Since format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_copy: Option<String>,
    /// In the order in which they are to be done; `number` counts from 1.
    pub steps: Vec<Step>,
}

/// The segment before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its number.
    pub seq: u64,
    /// Its manifest's checksum.
    pub sha256: String,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// From 1 within the segment.
    pub number: u32,
    /// The table that it is done to, as it was then.
    pub table: Table,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
}

/// A table with the shape that it had when the step's changes were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema on the source.
    pub schema: String,
    /// Name on the source.
    pub name: String,
    /// `pg_class.oid` on the source.
    pub oid: u32,
    /// Schema in Redshift.
    pub target_schema: String,
    /// Name in Redshift.
    pub target_name: String,
    /// In the source's order.
    pub columns: Vec<Column>,
    /// Columns that the source has dropped and Redshift keeps: new rows have NULL there. Since format 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Column>,
    /// How its rows are to lie in Redshift, should it have to be made. Since format 3.
    #[serde(default, skip_serializing_if = "Layout::is_auto")]
    pub layout: Layout,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name on the source.
    pub name: String,
    /// `pg_attribute.attnum` where the capture knows it: proof of identity when a column is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute_number: Option<i16>,
    /// `pg_attribute.atttypid`
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`
    pub type_modifier: i32,
    /// Name in Redshift.
    pub target_name: String,
    /// Type in Redshift.
    pub redshift_type: RedshiftType,
    /// Part of the key that changes are matched by.
    pub key: bool,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Rows from files into the table.
    Load(Load),
    /// All rows of the table go.
    Truncate,
    /// The table becomes what the step says. Since format 3.
    Schema(SchemaChange),
    /// The table is being read anew: its steps from here on wait for [`Action::Replace`]. Whatever waited before, for
    /// whatever reason, need not come any more. Since format 5.
    Resync,
    /// Rows that take the place of all that the table holds: inserts alone, in files of the table's columns and nothing
    /// else. They are as of the table's last [`Action::Resync`], and its steps since then come behind them. Since format 5.
    Replace(Load),
    /// Rows that take the place of all that the table holds of ranges of keys. In order with the table's other steps: what
    /// comes before it is in its rows, what comes behind is not. Since format 6.
    Chunk(Chunk),
}

/// Rows of one table in files of [the CSV format](Operation): one entry a key, or, for a table without a key, rows that
/// come and rows that go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// S3 key of Redshift's own COPY manifest, which names the same files.
    pub copy_manifest: String,
    /// The data.
    pub files: Vec<DataFile>,
    /// How the files are compressed, all in one way. Format 3; before that it was always gzip.
    #[serde(default, skip_serializing_if = "Compression::is_gzip")]
    pub compression: Compression,
    /// The files have [tagged keys](needs_tagged_keys), and no columns but the table's. Since format 5.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tagged_keys: bool,
    /// Rows by operation; their sum is the sum of the files' rows.
    pub rows: RowCounts,
    /// For updates: the sets of columns that a row holds, as ascending positions in the table's columns. A row names
    /// its set by the position in this list.
    pub present_sets: Vec<Vec<usize>>,
    /// Values that could not arrive exact and met a policy, by column. Empty if every value is exact.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<Altered>,
}

/// How data files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// One gzip member a file.
    #[default]
    Gzip,
    /// One zstd frame a file.
    Zstd,
}

impl Compression {
    /// The option of `COPY`.
    #[must_use]
    pub fn copy_option(self) -> &'static str {
        match self {
            Compression::Gzip => "GZIP",
            Compression::Zstd => "ZSTD",
        }
    }

    /// How keys of such files end.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_gzip(&self) -> bool {
        *self == Compression::Gzip
    }
}

/// Values of one column that met a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered {
    /// The column's name on the source.
    pub column: String,
    /// What was done: `null` or `truncate`.
    pub policy: String,
    /// How many values.
    pub values: u64,
}

/// One data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// S3 key.
    pub key: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size on S3, compressed.
    pub bytes: u64,
    /// Of the compressed bytes: 64 lower-case hex digits.
    pub sha256: String,
}

/// Rows of a load by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// New keys: see [`Operation::Insert`].
    pub inserts: u64,
    /// See [`Operation::Replace`].
    pub replaces: u64,
    /// See [`Operation::Update`].
    pub updates: u64,
    /// See [`Operation::Delete`].
    pub deletes: u64,
    /// See [`Operation::Move`].
    pub moves: u64,
    /// See [`Operation::Remove`].
    #[serde(default)]
    pub removes: u64,
}

impl RowCounts {
    /// All rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        let RowCounts { inserts, replaces, updates, deletes, moves, removes } = self;
        inserts + replaces + updates + deletes + moves + removes
    }
}

impl AddAssign for RowCounts {
    fn add_assign(&mut self, more: Self) {
        let RowCounts { inserts, replaces, updates, deletes, moves, removes } = more;
        self.inserts += inserts;
        self.replaces += replaces;
        self.updates += updates;
        self.deletes += deletes;
        self.moves += moves;
        self.removes += removes;
    }
}

/// What a row of a data file says about its key, or, in a table without a key, about rows that are equal to it.
///
/// The files are CSV without a header. Their fields are, in order: [`OPERATION_COLUMN`], [`PRESENT_SET_COLUMN`], the
/// table's columns, and, in a load that holds moves, the old key's columns (named by [`old_key_column`]), in one that
/// holds removals [`REMOVAL_COLUMN`] and [`COPIES_COLUMN`]. Where these would be too many, the key's fields have all of it in
/// front of their values: see [`key_tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The key is new, or the table has none: every column is there.
    Insert,
    /// Whatever the key held goes, this row stands instead: every column is there.
    Replace,
    /// The columns of the row's present set change; the others keep what Redshift has.
    Update,
    /// The row goes: only key columns are there.
    Delete,
    /// As update, of the row that has the old key; the new key's columns are part of the present set.
    Move,
    /// So many rows go that equal this one in every column; those beyond stay. Only in tables without a key. Rows are
    /// equal as they are in Redshift, NULL equals NULL; removals come before the load's inserts.
    Remove,
}

impl Operation {
    /// The one letter that stands for it in the files.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Operation::Insert => "i",
            Operation::Replace => "r",
            Operation::Update => "u",
            Operation::Delete => "d",
            Operation::Move => "m",
            Operation::Remove => "x",
        }
    }
}

/// Staging column: [`Operation::code`], `VARCHAR(1)`.
pub const OPERATION_COLUMN: &str = "re_dms_op";

/// Staging column: position in [`Load::present_sets`], `INTEGER`, NULL for all but updates and moves.
pub const PRESENT_SET_COLUMN: &str = "re_dms_set";

/// Staging column of a load that holds removals: the removal's number in the load, from 1, `BIGINT`, NULL for inserts.
pub const REMOVAL_COLUMN: &str = "re_dms_row";

/// Staging column of a load that holds removals: how many copies go, `BIGINT`, NULL for inserts.
pub const COPIES_COLUMN: &str = "re_dms_copies";

/// Staging column of the `position`th (from 0) key column's old value, with that column's type.
#[must_use]
pub fn old_key_column(position: usize) -> String {
    format!("re_dms_old_{position}")
}

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of a manifest's shape.
    #[error("not a manifest: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer re_dms.
    #[error(
        "format {found}, and this version reads up to {FORMAT} (hint: update the loader before the capture)"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
}

impl Manifest {
    /// The text that goes to S3.
    ///
    /// # Errors
    /// Only if serde refuses, which it has no reason to.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// The loads hold rows of tables that must be empty: inserts alone, in files of the table's columns and nothing else.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.copy.is_some() || self.restores.is_some()
    }

    /// The checksum that the ledger knows the segment by, where that of this manifest is `own`.
    #[must_use]
    pub fn ledger_sha256<'a>(&'a self, own: &'a str) -> &'a str {
        self.restores.as_ref().map_or(own, |segment| &segment.sha256)
    }

    /// The segment that must be the ledger's last before this one; 0 for none.
    #[must_use]
    pub fn follows(&self) -> u64 {
        if self.restores.is_some() { 0 } else { self.seq.saturating_sub(1) }
    }

    /// Reads any format up to [`FORMAT`].
    ///
    /// # Errors
    /// Malformed text, or a newer format.
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(json)?;
        if head.format > FORMAT {
            return Err(ManifestError::Newer { found: head.format });
        }
        Ok(serde_json::from_slice(json)?)
    }
}

/// SHA-256 as 64 lower-case hex digits, the form that manifests and messages use.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Redshift's own COPY manifest (`redshift.md`, 1.5) for files in one bucket, every one mandatory.
#[must_use]
pub fn copy_manifest_json(bucket: &str, files: &[DataFile]) -> Vec<u8> {
    let entry = |file: &DataFile| {
        serde_json::json!({
            "url": format!("s3://{bucket}/{}", file.key),
            "mandatory": true,
            "meta": { "content_length": file.bytes },
        })
    };
    let entries: Vec<_> = files.iter().map(entry).collect();
    serde_json::json!({ "entries": entries }).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
