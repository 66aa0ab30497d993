//! The open stage of one table: moves, then one entry a key; for a table without a key, rows that come and go.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use re_dms_shared::manifest::Operation;

use super::load::{Entry, LoadData, Move, allocated};
use super::multiset::Multiset;

/// A table's changes since its last closed step.
///
/// In Redshift the moves come first. A change of a key that no move names is independent of them, and one of a key
/// that a move names came after it, so entries may always be added; a new move may be added only while it touches no
/// key of the stage.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// Position in `entries` by key.
    index: HashMap<Box<[u8]>, usize, RandomState>,
    /// In the order in which the keys first came; `None` where a move took an entry away. A delete's row is empty
    /// until the stage is closed: its key is in `index`.
    entries: Vec<Option<Entry>>,
    /// The keys that moves left and arrived at.
    moved: HashMap<Box<[u8]>, Place, RandomState>,
    moves: Vec<Move>,
    /// A table without a key has all its rows here once one of them goes; until then they are entries, which costs less.
    multiset: Option<Multiset>,
    /// Heap bytes of keys and rows, those of the multiset aside.
    held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Left,
    Arrived,
}

/// What a stage knows about the row of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// No change named it.
    Unknown,
    /// It is there.
    Live,
    /// It is not.
    Gone,
}

impl Stage {
    pub(super) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries[*self.index.get(key)?].as_ref()
    }

    pub(super) fn presence(&self, key: &[u8]) -> Presence {
        match (self.entry(key), self.moved.get(key)) {
            (Some(Entry { operation: Operation::Delete, .. }), _) => Presence::Gone,
            (Some(_), _) => Presence::Live,
            (None, Some(Place::Arrived)) => Presence::Live,
            (None, Some(Place::Left)) => Presence::Gone,
            (None, None) => Presence::Unknown,
        }
    }

    /// Whether a move from one key to the other would have to come after something that the stage holds.
    pub(super) fn is_in_the_way_of_move(&self, old_key: &[u8], new_key: &[u8]) -> bool {
        [old_key, new_key].into_iter().any(|key| self.entry(key).is_some() || self.moved.contains_key(key))
    }

    /// Sets the key's entry, whatever it was.
    pub(super) fn put(&mut self, key: &[u8], operation: Operation, row: &[u8]) {
        let entry = Some(Entry { operation, row: row.into() });
        self.held += allocated(row.len());
        if let Some(&position) = self.index.get(key) {
            let earlier = std::mem::replace(&mut self.entries[position], entry);
            self.held -= earlier.map_or(0, |earlier| allocated(earlier.row.len()));
        } else {
            self.held += allocated(key.len());
            self.index.insert(key.into(), self.entries.len());
            self.entries.push(entry);
        }
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.put(key, Operation::Delete, &[]);
    }

    /// Adds a row of a table without a key.
    pub(super) fn append(&mut self, row: &[u8]) {
        if let Some(multiset) = &mut self.multiset {
            return multiset.add(row, 1);
        }
        self.held += allocated(row.len());
        self.entries.push(Some(Entry { operation: Operation::Insert, row: row.into() }));
    }

    /// Takes a row of a table without a key away: one that the stage added, or one that Redshift has.
    pub(super) fn remove(&mut self, row: &[u8]) {
        let multiset = self.multiset.get_or_insert_with(|| {
            let mut multiset = Multiset::default();
            for entry in std::mem::take(&mut self.entries).into_iter().flatten() {
                self.held -= allocated(entry.row.len());
                multiset.take(entry.row);
            }
            multiset
        });
        multiset.add(row, -1);
    }

    /// Takes the key's entry away, as if it had never been.
    pub(super) fn forget(&mut self, key: &[u8]) {
        if let Some((key, position)) = self.index.remove_entry(key) {
            let row = self.entries[position].take().map_or(0, |entry| allocated(entry.row.len()));
            self.held -= allocated(key.len()) + row;
        }
    }

    /// Adds a move that nothing is [in the way of](Stage::is_in_the_way_of_move).
    pub(super) fn push_move(&mut self, old_key: &[u8], new_key: &[u8], row: &[u8]) {
        self.held += 2 * allocated(old_key.len()) + allocated(new_key.len()) + allocated(row.len());
        self.moved.insert(old_key.into(), Place::Left);
        self.moved.insert(new_key.into(), Place::Arrived);
        self.moves.push(Move { old_key: old_key.into(), row: row.into() });
    }

    /// Heap bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.held
            + map_bytes(self.index.capacity(), size_of::<(Box<[u8]>, usize)>())
            + map_bytes(self.moved.capacity(), size_of::<(Box<[u8]>, Place)>())
            + self.entries.capacity() * size_of::<Option<Entry>>()
            + self.moves.capacity() * size_of::<Move>()
            + self.multiset.as_ref().map_or(0, Multiset::bytes)
    }

    /// Its loads, in order: none, one or two.
    pub(super) fn into_loads(mut self) -> impl Iterator<Item = LoadData> {
        // Only deletes still need their keys: every other row holds its own.
        for (key, position) in self.index.drain() {
            if let Some(entry) = &mut self.entries[position]
                && entry.operation == Operation::Delete
            {
                entry.row = key;
            }
        }
        let entries: Vec<Entry> = self.entries.into_iter().flatten().collect();
        let moves = (!self.moves.is_empty()).then_some(LoadData::Moves(self.moves));
        let entries = (!entries.is_empty()).then_some(LoadData::Entries(entries));
        let copies = self.multiset.map(Multiset::into_rows).filter(|rows| !rows.is_empty());
        moves.into_iter().chain(entries).chain(copies.map(LoadData::Copies))
    }
}

/// A hash map's table: a power of two of slots, at most seven eighths of them used, and a control byte each.
pub(super) fn map_bytes(capacity: usize, slot: usize) -> usize {
    capacity.div_ceil(7) * 8 * (slot + 1)
}
