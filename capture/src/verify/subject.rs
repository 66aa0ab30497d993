//! A table on its way through the questions: what is asked first, and what next, by what was seen.

use std::collections::BTreeSet;

use re_dms_shared::verify::{Ask, Buckets, By};

use super::columns::{Prepared, all_in};
use super::compare::{Unequal, buckets_for, closer, keys, range, unequal};
use super::doubts::{Doubts, ordered_key};
use super::messages::Run;
use super::report::{TableReport, Verdict};
use super::round::Seen;

/// Buckets of a sample, at least: so that there is something to choose from.
const BUCKETS_OF_SAMPLE: u64 = 128;

/// A table on its way through the questions.
pub(super) struct Subject {
    pub(super) prepared: Prepared,
    pub(super) rows: u64,
    /// What is asked next; none once there is nothing more to find out.
    pub(super) next: Option<Ask>,
    pub(super) report: TableReport,
    /// What of it is to be read anew, if it differs.
    pub(super) doubts: Doubts,
    /// It could not be compared, and may be in a moment.
    pub(super) again: bool,
}

impl Subject {
    /// What was seen of it, asked like this.
    pub(super) fn take(&mut self, level: u32, ask: &Ask, seen: Seen, run: &Run) {
        let report = &mut self.report;
        let (source, redshift) = match seen {
            Seen::Both { source, redshift, only_on_source } => {
                if level == 0 {
                    report.columns.extend(only_on_source);
                }
                (source, redshift)
            }
            Seen::NoTable { source } => {
                report.remark = Some("Redshift has no such table".to_owned());
                (source, Vec::new())
            }
            Seen::Unlike(what) => {
                (report.verdict, report.remark) = (Verdict::Different, Some(format!("in Redshift {what}")));
                return;
            }
            Seen::Not { why, passing } if level == 0 => {
                self.again = passing;
                (report.verdict, report.remark) = (Verdict::Unverified, Some(why));
                return;
            }
            Seen::Not { why, .. } => {
                report.remark = Some(format!("not looked at more closely: {why}"));
                return;
            }
        };
        let found = unequal(&source, &redshift);
        match level {
            0 => {
                let all = match &ask.by {
                    By::Ranges(bounds) => bounds.len() as u64 + 1,
                    By::Buckets(of) => *of,
                    By::Keys { .. } => 0,
                };
                report.source_rows = source.iter().map(|group| group.group.rows).sum();
                report.redshift_rows = redshift.iter().map(|group| group.rows).sum();
                let picked = ask.within.as_ref().map_or(ask.ranges.len(), |within| within.buckets.len());
                report.groups = if picked > 0 { picked as u64 } else { all };
                report.groups_different = found.len() as u64;
                if report.remark.is_some() && report.source_rows > 0 {
                    // There is nothing to look at more closely.
                    (report.verdict, report.differences.missing) = (Verdict::Different, report.source_rows);
                    return;
                }
                if found.is_empty() {
                    return;
                }
                report.verdict = Verdict::Different;
                self.doubts = in_ranges(&self.prepared, ask, &found);
            }
            _ if found.is_empty() => {
                report.remark = Some("what differed was written again since".to_owned());
                return;
            }
            _ => {}
        }
        match &ask.by {
            By::Ranges(_) | By::Buckets(_) => {
                let (table, keyed) = (&self.prepared.table, self.prepared.keyed);
                let wants_keys = run.show_keys || (run.repair && ordered_key(table).is_some());
                let (next, more) = closer(ask, &found, wants_keys && keyed);
                self.report.more |= more;
                self.next = Some(next);
            }
            By::Keys { .. } => {
                let (differences, shown, wide) = keys(&found);
                report.differences = differences;
                if run.show_keys {
                    report.keys = shown;
                }
                if !report.more && run.repair {
                    let keys = found.iter().map(|unequal| unequal.shown.as_deref());
                    match Doubts::of_keys(&self.prepared.table, keys) {
                        Doubts::Anywhere => {}
                        known @ Doubts::Within(_) => self.doubts = known,
                    }
                }
                if differences.total() == 0 && wide > 0 && !report.more {
                    report.verdict = Verdict::Unverified;
                    report.remark =
                        Some(format!("{wide} rows may be wider than Redshift takes, and are not compared"));
                }
            }
        }
    }
}

/// The ranges that differ, if ranges were asked for.
fn in_ranges(prepared: &Prepared, ask: &Ask, found: &[Unequal]) -> Doubts {
    let By::Ranges(bounds) = &ask.by else { return Doubts::Anywhere };
    let numbers: BTreeSet<u64> = found.iter().filter_map(|unequal| unequal.id.parse().ok()).collect();
    let ranges: Vec<_> = numbers.into_iter().map(|number| range(bounds, number)).collect();
    Doubts::of_ranges(&prepared.table, &ranges)
}

/// All rows, or those of some ranges or buckets that chance picks.
pub(super) fn first_question(rows: u64, bounds: Option<Vec<String>>, sample: Option<u8>) -> Ask {
    let pick = |of: u64, percent: u8| {
        let count = (of * u64::from(percent)).div_ceil(100).max(1);
        let mut picked = BTreeSet::new();
        while (picked.len() as u64) < count {
            picked.insert(rand::random_range(0..of));
        }
        picked
    };
    let percent = sample.filter(|percent| *percent < 100);
    match (bounds, percent) {
        (Some(bounds), None) => Ask { ranges: Vec::new(), within: None, by: By::Ranges(bounds) },
        (Some(bounds), Some(percent)) => {
            let picked = pick(bounds.len() as u64 + 1, percent);
            let ranges = picked.into_iter().map(|number| range(&bounds, number)).collect();
            Ask { ranges, within: None, by: By::Ranges(bounds) }
        }
        (None, None) => all_in(buckets_for(rows)),
        (None, Some(percent)) => {
            let of = buckets_for(rows).max(BUCKETS_OF_SAMPLE);
            let buckets = pick(of, percent).into_iter().collect();
            Ask { ranges: Vec::new(), within: Some(Buckets { of, buckets }), by: By::Buckets(of) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_some_of_the_buckets() {
        let Ask { within: Some(Buckets { of, buckets }), by, .. } = first_question(10, None, Some(5)) else {
            panic!("all")
        };
        assert_eq!((of, buckets.len(), by), (128, 7, By::Buckets(128)));
        assert!(buckets.iter().all(|bucket| *bucket < of));
        assert_eq!(first_question(10, None, Some(100)), all_in(1));
        assert_eq!(first_question(1_000_000, None, None), all_in(1024));
    }

    #[test]
    fn a_sample_of_an_ordered_table_is_some_of_its_ranges() {
        let bounds: Vec<_> = (1..10).map(|bound| bound.to_string()).collect();
        let all = first_question(10, Some(bounds.clone()), None);
        assert_eq!(all, Ask { ranges: Vec::new(), within: None, by: By::Ranges(bounds.clone()) });
        let Ask { ranges, within: None, .. } = first_question(10, Some(bounds), Some(30)) else {
            panic!("buckets")
        };
        assert_eq!(ranges.len(), 3);
    }
}
