//! Which transactions conflict: Redshift decides by tables, not by rows (`redshift.md`, 4.3). PostgreSQL behind the stand-in
//! has the snapshots and the locks; this remembers who read and changed what since when. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::settings::Isolation;
use super::sql::Write;

/// Transactions that are remembered. One that began before the oldest of them is a conflict.
const REMEMBERED: usize = 2000;

/// What a transaction did so far; tables by their object ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// When its snapshot was taken: commits up to this one are in it.
    pub(super) snapshot: Option<u64>,
    reads: BTreeSet<u32>,
    writes: BTreeMap<u32, Write>,
}

impl Footprint {
    pub(super) fn touch(&mut self, table: u32, write: Option<Write>) {
        match write {
            None => {
                self.reads.insert(table);
            }
            Some(write) => {
                let known = self.writes.entry(table).or_insert(write);
                *known = write.max(*known);
            }
        }
    }

    /// Whether this transaction altered the table.
    pub(super) fn defines(&self, table: u32) -> bool {
        self.writes.get(&table) == Some(&Write::Define)
    }

    fn writes_a_table_of(&self, tables: impl IntoIterator<Item = u32>) -> Option<u32> {
        tables.into_iter().find(|table| self.writes.contains_key(table))
    }
}

#[derive(Debug)]
struct Committed {
    at: u64,
    footprint: Footprint,
}

impl Committed {
    fn snapshot(&self) -> u64 {
        self.footprint.snapshot.unwrap_or(self.at)
    }

    /// Whether `self` comes before `other` in every order that explains both; the table that tells.
    fn precedes(&self, other: &Committed) -> Option<u32> {
        let (mine, theirs) = (&self.footprint, &other.footprint);
        // It read what the other changed, and did not see the change.
        let missed = theirs.writes_a_table_of(mine.reads.iter().copied());
        let missed = missed.filter(|_| other.at > self.snapshot());
        // It changed what the other changed later, or read afterwards.
        let wrote_first =
            theirs.writes_a_table_of(mine.writes.keys().copied()).filter(|_| self.at < other.at);
        let was_seen =
            mine.writes_a_table_of(theirs.reads.iter().copied()).filter(|_| self.at <= other.snapshot());
        missed.or(wrote_first).or(was_seen)
    }
}

/// The transactions that have committed, newest last.
#[derive(Debug, Default)]
pub(super) struct History {
    clock: u64,
    committed: VecDeque<Committed>,
    forgotten: u64,
}

impl History {
    /// The time of the newest commit: what a snapshot that is taken now holds.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    /// The table on which a transaction conflicts with what has committed since it began.
    pub(super) fn conflict(&self, own: &Footprint, isolation: Isolation) -> Option<u32> {
        let snapshot = own.snapshot?;
        if snapshot < self.forgotten {
            return own.writes.keys().next().copied();
        }
        match isolation {
            Isolation::Snapshot => self.update_conflict(own, snapshot),
            Isolation::Serializable if own.writes.is_empty() => None,
            Isolation::Serializable => self.cycle(own),
        }
    }

    /// Both changed what was there before. Rows that were only added are no conflict.
    fn update_conflict(&self, own: &Footprint, snapshot: u64) -> Option<u32> {
        let changes = |footprint: &Footprint, table: &u32| {
            footprint.writes.get(table).is_some_and(|write| *write > Write::Append)
        };
        let since = self.committed.iter().rev().take_while(|other| other.at > snapshot);
        since
            .flat_map(|other| {
                own.writes.keys().find(|table| changes(own, table) && changes(&other.footprint, table))
            })
            .next()
            .copied()
    }

    /// A way from this transaction over committed ones back to it: no order explains them all.
    fn cycle(&self, own: &Footprint) -> Option<u32> {
        let own = Committed { at: u64::MAX, footprint: own.clone() };
        let mut reached = vec![false; self.committed.len()];
        let mut open = vec![&own];
        while let Some(from) = open.pop() {
            for (position, to) in self.committed.iter().enumerate() {
                if reached[position] || from.precedes(to).is_none() {
                    continue;
                }
                reached[position] = true;
                if let Some(table) = to.precedes(&own) {
                    return Some(table);
                }
                open.push(to);
            }
        }
        None
    }

    /// Remembers a transaction that commits now.
    pub(super) fn commit(&mut self, footprint: Footprint) {
        if footprint.reads.is_empty() && footprint.writes.is_empty() {
            return;
        }
        self.clock += 1;
        self.committed.push_back(Committed { at: self.clock, footprint });
        while self.committed.len() > REMEMBERED {
            self.forgotten = self.committed.pop_front().map_or(self.forgotten, |oldest| oldest.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 1;
    const B: u32 = 2;

    fn begun(history: &History) -> Footprint {
        Footprint { snapshot: Some(history.now()), ..Footprint::default() }
    }

    fn with(mut footprint: Footprint, touched: &[(u32, Option<Write>)]) -> Footprint {
        for (table, write) in touched {
            footprint.touch(*table, *write);
        }
        footprint
    }

    #[test]
    fn updates_of_one_table_conflict_in_both_levels() {
        let update = [(A, None), (A, Some(Write::Change))];
        for level in [Isolation::Snapshot, Isolation::Serializable] {
            let mut history = History::default();
            let (first, second) = (with(begun(&history), &update), with(begun(&history), &update));
            assert_eq!(history.conflict(&first, level), None);
            history.commit(first);
            assert_eq!(history.conflict(&second, level), Some(A), "{level:?}");
            let third = with(begun(&history), &update);
            assert_eq!(history.conflict(&third, level), None, "{level:?}: one after the other");
        }
    }

    #[test]
    fn rows_that_are_only_added_never_conflict() {
        for level in [Isolation::Snapshot, Isolation::Serializable] {
            let mut history = History::default();
            let append = [(A, Some(Write::Append))];
            let (first, second) = (with(begun(&history), &append), with(begun(&history), &append));
            history.commit(first);
            assert_eq!(history.conflict(&second, level), None, "{level:?}");
        }
    }

    #[test]
    fn a_skew_is_a_conflict_only_where_order_counts() {
        let mut history = History::default();
        let first = with(begun(&history), &[(A, None), (B, Some(Write::Append))]);
        let second = with(begun(&history), &[(B, None), (A, Some(Write::Append))]);
        history.commit(first);
        assert_eq!(history.conflict(&second, Isolation::Snapshot), None);
        assert_eq!(history.conflict(&second, Isolation::Serializable), Some(A));
    }

    #[test]
    fn one_dependency_alone_is_no_conflict() {
        let mut history = History::default();
        let reader = with(begun(&history), &[(A, None), (B, Some(Write::Append))]);
        history.commit(with(begun(&history), &[(A, Some(Write::Change))]));
        assert_eq!(history.conflict(&reader, Isolation::Serializable), None, "the reader came first");
    }

    #[test]
    fn a_cycle_over_three_is_found() {
        const C: u32 = 3;
        let mut history = History::default();
        let last = with(begun(&history), &[(A, None), (C, Some(Write::Append))]);
        let middle = with(begun(&history), &[(B, None), (A, Some(Write::Append))]);
        history.commit(with(begun(&history), &[(C, None), (B, Some(Write::Append))]));
        assert_eq!(history.conflict(&middle, Isolation::Serializable), None);
        history.commit(middle);
        assert_eq!(history.conflict(&last, Isolation::Serializable), Some(C));
    }

    #[test]
    fn who_began_before_all_that_is_known_conflicts() {
        let mut history = History::default();
        let old = with(begun(&history), &[(A, Some(Write::Append))]);
        for _ in 0..=REMEMBERED {
            history.commit(with(begun(&history), &[(B, Some(Write::Append))]));
        }
        assert_eq!(history.conflict(&old, Isolation::Snapshot), Some(A));
    }
}
