//! One table's changes, compacted: the rules of what becomes of a change over an earlier one of the same key.
//!
//! PostgreSQL takes only immediate unique indexes as replica identity, so no two rows have one key at any moment
//! between two changes; what contradicts that is an error, not a guess. Rows of a table without a key are matched as a
//! whole, which needs the whole row before the change: REPLICA IDENTITY FULL.

use std::sync::Arc;

use re_dms_shared::manifest::Operation;

use super::cells::{is_full, write_key, write_merged};
use super::error::BatchError;
use super::load::{StepAction, StepData};
use super::shape::TableShape;
use super::stage::{Presence, Stage};
use crate::pgoutput::{Cell, ChangeKind, OldTuple, Tuple};

/// The open stage of a table, with the shape that it has now.
#[derive(Debug)]
pub(super) struct TableBatch {
    shape: Arc<TableShape>,
    stage: Stage,
    buffers: Buffers,
}

/// Kept between changes so that none of them allocates.
#[derive(Debug, Default)]
struct Buffers {
    key: Vec<u8>,
    old_key: Vec<u8>,
    filled: Vec<u8>,
    merged: Vec<u8>,
}

const INSERT: &str = "an insert";
const UPDATE: &str = "an update";
const DELETE: &str = "a delete";

impl TableBatch {
    pub(super) fn new(shape: Arc<TableShape>) -> Self {
        Self { shape, stage: Stage::default(), buffers: Buffers::default() }
    }

    pub(super) fn shape(&self) -> &Arc<TableShape> {
        &self.shape
    }

    /// Goes on with another shape. The stage must be closed.
    pub(super) fn reshape(&mut self, shape: Arc<TableShape>) {
        self.shape = shape;
    }

    pub(super) fn bytes(&self) -> usize {
        self.stage.bytes()
    }

    /// Forgets the open stage: its rows are gone by a TRUNCATE.
    pub(super) fn wipe(&mut self) {
        self.stage = Stage::default();
    }

    /// Makes steps of the open stage and starts a new one.
    pub(super) fn close(&mut self, emit: impl FnMut(StepData)) {
        close_stage(&self.shape, &mut self.stage, emit);
    }

    /// Adds one change; steps that it closes go to `emit`.
    pub(super) fn apply(
        &mut self,
        change: ChangeKind<'_>,
        emit: impl FnMut(StepData),
    ) -> Result<(), BatchError> {
        match change {
            ChangeKind::Insert { new } => self.insert(new, emit),
            ChangeKind::Update { old, new } => self.update(old, new, emit),
            ChangeKind::Delete { old } => self.delete(old),
        }
    }

    fn insert(&mut self, new: Tuple<'_>, emit: impl FnMut(StepData)) -> Result<(), BatchError> {
        let TableBatch { shape, stage, buffers } = self;
        check_columns(shape, new)?;
        if let Some(position) = new.cells().position(|cell| cell == Cell::Unchanged) {
            return Err(missing_value(shape, position, INSERT));
        }
        if shape.is_keyless() {
            stage.append(new.as_bytes());
            return Ok(());
        }
        write_key(shape, new, &mut buffers.key).map_err(|at| missing_value(shape, at, INSERT))?;
        if stage.presence(&buffers.key) == Presence::Live {
            return Err(BatchError::DuplicateKey { table: shape.source_name(), what: INSERT });
        }
        // An entry that is not live is a delete: Redshift's row must still go, and what only Redshift has of it with it.
        if shape.keeps_columns() && stage.entry(&buffers.key).is_some() {
            close_stage(shape, stage, emit);
        }
        let over_delete = stage.entry(&buffers.key).is_some();
        let operation = if over_delete { Operation::Replace } else { Operation::Insert };
        stage.put(&buffers.key, operation, new.as_bytes());
        Ok(())
    }

    fn delete(&mut self, old: OldTuple<'_>) -> Result<(), BatchError> {
        let TableBatch { shape, stage, buffers } = self;
        check_columns(shape, old.tuple())?;
        if shape.is_keyless() {
            stage.remove(whole_row(shape, Some(old), DELETE)?.as_bytes());
            return Ok(());
        }
        write_key(shape, old.tuple(), &mut buffers.key).map_err(|at| missing_value(shape, at, DELETE))?;
        // Kept even over an insert: deleting what is not there is harmless, whatever is loaded again.
        stage.delete(&buffers.key);
        Ok(())
    }

    fn update(
        &mut self,
        old: Option<OldTuple<'_>>,
        new: Tuple<'_>,
        emit: impl FnMut(StepData),
    ) -> Result<(), BatchError> {
        let TableBatch { shape, stage, buffers } = self;
        let Buffers { key, old_key, filled, merged } = buffers;
        check_columns(shape, new)?;
        let new = match old {
            Some(old) => {
                check_columns(shape, old.tuple())?;
                fill(new, old, filled)
            }
            None => new,
        };
        if shape.is_keyless() {
            let old = whole_row(shape, old, UPDATE)?;
            if !is_full(new) {
                return Err(BatchError::NoIdentity { table: shape.source_name(), what: UPDATE });
            }
            if old != new {
                stage.remove(old.as_bytes());
                stage.append(new.as_bytes());
            }
            return Ok(());
        }
        write_key(shape, new, key).map_err(|at| missing_value(shape, at, UPDATE))?;
        let key_before: &[u8] = match old {
            Some(old) => {
                write_key(shape, old.tuple(), old_key).map_err(|at| missing_value(shape, at, UPDATE))?;
                old_key
            }
            None => key,
        };
        if stage.presence(key_before) == Presence::Gone {
            return Err(BatchError::UpdateOfDeleted { table: shape.source_name() });
        }
        let key_changes = key_before != key.as_slice();
        if key_changes && stage.presence(key) == Presence::Live {
            return Err(BatchError::DuplicateKey { table: shape.source_name(), what: UPDATE });
        }

        let earlier = stage.entry(key_before);
        let row = match earlier {
            Some(earlier) if !is_full(new) => {
                write_merged(new, Tuple::from_checked(&earlier.row), merged);
                Tuple::from_checked(merged)
            }
            _ => new,
        };
        let full = is_full(row);
        if !key_changes {
            let operation = match earlier.map(|earlier| earlier.operation) {
                Some(Operation::Insert) => Operation::Insert,
                _ if full => Operation::Replace,
                _ => Operation::Update,
            };
            if full || !holds_only_key(shape, row) {
                stage.put(key, operation, row.as_bytes());
            }
        } else if full && !shape.keeps_columns() {
            stage.delete(key_before);
            stage.put(key, Operation::Replace, row.as_bytes());
        } else {
            // What an earlier update of the old key set is part of the row by now. A row that is new has to be there first.
            if earlier.is_none_or(|earlier| earlier.operation != Operation::Insert) {
                stage.forget(key_before);
            }
            if stage.is_in_the_way_of_move(key_before, key) {
                close_stage(shape, stage, emit);
            }
            stage.push_move(key_before, key, row.as_bytes());
        }
        Ok(())
    }
}

fn close_stage(shape: &Arc<TableShape>, stage: &mut Stage, mut emit: impl FnMut(StepData)) {
    for load in std::mem::take(stage).into_loads() {
        emit(StepData { shape: Arc::clone(shape), action: StepAction::Load(load) });
    }
}

/// Takes unchanged cells from what the change itself says about the row before it.
///
/// An old tuple has only its key if it says NULL where a value did not change, since NULL is never TOASTed; how it is
/// marked does not tell: with `publish_via_partition_root` that is the root's identity, and what it has the partition's.
pub(super) fn fill<'a>(new: Tuple<'a>, old: OldTuple<'a>, filled: &'a mut Vec<u8>) -> Tuple<'a> {
    if is_full(new) {
        return new;
    }
    write_merged(new, old.tuple(), filled);
    Tuple::from_checked(filled)
}

/// Whether an update says nothing beyond which row it is.
fn holds_only_key(shape: &TableShape, row: Tuple<'_>) -> bool {
    row.cells().zip(shape.columns()).all(|(cell, column)| column.key || cell == Cell::Unchanged)
}

fn check_columns(shape: &TableShape, row: Tuple<'_>) -> Result<(), BatchError> {
    let (expected, found) = (shape.columns().len(), row.columns());
    if expected == found {
        Ok(())
    } else {
        Err(BatchError::ColumnCount { table: shape.source_name(), expected, found })
    }
}

/// The whole row before a change of a table without a key. With it a new row's unchanged cells are filled in too.
fn whole_row<'a>(
    shape: &TableShape,
    old: Option<OldTuple<'a>>,
    what: &'static str,
) -> Result<Tuple<'a>, BatchError> {
    match old {
        Some(OldTuple::Full(old)) => match old.cells().position(|cell| cell == Cell::Unchanged) {
            Some(position) => Err(missing_value(shape, position, what)),
            None => Ok(old),
        },
        Some(OldTuple::Key(_)) | None => Err(BatchError::NoIdentity { table: shape.source_name(), what }),
    }
}

fn missing_value(shape: &TableShape, position: usize, what: &'static str) -> BatchError {
    BatchError::MissingValue {
        table: shape.source_name(),
        column: shape.columns()[position].name.clone(),
        what,
    }
}
