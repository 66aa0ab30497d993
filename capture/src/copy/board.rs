//! Who reads what: each table has one reader who looks after it, large ones first; who has nothing else to do helps with
//! the table that has most left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::round::RoundTable;
use crate::source::Leaf;

/// What one query reads, in blocks.
const CHUNK_BLOCKS: u64 = 8192;

/// A table that is locked by somebody else is tried again after this.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Schema and name of what holds it, quoted.
    pub(super) leaf: String,
    /// From this block on, and before that one; neither for all of it.
    pub(super) from: Option<u64>,
    pub(super) before: Option<u64>,
}

/// Cuts what holds a table's rows into chunks. Rows that the snapshot sees are in blocks that are there by now.
pub(super) fn chunks(leaves: &[Leaf]) -> VecDeque<Chunk> {
    let mut chunks = VecDeque::new();
    for Leaf { name, blocks, is_heap } in leaves.iter().filter(|leaf| leaf.blocks > 0 || !leaf.is_heap) {
        let parts = if *is_heap { blocks.div_ceil(CHUNK_BLOCKS).max(1) } else { 1 };
        for part in 0..parts {
            let at = |part: u64| part * CHUNK_BLOCKS;
            let from = (part > 0).then(|| at(part));
            let before = (part + 1 < parts).then(|| at(part + 1));
            chunks.push_back(Chunk { leaf: name.clone(), from, before });
        }
    }
    chunks
}

/// What a reader does next.
pub(super) enum Turn<T> {
    /// Look after this table.
    Own(RoundTable),
    /// Help with that one.
    Help(Arc<Shared<T>>),
    /// Wait: somebody else may need help soon.
    Wait,
    /// Nothing is left.
    Finished,
}

/// A table that is being read.
pub(super) struct Shared<T> {
    /// The table.
    pub(super) table: RoundTable,
    /// Where its rows go.
    pub(super) output: T,
    left: Mutex<Left>,
}

struct Left {
    chunks: VecDeque<Chunk>,
    helpers: usize,
    /// Somebody waits for a lock that keeps helpers out.
    closed: bool,
    /// Chunks at the beginning.
    all: usize,
}

impl<T> Shared<T> {
    /// The next part, if one is left.
    pub(super) fn next(&self) -> Option<Chunk> {
        lock(&self.left).chunks.pop_front()
    }

    /// A helper is done; `locked_out` if it could not even begin.
    pub(super) fn leave(&self, locked_out: bool) {
        let mut left = lock(&self.left);
        left.helpers -= 1;
        left.closed |= locked_out;
    }

    /// Whether all of it was read.
    pub(super) fn is_read(&self) -> bool {
        let left = lock(&self.left);
        left.chunks.is_empty() && left.helpers == 0
    }
}

/// The tables of a round.
pub(super) struct Board<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// With the time before which each need not be tried.
    waiting: Vec<(Instant, RoundTable)>,
    shared: Vec<Arc<Shared<T>>>,
    owned: usize,
    /// Tables that this round's snapshot can't be used for.
    left_over: usize,
}

impl<T> Board<T> {
    /// All tables wait.
    pub(super) fn new(mut tables: Vec<RoundTable>) -> Self {
        tables.sort_by_key(|table| table.bytes);
        let now = Instant::now();
        let waiting = tables.into_iter().map(|table| (now, table)).collect();
        Self { state: Mutex::new(State { waiting, shared: Vec::new(), owned: 0, left_over: 0 }) }
    }

    pub(super) fn turn(&self) -> Turn<T> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if let Some(position) = state.waiting.iter().rposition(|(from, _)| *from <= now) {
            state.owned += 1;
            return Turn::Own(state.waiting.remove(position).1);
        }
        let left = |shared: &&Arc<Shared<T>>| {
            let left = lock(&shared.left);
            if left.closed { 0 } else { left.chunks.len() }
        };
        if let Some(most) = state.shared.iter().max_by_key(left).filter(|shared| left(shared) > 0) {
            lock(&most.left).helpers += 1;
            return Turn::Help(Arc::clone(most));
        }
        if state.waiting.is_empty() && state.owned == 0 { Turn::Finished } else { Turn::Wait }
    }

    /// Others may help with it.
    pub(super) fn share(&self, table: RoundTable, chunks: VecDeque<Chunk>, output: T) -> Arc<Shared<T>> {
        let all = chunks.len();
        let left = Mutex::new(Left { chunks, helpers: 0, closed: false, all });
        let shared = Arc::new(Shared { table, output, left });
        lock(&self.state).shared.push(Arc::clone(&shared));
        shared
    }

    /// It has been read: nobody helps any more.
    pub(super) fn unshare(&self, shared: &Arc<Shared<T>>) {
        lock(&self.state).shared.retain(|other| !Arc::ptr_eq(other, shared));
    }

    /// Its owner is done with it.
    pub(super) fn done(&self) {
        lock(&self.state).owned -= 1;
    }

    /// It is locked by somebody.
    pub(super) fn later(&self, table: RoundTable) {
        let mut state = lock(&self.state);
        state.owned -= 1;
        state.waiting.insert(0, (Instant::now() + LOCKED_PAUSE, table));
    }

    /// It is another one than at the snapshot: the next round's.
    pub(super) fn leave_over(&self) {
        let mut state = lock(&self.state);
        state.owned -= 1;
        state.left_over += 1;
    }

    /// The tables that are being read, each with what was read of it, in bytes on the source's disk, about.
    pub(super) fn reading(&self) -> Vec<(Arc<Shared<T>>, u64)> {
        let read = |shared: &Arc<Shared<T>>| {
            let left = lock(&shared.left);
            let (all, read) = (left.all.max(1) as u64, (left.all - left.chunks.len()) as u64);
            (Arc::clone(shared), shared.table.bytes / all * read)
        };
        lock(&self.state).shared.iter().map(read).collect()
    }

    pub(super) fn left_over(&self) -> usize {
        lock(&self.state).left_over
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(blocks: u64, is_heap: bool) -> Leaf {
        Leaf { name: format!("l{blocks}"), blocks, is_heap }
    }

    #[test]
    fn chunks_cover_each_leaf_without_gaps_and_the_last_one_has_no_end() {
        let all = chunks(&[leaf(0, true), leaf(1, true), leaf(2 * CHUNK_BLOCKS + 1, true), leaf(0, false)]);
        let ranges: Vec<_> =
            all.iter().map(|chunk| (chunk.leaf.as_str(), chunk.from, chunk.before)).collect();
        let (one, two) = (Some(CHUNK_BLOCKS), Some(2 * CHUNK_BLOCKS));
        assert_eq!(
            ranges,
            [
                ("l1", None, None),
                ("l16385", None, one),
                ("l16385", one, two),
                ("l16385", two, None),
                ("l0", None, None)
            ]
        );
    }

    fn table(oid: u32, bytes: u64) -> RoundTable {
        RoundTable { bytes, ..RoundTable::gone(oid) }
    }

    #[test]
    fn large_tables_come_first_and_the_one_with_most_left_gets_help() {
        let board = Board::new(vec![table(1, 10), table(2, 30), table(3, 20)]);
        let own = || match board.turn() {
            Turn::Own(table) => table,
            _ => panic!("a table is left"),
        };
        let (first, second, third) = (own(), own(), own());
        assert_eq!((first.oid, second.oid, third.oid), (2, 3, 1));
        assert!(matches!(board.turn(), Turn::Wait));
        board.later(third);
        assert!(matches!(board.turn(), Turn::Wait), "not at once");
        let small = board.share(first, chunks(&[leaf(1, true)]), ());
        let large = board.share(second, chunks(&[leaf(CHUNK_BLOCKS * 3, true)]), ());
        let Turn::Help(helped) = board.turn() else { panic!("help is needed") };
        assert_eq!(helped.table.oid, 3);
        helped.leave(true);
        let Turn::Help(helped) = board.turn() else { panic!("help is needed") };
        assert_eq!(helped.table.oid, 2, "the other one is closed to helpers");
        assert!(small.next().is_some() && small.next().is_none());
        assert!(!small.is_read(), "the helper may be reading");
        helped.leave(false);
        assert!(small.is_read() && !large.is_read());
        board.unshare(&small);
        board.done();
        while large.next().is_some() {}
        board.unshare(&large);
        board.leave_over();
        assert!(matches!(board.turn(), Turn::Wait), "the locked one waits");
        std::thread::sleep(LOCKED_PAUSE);
        assert_eq!(own().oid, 1);
        board.done();
        assert!(matches!(board.turn(), Turn::Finished));
        assert_eq!(board.left_over(), 1);
    }
}
