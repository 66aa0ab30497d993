//! When segments were announced, for their traces: how long the loader took, as seen from here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// No more than these are announced ahead, by far.
const MOST: usize = 1000;

/// By segment, when it was announced first.
#[derive(Debug, Default)]
pub struct Times(Mutex<BTreeMap<u64, SystemTime>>);

impl Times {
    /// It is announced now.
    pub(super) fn announced(&self, seq: u64) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.entry(seq).or_insert_with(SystemTime::now);
        while times.len() > MOST {
            times.pop_first();
        }
    }

    /// It is loaded, and so are those before it: when it was announced, if this process did it.
    pub(super) fn loaded(&self, seq: u64) -> Option<SystemTime> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = times.split_off(&(seq + 1));
        let announced = times.get(&seq).copied();
        *times = later;
        announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_only_so_many_are_kept() {
        let times = Times::default();
        (1..=3).for_each(|seq| times.announced(seq));
        assert!(times.loaded(2).is_some() && times.loaded(2).is_none() && times.loaded(1).is_none());
        assert!(times.loaded(3).is_some());
        (1..=MOST as u64 + 5).for_each(|seq| times.announced(seq));
        assert_eq!(times.0.lock().unwrap().len(), MOST);
    }
}
