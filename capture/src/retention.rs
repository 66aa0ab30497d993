//! Which part of the local WAL is still needed: everything behind the last position that PostgreSQL may be told.

use std::collections::VecDeque;
use std::sync::Mutex;

use re_dms_shared::Lsn;

use crate::wal::WalPosition;

/// Pairs of source positions and places in the local WAL, both growing.
#[derive(Debug, Default)]
pub struct Retention {
    marks: Mutex<VecDeque<(Lsn, WalPosition)>>,
}

impl Retention {
    /// Once everything up to `lsn` is where the policy wants it, the local WAL is needed from `position` on only.
    pub fn keep_from(&self, lsn: Lsn, position: WalPosition) {
        let mut marks = self.marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match marks.back_mut() {
            // idle marks come often and say little: the last one replaces those for the same place
            Some(last) if last.1 == position => last.0 = last.0.max(lsn),
            _ => marks.push_back((lsn, position)),
        }
    }

    /// The place from which the local WAL is needed now, if that has changed.
    pub fn reached(&self, lsn: Lsn) -> Option<WalPosition> {
        let mut marks = self.marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut position = None;
        while marks.front().is_some_and(|mark| mark.0 <= lsn) {
            position = marks.pop_front().map(|mark| mark.1);
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> WalPosition {
        WalPosition { file: 1, offset }
    }

    #[test]
    fn the_log_goes_only_up_to_what_has_arrived() {
        let retention = Retention::default();
        retention.keep_from(Lsn(100), place(10));
        retention.keep_from(Lsn(200), place(20));
        assert_eq!(retention.reached(Lsn(99)), None);
        assert_eq!(retention.reached(Lsn(100)), Some(place(10)));
        assert_eq!(retention.reached(Lsn(150)), None, "nothing new");
        assert_eq!(retention.reached(Lsn(500)), Some(place(20)));
    }

    #[test]
    fn an_idle_mark_does_not_overtake_the_segment_before_it() {
        let retention = Retention::default();
        retention.keep_from(Lsn(100), place(10));
        // heard before the segment's last commit, told after its cut
        retention.keep_from(Lsn(60), place(12));
        assert_eq!(retention.reached(Lsn(60)), None);
        assert_eq!(retention.reached(Lsn(100)), Some(place(12)));
    }
}
