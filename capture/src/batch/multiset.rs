//! Rows of a table without a key: how many copies of each come or go. What comes and goes within one stage leaves nothing.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::load::{Copies, allocated};
use super::stage::map_bytes;

/// Changes of the number of copies, by row.
///
/// Sums are all that is needed: PostgreSQL deletes only rows that are there, so in whichever order copies of one row
/// come and go, as many are left.
#[derive(Debug, Default)]
pub(super) struct Multiset {
    changes: HashMap<Box<[u8]>, Change, RandomState>,
    next: u64,
    /// Heap bytes of the rows.
    held: usize,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    /// When the row first came: loads keep that order.
    order: u64,
    copies: i64,
}

impl Multiset {
    /// So many more copies of the row, or fewer if negative.
    pub(super) fn add(&mut self, row: &[u8], copies: i64) {
        let Some(change) = self.changes.get_mut(row) else { return self.insert(row.into(), copies) };
        change.copies += copies;
        if change.copies == 0 {
            self.changes.remove(row);
            self.held -= allocated(row.len());
        }
    }

    /// As [`Multiset::add`] of one copy, taking the row over.
    pub(super) fn take(&mut self, row: Box<[u8]>) {
        if self.changes.contains_key(&row) { self.add(&row, 1) } else { self.insert(row, 1) }
    }

    fn insert(&mut self, row: Box<[u8]>, copies: i64) {
        self.held += allocated(row.len());
        self.changes.insert(row, Change { order: self.next, copies });
        self.next += 1;
    }

    /// Heap bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.held + map_bytes(self.changes.capacity(), size_of::<(Box<[u8]>, Change)>())
    }

    /// The rows whose number changes.
    pub(super) fn into_rows(self) -> Vec<Copies> {
        let mut rows: Vec<_> = self.changes.into_iter().collect();
        rows.sort_unstable_by_key(|(_, change)| change.order);
        rows.into_iter().map(|(row, change)| Copies { row, change: change.copies }).collect()
    }
}
