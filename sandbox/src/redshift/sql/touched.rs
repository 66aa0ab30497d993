//! Which tables a statement reads and which it changes: what locks and isolation go by.

use super::names::TableName;

/// How a table is changed, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Write {
    /// Rows are added: INSERT, COPY.
    Append,
    /// Rows that are there are changed: UPDATE, DELETE, MERGE, TRUNCATE.
    Change,
    /// The table itself is: ALTER, DROP.
    Define,
}

/// The tables of a statement, as it names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) reads: Vec<TableName>,
    pub(crate) writes: Vec<(TableName, Write)>,
}

impl Touched {
    pub(crate) fn reads(reads: Vec<TableName>) -> Self {
        Self { reads, writes: Vec::new() }
    }

    pub(crate) fn writes(table: TableName, write: Write, reads: Vec<TableName>) -> Self {
        Self { reads, writes: vec![(table, write)] }
    }

    pub(crate) fn defines(tables: impl IntoIterator<Item = TableName>) -> Self {
        let writes = tables.into_iter().map(|table| (table, Write::Define)).collect();
        Self { reads: Vec::new(), writes }
    }

    /// All of them, each with how it is changed, if it is.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&TableName, Option<Write>)> {
        let reads = self.reads.iter().map(|table| (table, None));
        reads.chain(self.writes.iter().map(|(table, write)| (table, Some(*write))))
    }
}
