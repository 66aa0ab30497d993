//! Changes once more, of a range of keys alone: what came since the range's rows were read, put behind them.

use std::sync::Arc;

use super::cells::is_full;
use super::error::BatchError;
use super::project::Projected;
use super::table::fill;
use super::{Batch, TableShape};
use crate::key_order::{KeyOrder, Place};
use crate::pgoutput::ChangeKind;

/// What a change does to the keys of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// It is about one key.
    Stays(Place),
    /// A row leaves a key for another one. Whether all its values came with it: else some of them are in Redshift alone, at
    /// the old key.
    Moves {
        /// The key that it had.
        from: Place,
        /// The key that it gets.
        to: Place,
        /// That one's texts.
        to_texts: Vec<String>,
        /// All of its values came.
        whole: bool,
    },
}

/// What is to be done again of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// The row goes from its old key.
    Leaves,
    /// The row comes to its new key.
    Arrives,
    /// Nothing.
    Nothing,
}

/// What the change does to keys; none if that can't be told.
#[must_use]
pub fn key_change(shape: &TableShape, order: &KeyOrder, change: ChangeKind<'_>) -> Option<KeyChange> {
    let mut projected = Projected::default();
    match in_columns(shape, change, &mut projected) {
        ChangeKind::Insert { new } => order.of_row(new).map(KeyChange::Stays),
        ChangeKind::Delete { old } => order.of_row(old.tuple()).map(KeyChange::Stays),
        ChangeKind::Update { old: None, new } => order.of_row(new).map(KeyChange::Stays),
        ChangeKind::Update { old: Some(old), new } => {
            let mut filled = Vec::new();
            let new = fill(new, old, &mut filled);
            let (from, to) = (order.of_row(old.tuple())?, order.of_row(new)?);
            if from == to {
                return Some(KeyChange::Stays(to));
            }
            let (to_texts, whole) = (order.texts(new)?, is_full(new));
            Some(KeyChange::Moves { from, to, to_texts, whole })
        }
    }
}

fn in_columns<'a>(
    shape: &TableShape,
    change: ChangeKind<'a>,
    projected: &'a mut Projected,
) -> ChangeKind<'a> {
    match shape.positions() {
        Some(positions) => projected.change(change, positions),
        None => change,
    }
}

impl Batch {
    /// Adds a part of a change.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub fn apply_part(
        &mut self,
        shape: &Arc<TableShape>,
        change: ChangeKind<'_>,
        part: Part,
    ) -> Result<(), BatchError> {
        match (part, change) {
            (Part::Nothing, _) => Ok(()),
            (Part::Leaves, ChangeKind::Update { old: Some(old), .. }) => {
                self.apply(shape, ChangeKind::Delete { old })
            }
            (Part::Arrives, ChangeKind::Update { old: Some(old), new }) => {
                let mut filled = Vec::new();
                self.apply(shape, ChangeKind::Insert { new: fill(new, old, &mut filled) })
            }
            (_, change) => self.apply(shape, change),
        }
    }
}
