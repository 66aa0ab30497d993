//! Which transactions a statement of the source has seen: told by their numbers, since neither commit records nor messages lie
//! in the WAL where a transaction became visible. One whose commit record is there may be invisible for as long as it waits for
//! a standby.

/// What `pg_current_snapshot()` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// All numbers below are of transactions that have ended.
    pub oldest: u64,
    /// No number from this on was given to one that has ended.
    next: u64,
    /// Those between that have not ended, ascending.
    in_progress: Vec<u32>,
}

impl Visible {
    /// Reads `oldest:next:number,number`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (oldest, next) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let numbers = parts.next()?.split(',').filter(|number| !number.is_empty());
        // The stream's numbers have 32 bits.
        let numbers = numbers.map(|number| number.parse::<u64>().ok().map(low));
        let mut in_progress: Vec<u32> = numbers.collect::<Option<_>>()?;
        in_progress.sort_unstable();
        parts.next().is_none().then_some(Self { oldest, next, in_progress })
    }

    /// Whether it saw what this transaction did, which has been committed.
    #[must_use]
    pub fn saw(&self, xid: u32) -> bool {
        // Numbers go round: those of half the circle lie before.
        let is_before = xid.wrapping_sub(low(self.next)) > u32::MAX / 2;
        is_before && self.in_progress.binary_search(&xid).is_err()
    }
}

fn low(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_ended_was_seen_and_nothing_else() {
        let visible = Visible::read("100:105:100,103").unwrap();
        assert_eq!((visible.oldest, visible.next), (100, 105));
        let seen: Vec<_> = (98..108).filter(|xid| visible.saw(*xid)).collect();
        assert_eq!(seen, [98, 99, 101, 102, 104]);
        assert!(Visible::read("7:7:").unwrap().saw(6) && !Visible::read("7:7:").unwrap().saw(7));
        assert_eq!((Visible::read("7:7"), Visible::read("7:x:"), Visible::read("")), (None, None, None));
    }

    #[test]
    fn numbers_go_round() {
        let round = 1_u64 << 32;
        let visible = Visible::read(&format!("{}:{}:{}", round - 2, round + 5, round + 3)).unwrap();
        assert!(visible.saw(u32::MAX) && visible.saw(4) && !visible.saw(3) && !visible.saw(5));
    }
}
