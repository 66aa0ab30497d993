//! The batch: the changes of whole transactions in memory, split by table, one entry a key, until they are cut into a
//! segment's steps. Tables without a key have one entry for all rows that are equal.
//!
//! Pure: no I/O and no async. Rows are kept in pgoutput's own encoding, one allocation each; what becomes of them on
//! S3 is the business of [`rows`](crate::rows).
//!
//! Steps of different tables commit together in Redshift, so only the order within one table matters. A table's
//! changes gather in one open *stage* – moves first, then one entry a key – and a new stage starts only where the
//! order between two of them matters.

mod cells;
mod error;
mod load;
mod multiset;
mod project;
mod shape;
mod stage;
mod table;
mod within;

use std::collections::HashMap;
use std::sync::Arc;

use re_dms_shared::manifest::{KeyRange, Load, SchemaChange, Table};

pub use error::BatchError;
pub use load::{Copies, Entry, KeyedRows, LoadData, Move, StepAction, StepData};
pub use shape::{ShapeError, SourceColumn, TableShape};
pub use within::{KeyChange, Part, key_change};

use crate::pgoutput::ChangeKind;
use project::Projected;
use table::TableBatch;

/// The changes of whole transactions, by table.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they first changed.
    tables: Vec<TableBatch>,
    /// Position in `tables` by the source's OID.
    by_oid: HashMap<u32, usize>,
    /// Position in `tables` of who writes to a target (schema, name): two source tables follow each other in one
    /// target when a table is dropped and made again, or renamed out of another one's way.
    by_target: HashMap<(String, String), usize>,
    /// The table of the change before: most changes come in runs.
    last: Option<usize>,
    closed: ClosedSteps,
    changes: u64,
    projected: Projected,
    /// Heap bytes of the tables' open stages.
    open_bytes: usize,
}

/// Steps that no later change can alter.
#[derive(Debug, Default)]
struct ClosedSteps {
    steps: Vec<StepData>,
    /// Heap bytes.
    bytes: usize,
}

impl ClosedSteps {
    fn push(&mut self, step: StepData) {
        self.bytes += step.bytes();
        self.steps.push(step);
    }
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one change of a table with the shape that it had then.
    ///
    /// # Errors
    /// See [`BatchError`]. The change has left no trace.
    pub fn apply(&mut self, shape: &Arc<TableShape>, change: ChangeKind<'_>) -> Result<(), BatchError> {
        let position = self.position(shape);
        let table = &mut self.tables[position];
        let before = table.bytes();
        let change = match shape.positions() {
            Some(positions) => self.projected.change(change, positions),
            None => change,
        };
        table.apply(change, |step| self.closed.push(step))?;
        self.open_bytes = self.open_bytes - before + table.bytes();
        self.changes += 1;
        Ok(())
    }

    /// Adds a TRUNCATE: what the table's open stage holds is gone, and a step says so.
    pub fn truncate(&mut self, shape: &Arc<TableShape>) {
        let position = self.position(shape);
        let table = &mut self.tables[position];
        self.open_bytes -= table.bytes();
        table.wipe();
        self.open_bytes += table.bytes();
        self.closed.push(StepData { shape: Arc::clone(shape), action: StepAction::Truncate });
        self.changes += 1;
    }

    /// The table is being read anew from here on: whatever is open for its rows, or under its names in Redshift, comes
    /// before.
    pub fn resync(&mut self, shape: &Arc<TableShape>) {
        self.close_all_of(shape);
        self.closed.push(StepData { shape: Arc::clone(shape), action: StepAction::Resync });
        self.changes += 1;
    }

    /// These rows take the place of all that the table has of these keys, as of here.
    pub fn chunk(
        &mut self,
        shape: &Arc<TableShape>,
        key: Vec<String>,
        ranges: Vec<KeyRange>,
        rows: Vec<Entry>,
    ) {
        self.close_all_of(shape);
        let action = StepAction::Chunk(KeyedRows { key, ranges, rows });
        self.closed.push(StepData { shape: Arc::clone(shape), action });
        self.changes += 1;
    }

    /// What is open for the table's rows, or under its names in Redshift, comes before.
    fn close_all_of(&mut self, shape: &Arc<TableShape>) {
        let table = shape.table();
        let target = (table.target_schema.clone(), table.target_name.clone());
        let positions = [self.by_oid.get(&table.oid).copied(), self.by_target.get(&target).copied()];
        for position in positions.into_iter().flatten() {
            self.close(position);
        }
    }

    /// The table was read anew, with this shape. Where among the table's steps that is told does not matter.
    pub fn replace(&mut self, shape: &Arc<TableShape>, load: Box<Load>) {
        self.closed.push(StepData { shape: Arc::clone(shape), action: StepAction::Replace(load) });
        self.changes += 1;
    }

    /// Adds a change of a table's definition: `table` is the shape after it. Whatever is open for its rows, or under its
    /// names in Redshift, comes before.
    pub fn change_schema(&mut self, table: Table, change: SchemaChange) {
        let mut positions: Vec<usize> = self.by_oid.get(&table.oid).copied().into_iter().collect();
        for named in std::iter::once(&table).chain(&change.before) {
            let target = (named.target_schema.clone(), named.target_name.clone());
            positions.extend(self.by_target.get(&target).copied());
        }
        for position in positions {
            self.close(position);
        }
        // Whoever comes next under these names has to look again.
        self.last = None;
        let shape = Arc::new(TableShape::of_table(table));
        self.closed.push(StepData { shape, action: StepAction::Schema(Box::new(change)) });
        self.changes += 1;
    }

    /// The changes received, TRUNCATE included: more than the entries that are left of them.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether nothing was received. A batch whose changes came to nothing is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// Memory that the batch holds, estimated from lengths and capacities, the allocator's rounding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.open_bytes + self.closed.bytes
    }

    /// The steps in order. Changes that came to nothing leave none.
    #[must_use]
    pub fn into_steps(self) -> Vec<StepData> {
        let mut closed = self.closed;
        for mut table in self.tables {
            table.close(|step| closed.push(step));
        }
        closed.steps
    }

    /// Where the table is in `tables`; whatever an older shape, or another table under the same target name, has open
    /// is closed first.
    fn position(&mut self, shape: &Arc<TableShape>) -> usize {
        if let Some(last) = self.last
            && Arc::ptr_eq(self.tables[last].shape(), shape)
        {
            return last;
        }
        let known = self.by_oid.get(&shape.table().oid).copied();
        let position = match known {
            Some(position) if self.tables[position].shape() == shape => position,
            Some(position) => {
                self.close(position);
                self.tables[position].reshape(Arc::clone(shape));
                self.take_target(position);
                position
            }
            None => {
                let position = self.tables.len();
                self.tables.push(TableBatch::new(Arc::clone(shape)));
                self.by_oid.insert(shape.table().oid, position);
                self.take_target(position);
                position
            }
        };
        self.last = Some(position);
        position
    }

    /// Closes what another source table has open for the same target.
    fn take_target(&mut self, position: usize) {
        let shape = self.tables[position].shape();
        let target = (shape.table().target_schema.clone(), shape.table().target_name.clone());
        let Some(before) = self.by_target.insert(target, position) else { return };
        if before != position && self.tables[before].shape().same_target(shape) {
            // Should it come back, it has to take the target over in its turn.
            self.by_oid.remove(&self.tables[before].shape().table().oid);
            self.close(before);
        }
    }

    fn close(&mut self, position: usize) {
        let table = &mut self.tables[position];
        self.open_bytes -= table.bytes();
        table.close(|step| self.closed.push(step));
        self.open_bytes += table.bytes();
    }
}

#[cfg(test)]
mod tests;
