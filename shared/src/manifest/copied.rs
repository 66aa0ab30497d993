//! The initial copy, as manifests and `copied.json` tell of it.

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// A table that was read under one snapshot of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedTable {
    /// `pg_class.oid` on the source.
    pub oid: u32,
    /// Schema on the source.
    pub schema: String,
    /// Name on the source.
    pub name: String,
    /// The snapshot's position: transactions whose commit record begins before it are in the copy, all others are not.
    pub snapshot: Lsn,
}

/// `copied.json`: every table of a finished initial copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedTables {
    /// [`CopiedTables::FORMAT`]
    pub format: u32,
    /// S3 key of the file that has the tables' shapes as they were copied. Only the capture reads it.
    pub shapes: String,
    /// In the order of their segments, from the first on.
    pub tables: Vec<CopiedTable>,
}

impl CopiedTables {
    /// The format that is written.
    pub const FORMAT: u32 = 1;

    /// Whether a step on the table, in a segment that ends at `end_lsn`, is in the table's copy already.
    #[must_use]
    pub fn holds(&self, oid: u32, end_lsn: Lsn) -> bool {
        self.tables.iter().any(|table| table.oid == oid && end_lsn <= table.snapshot)
    }
}
