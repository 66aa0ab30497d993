//! The different sets of columns that a load's updates and moves hold. They are found before the first row is written, so
//! that a set has one number in all files, whichever is written first.

use std::collections::HashMap;

use re_dms_shared::manifest::Operation;

use crate::batch::LoadData;
use crate::pgoutput::{Cell, Tuple};

/// Numbered in the order in which they come up.
#[derive(Debug, Default)]
pub(super) struct PresentSets {
    pub(super) sets: Vec<Vec<usize>>,
    positions: HashMap<Vec<usize>, usize>,
}

/// Finds the numbers of one row after the other.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The set of the row at hand.
    set: Vec<usize>,
    /// The number of the row before: rows with one set come in runs.
    last: usize,
}

impl PresentSets {
    pub(super) fn of(load: &LoadData) -> Self {
        let mut found = Self::default();
        let mut cursor = Cursor::default();
        match load {
            LoadData::Entries(entries) => {
                for entry in entries.iter().filter(|entry| entry.operation == Operation::Update) {
                    found.add(&entry.row, &mut cursor);
                }
            }
            LoadData::Moves(moves) => moves.iter().for_each(|moved| found.add(&moved.row, &mut cursor)),
            LoadData::Copies(_) => {}
        }
        found
    }

    fn add(&mut self, row: &[u8], cursor: &mut Cursor) {
        if self.position(Tuple::from_checked(row), cursor).is_none() {
            cursor.last = self.sets.len();
            self.positions.insert(cursor.set.clone(), cursor.last);
            self.sets.push(cursor.set.clone());
        }
    }

    /// The number of the row's set; none if it is not one of these.
    pub(super) fn position(&self, row: Tuple<'_>, cursor: &mut Cursor) -> Option<usize> {
        cursor.set.clear();
        let present = row.cells().enumerate().filter(|(_, cell)| *cell != Cell::Unchanged);
        cursor.set.extend(present.map(|(position, _)| position));
        if self.sets.get(cursor.last) != Some(&cursor.set) {
            cursor.last = *self.positions.get(&cursor.set)?;
        }
        Some(cursor.last)
    }
}
