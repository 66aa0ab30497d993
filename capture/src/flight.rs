//! Segments between S3 and Redshift: which are staged, which are loaded, and what position follows from that.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use re_dms_shared::Lsn;

/// Keeps account of one epoch's segments.
#[derive(Debug)]
pub struct Flight {
    /// The stream's own; those of the initial copy come before them, and are counted as they become ready.
    staged_seq: u64,
    /// Segments of the initial copy that are on S3, and that there will be.
    copied: u64,
    copies: u64,
    loaded_seq: u64,
    loaded_lsn: Lsn,
    /// What becomes loaded with which segment, in order.
    pending: VecDeque<Pending>,
    /// First commits of segments that are not loaded, where they are known.
    first_commits: BTreeMap<u64, Timestamp>,
    /// The same of the last one that was loaded: no later than that of any after it.
    last_first_commit: Option<Timestamp>,
}

#[derive(Debug)]
struct Pending {
    seq: u64,
    lsn: Lsn,
    /// It says how far the stream was idle behind the segment.
    idle: bool,
}

impl Flight {
    /// Begins after a start: segments up to `loaded_seq` are loaded, those up to `staged_seq` are on S3; the first
    /// commit in the first of these was at `oldest`.
    #[must_use]
    pub fn new(staged_seq: u64, loaded_seq: u64, loaded_lsn: Lsn, oldest: Option<Timestamp>) -> Self {
        Self {
            staged_seq,
            copied: 0,
            copies: 0,
            loaded_seq,
            loaded_lsn,
            pending: VecDeque::new(),
            first_commits: BTreeMap::new(),
            last_first_commit: oldest,
        }
    }

    /// The first `copies` numbers belong to an initial copy, of which `copied` are on S3.
    #[must_use]
    pub fn with_copy(mut self, copied: u64, copies: u64) -> Self {
        self.staged_seq = self.staged_seq.max(copies);
        (self.copied, self.copies) = (copied, copies);
        self
    }

    /// The initial copy's next segment is on S3.
    pub fn copied(&mut self, seq: u64, when: Timestamp) {
        self.copied = seq;
        self.first_commits.insert(seq, when);
    }

    /// Whether segments of the initial copy are missing.
    #[must_use]
    pub fn is_copying(&self) -> bool {
        self.copied < self.copies
    }

    /// The last segment of those without a gap: nothing behind it can be loaded yet.
    #[must_use]
    pub fn announceable(&self) -> u64 {
        if self.is_copying() { self.copied } else { self.staged_seq }
    }

    /// The next segment is on S3.
    pub fn staged(&mut self, seq: u64, end_lsn: Lsn, first_commit: Timestamp) {
        self.staged_seq = seq;
        self.pending.push_back(Pending { seq, lsn: end_lsn, idle: false });
        self.first_commits.insert(seq, first_commit);
    }

    /// A segment that a former run staged was read.
    pub fn recalled(&mut self, seq: u64, first_commit: Timestamp) {
        if seq > self.loaded_seq {
            self.first_commits.insert(seq, first_commit);
        }
    }

    /// Nothing of ours lies between the last staged segment and `lsn`.
    pub fn idle_until(&mut self, lsn: Lsn) {
        if self.loaded_seq == self.staged_seq {
            self.loaded_lsn = self.loaded_lsn.max(lsn);
            return;
        }
        match self.pending.back_mut() {
            // a newer idle position says all that an older one said
            Some(last) if last.idle => last.lsn = last.lsn.max(lsn),
            _ => self.pending.push_back(Pending { seq: self.staged_seq, lsn, idle: true }),
        }
    }

    /// The ledger has `seq`, and so, having no gaps, all before it. Late and repeated news change nothing.
    pub fn loaded(&mut self, seq: u64, end_lsn: Lsn) {
        // Nobody can have loaded what was not staged: such news is not about this epoch's present.
        if seq <= self.loaded_seq || seq > self.staged_seq {
            return;
        }
        self.loaded_seq = seq;
        while let Some(first) = self.first_commits.first_entry().filter(|first| *first.key() <= seq) {
            self.last_first_commit = Some(first.remove());
        }
        self.loaded_lsn = self.loaded_lsn.max(end_lsn);
        while let Some(first) = self.pending.front() {
            if first.seq > seq {
                break;
            }
            self.loaded_lsn = self.loaded_lsn.max(first.lsn);
            self.pending.pop_front();
        }
    }

    /// Everything up to here is in Redshift.
    #[must_use]
    pub fn loaded_lsn(&self) -> Lsn {
        self.loaded_lsn
    }

    /// The last loaded segment; 0 for none.
    #[must_use]
    pub fn loaded_seq(&self) -> u64 {
        self.loaded_seq
    }

    /// The last staged segment; 0 for none.
    #[must_use]
    pub fn staged_seq(&self) -> u64 {
        self.staged_seq
    }

    /// Segments on S3, with or without gaps between them.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.staged_seq - (self.copies - self.copied)
    }

    /// Segments that could be loaded and are not.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.announceable().saturating_sub(self.loaded_seq)
    }

    /// When the oldest staged transaction that is not loaded was committed; rather too early than none, where a former run
    /// staged it and it was not read yet.
    #[must_use]
    pub fn oldest_commit(&self) -> Option<Timestamp> {
        let oldest = self.first_commits.get(&(self.loaded_seq + 1)).copied().or(self.last_first_commit);
        oldest.filter(|_| self.segments() > self.loaded_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight() -> Flight {
        let mut flight = Flight::new(0, 0, Lsn(100), None);
        flight.staged(1, Lsn(110), Timestamp::UNIX_EPOCH);
        flight.staged(2, Lsn(120), Timestamp::UNIX_EPOCH);
        flight.idle_until(Lsn(150));
        flight
    }

    #[test]
    fn idle_wal_counts_once_what_came_before_is_loaded() {
        let mut flight = flight();
        flight.loaded(1, Lsn(110));
        assert_eq!((flight.loaded_lsn(), flight.in_flight()), (Lsn(110), 1));
        flight.idle_until(Lsn(160));
        assert_eq!(flight.loaded_lsn(), Lsn(110), "segment 2 is still under way");
        flight.loaded(2, Lsn(120));
        assert_eq!((flight.loaded_lsn(), flight.in_flight()), (Lsn(160), 0));
        flight.idle_until(Lsn(170));
        assert_eq!(flight.loaded_lsn(), Lsn(170));
    }

    #[test]
    fn the_age_of_what_a_former_run_staged_is_known() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut flight = Flight::new(9, 5, Lsn(100), Some(at(60)));
        flight.recalled(6, at(60));
        flight.recalled(7, at(70));
        flight.staged(10, Lsn(200), at(100));
        assert_eq!(flight.oldest_commit(), Some(at(60)));
        flight.loaded(6, Lsn(110));
        assert_eq!(flight.oldest_commit(), Some(at(70)));
        flight.loaded(7, Lsn(120));
        assert_eq!(flight.oldest_commit(), Some(at(70)), "that of 8 is later, and not known");
        flight.loaded(9, Lsn(140));
        assert_eq!(flight.oldest_commit(), Some(at(100)));
        flight.loaded(10, Lsn(200));
        assert_eq!(flight.oldest_commit(), None);
    }

    #[test]
    fn what_is_staged_beside_a_copy_waits_for_all_of_it() {
        let mut flight = Flight::new(0, 0, Lsn(100), None).with_copy(1, 3);
        assert_eq!((flight.staged_seq(), flight.announceable(), flight.segments()), (3, 1, 1));
        flight.staged(4, Lsn(110), Timestamp::UNIX_EPOCH);
        flight.loaded(1, Lsn(100));
        assert_eq!((flight.announceable(), flight.segments(), flight.in_flight()), (1, 2, 0));
        flight.idle_until(Lsn(150));
        flight.copied(2, Timestamp::UNIX_EPOCH);
        flight.copied(3, Timestamp::UNIX_EPOCH);
        assert_eq!((flight.announceable(), flight.in_flight()), (4, 3));
        flight.loaded(3, Lsn(100));
        assert_eq!(flight.loaded_lsn(), Lsn(100));
        flight.loaded(4, Lsn(110));
        assert_eq!((flight.loaded_lsn(), flight.in_flight()), (Lsn(150), 0));
    }

    #[test]
    fn late_repeated_and_impossible_news_change_nothing() {
        let mut flight = flight();
        flight.loaded(2, Lsn(120));
        let lsn = flight.loaded_lsn();
        flight.loaded(1, Lsn(110));
        flight.loaded(2, Lsn(120));
        flight.loaded(9, Lsn(999));
        assert_eq!((flight.loaded_seq(), flight.loaded_lsn()), (2, lsn));
    }
}
