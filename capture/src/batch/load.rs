//! What a cut batch is made of: steps, and the rows of each load.

use std::sync::Arc;

use re_dms_shared::manifest::{KeyRange, Load, Operation, SchemaChange};

use super::shape::TableShape;

/// One thing to do, in memory.
#[derive(Debug)]
pub struct StepData {
    /// The table, as it was then.
    pub shape: Arc<TableShape>,
    /// What to do.
    pub action: StepAction,
}

/// What a step does.
#[derive(Debug)]
pub enum StepAction {
    /// All rows of the table go.
    Truncate,
    /// Rows into the table.
    Load(LoadData),
    /// The table's definition changes.
    Schema(Box<SchemaChange>),
    /// The table is being read anew: what comes behind waits for that.
    Resync,
    /// It was read anew: these rows, which are on S3 already.
    Replace(Box<Load>),
    /// Ranges of keys were read anew.
    Chunk(KeyedRows),
}

/// All rows of ranges of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRows {
    /// Names in Redshift of the key's columns, in the ranges' order.
    pub key: Vec<String>,
    /// Which keys.
    pub ranges: Vec<KeyRange>,
    /// Replaces alone.
    pub rows: Vec<Entry>,
}

/// The rows of one load. Never empty.
#[derive(Clone, Debug)]
pub enum LoadData {
    /// One entry a key; for a table without a key, new rows in the order in which they came.
    Entries(Vec<Entry>),
    /// Rows that get another key and keep cells that only Redshift has. No key occurs twice among the old and new
    /// ones, so their order does not matter.
    Moves(Vec<Move>),
    /// Rows of a table without a key, some of which go. No row occurs twice.
    Copies(Vec<Copies>),
}

/// How many more, or fewer, rows of one content there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Bytes of a checked tuple, every cell there.
    pub row: Box<[u8]>,
    /// Never 0.
    pub change: i64,
}

/// What the batch knows of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Never [`Operation::Move`].
    pub operation: Operation,
    /// Bytes of a checked [`Tuple`](crate::pgoutput::Tuple): the row, with unchanged cells only if the operation is an
    /// update; for a delete the key's cells alone, in the order of the shape's key positions.
    pub row: Box<[u8]>,
}

/// A row that gets another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Bytes of a checked tuple: the old key's cells, in the order of the shape's key positions.
    pub old_key: Box<[u8]>,
    /// Bytes of a checked tuple: the row, the new key's cells all there.
    pub row: Box<[u8]>,
}

impl LoadData {
    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            LoadData::Entries(entries) => entries.len(),
            LoadData::Moves(moves) => moves.len(),
            LoadData::Copies(rows) => rows.iter().map(Copies::lines).sum(),
        }
    }

    /// The rows' lengths in memory, added up: close to their size as text.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        match self {
            LoadData::Entries(entries) => entries.iter().map(|entry| entry.row.len()).sum(),
            LoadData::Moves(moves) => moves.iter().map(|moved| moved.row.len() + moved.old_key.len()).sum(),
            LoadData::Copies(rows) => rows.iter().map(|copies| copies.row.len() * copies.lines()).sum(),
        }
    }
}

impl Copies {
    /// Rows of the load: an insert a copy, one removal for all that go.
    #[must_use]
    pub fn lines(&self) -> usize {
        if self.change < 0 { 1 } else { usize::try_from(self.change).unwrap_or(usize::MAX) }
    }
}

impl StepData {
    /// Heap bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let rows = match &self.action {
            StepAction::Truncate | StepAction::Schema(_) | StepAction::Resync | StepAction::Replace(_) => 0,
            StepAction::Load(LoadData::Entries(entries)) => entries_bytes(entries),
            StepAction::Chunk(chunk) => entries_bytes(&chunk.rows),
            StepAction::Load(LoadData::Moves(moves)) => {
                let both = |moved: &Move| allocated(moved.row.len()) + allocated(moved.old_key.len());
                moves.iter().map(both).sum::<usize>() + moves.capacity() * size_of::<Move>()
            }
            StepAction::Load(LoadData::Copies(rows)) => {
                let held: usize = rows.iter().map(|copies| allocated(copies.row.len())).sum();
                held + rows.capacity() * size_of::<Copies>()
            }
        };
        size_of::<StepData>() + rows
    }
}

fn entries_bytes(entries: &Vec<Entry>) -> usize {
    let rows: usize = entries.iter().map(|entry| allocated(entry.row.len())).sum();
    rows + entries.capacity() * size_of::<Entry>()
}

/// What the allocator takes for a block of `length` bytes: 8 bytes of its own, in steps of 16, at least 32.
pub(super) fn allocated(length: usize) -> usize {
    if length == 0 { 0 } else { (length + 8).next_multiple_of(16).max(32) }
}
