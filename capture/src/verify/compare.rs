//! Groups of rows of both sides, compared; and what to look at next. Pure.

use std::collections::BTreeMap;

use re_dms_shared::verify::{Ask, Buckets, By, Group, Range};

use super::report::{Differences, DifferentKey, How};

/// Groups of one side at a time: what one question may give.
pub(super) const MOST_GROUPS: u64 = 1024;

/// Keys that are looked at one by one, about.
const MOST_KEYS: u64 = 20_000;

/// Into how many parts a bucket is divided that differs.
const PARTS: u64 = 64;

/// Rows that are worth a bucket of their own.
const ROWS_A_BUCKET: u64 = 256;

/// Keys that are shown.
const MOST_SHOWN: usize = 50;

/// A group on the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceGroup {
    pub(super) group: Group,
    /// Rows of it that may be too wide for Redshift: what they lost is not known.
    pub(super) wide: u64,
}

/// A group that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unequal {
    pub(super) id: String,
    /// The larger side's.
    pub(super) rows: u64,
    pub(super) how: How,
    pub(super) shown: Option<String>,
    /// It may be for what is too wide for Redshift.
    pub(super) wide: bool,
}

/// Buckets for a table of about so many rows, a power of two.
pub(super) fn buckets_for(rows: u64) -> u64 {
    (rows / ROWS_A_BUCKET).clamp(1, MOST_GROUPS).next_power_of_two().min(MOST_GROUPS)
}

/// Groups that differ, by id.
pub(super) fn unequal(source: &[SourceGroup], redshift: &[Group]) -> Vec<Unequal> {
    let ours: BTreeMap<_, _> = source.iter().map(|ours| (ours.group.id.as_str(), ours)).collect();
    let theirs: BTreeMap<_, _> = redshift.iter().map(|theirs| (theirs.id.as_str(), theirs)).collect();
    let mut found = Vec::new();
    for (id, ours) in &ours {
        let (group, wide) = (&ours.group, ours.wide > 0);
        let (how, rows) = match theirs.get(id) {
            None => (How::Missing, group.rows),
            Some(other) if other.rows != group.rows => (How::Copies, group.rows.max(other.rows)),
            Some(other) if other.sums != group.sums => (How::Changed, group.rows),
            Some(_) => continue,
        };
        found.push(Unequal { id: (*id).to_owned(), rows, how, shown: group.shown.clone(), wide });
    }
    for (id, other) in theirs.iter().filter(|(id, _)| !ours.contains_key(*id)) {
        let (rows, shown) = (other.rows, other.shown.clone());
        found.push(Unequal { id: (*id).to_owned(), rows, how: How::Extra, shown, wide: false });
    }
    found
}

/// What to look at next, where groups of this question differ; and whether some of them are left out.
pub(super) fn closer(ask: &Ask, unequal: &[Unequal], show_keys: bool) -> (Ask, bool) {
    // The smallest first: of these most can be looked at.
    let mut sorted: Vec<_> = unequal.iter().collect();
    sorted.sort_by_key(|unequal| (unequal.rows, unequal.id.clone()));
    let mut rows = 0;
    let small = sorted.iter().take_while(|unequal| {
        rows += unequal.rows;
        rows <= MOST_KEYS
    });
    let small = small.count().min(usize::try_from(MOST_GROUPS).unwrap_or(usize::MAX));
    let parts = usize::try_from(MOST_GROUPS / PARTS).unwrap_or(1);
    let taken = if small > 0 { small } else { parts };
    let more = sorted.len() > taken;
    let numbers: Vec<u64> =
        sorted.into_iter().take(taken).map(|unequal| unequal.id.parse().unwrap_or_default()).collect();
    // The other side may have some more.
    let most = u32::try_from(2 * MOST_KEYS).unwrap_or(u32::MAX);
    let keys = By::Keys { shown: show_keys, most };
    let next = match &ask.by {
        By::Ranges(bounds) => {
            let by = if small > 0 { keys } else { By::Buckets(MOST_GROUPS) };
            Ask { ranges: numbers.iter().map(|number| range(bounds, *number)).collect(), within: None, by }
        }
        By::Buckets(of) => {
            let by = if small > 0 { keys } else { By::Buckets(of.saturating_mul(PARTS)) };
            let within = Some(Buckets { of: *of, buckets: numbers });
            Ask { ranges: ask.ranges.clone(), within, by }
        }
        By::Keys { .. } => ask.clone(),
    };
    (next, more)
}

/// One of the ranges that these bounds make.
pub(super) fn range(bounds: &[String], number: u64) -> Range {
    let bound = |number: Option<u64>| {
        number.and_then(|number| bounds.get(usize::try_from(number).unwrap_or(usize::MAX)).cloned())
    };
    Range { from: bound(number.checked_sub(1)), before: bound(Some(number)) }
}

/// Keys that differ, counted and as far as they are shown; and how many may differ for being wide alone.
pub(super) fn keys(unequal: &[Unequal]) -> (Differences, Vec<DifferentKey>, u64) {
    let mut differences = Differences::default();
    let (mut shown, mut wide) = (Vec::new(), 0);
    for unequal in unequal {
        if unequal.wide && unequal.how == How::Changed {
            wide += 1;
            continue;
        }
        *match unequal.how {
            How::Missing => &mut differences.missing,
            How::Extra => &mut differences.extra,
            How::Copies => &mut differences.copies,
            How::Changed => &mut differences.changed,
        } += 1;
        if let Some(key) = unequal.shown.clone().filter(|_| shown.len() < MOST_SHOWN) {
            shown.push(DifferentKey { key, what: unequal.how });
        }
    }
    (differences, shown, wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str, rows: u64, sum: &str) -> Group {
        Group { id: id.into(), rows, sums: [sum.into(), "0".into()], shown: None }
    }

    fn ours(id: &str, rows: u64, sum: &str) -> SourceGroup {
        SourceGroup { group: group(id, rows, sum), wide: 0 }
    }

    #[test]
    fn groups_differ_by_being_there_by_their_rows_and_by_their_sums() {
        let source = [ours("1", 3, "a"), ours("2", 3, "b"), ours("3", 3, "c"), ours("4", 1, "d")];
        let redshift = [group("1", 3, "a"), group("2", 4, "b"), group("3", 3, "x"), group("5", 1, "e")];
        let found: Vec<_> =
            unequal(&source, &redshift).into_iter().map(|unequal| (unequal.id, unequal.how)).collect();
        let expected = [("2", How::Copies), ("3", How::Changed), ("4", How::Missing), ("5", How::Extra)];
        assert_eq!(found, expected.map(|(id, how)| (id.to_owned(), how)));
        assert!(unequal(&source[..1], &redshift[..1]).is_empty());
    }

    #[test]
    fn small_groups_are_taken_apart_into_keys_and_large_ones_into_buckets() {
        let differs =
            |id: u64, rows| Unequal { id: id.to_string(), rows, how: How::Changed, shown: None, wide: false };
        let asked = |by| Ask { ranges: Vec::new(), within: None, by };
        let in_buckets = asked(By::Buckets(8));
        let (ask, more) = closer(&in_buckets, &[differs(3, 15_000), differs(5, 300)], true);
        let within = Some(Buckets { of: 8, buckets: vec![5, 3] });
        let keys = |shown| By::Keys { shown, most: 40_000 };
        assert_eq!((ask, more), (Ask { within, ..asked(keys(true)) }, false));
        let (ask, more) = closer(&in_buckets, &[differs(3, 15_000), differs(5, 9000)], false);
        let within = Some(Buckets { of: 8, buckets: vec![5] });
        assert_eq!((ask, more), (Ask { within, ..asked(keys(false)) }, true));
        let large: Vec<_> = (0..20).map(|id| differs(id, 1_000_000)).collect();
        let (ask, more) = closer(&asked(By::Buckets(1024)), &large, false);
        assert_eq!(ask.by, By::Buckets(1024 * 64));
        assert_eq!((ask.within.map(|within| within.buckets.len()), more), (Some(16), true));

        // Within ranges, of which the first and the last are open.
        let ranges = asked(By::Ranges(vec!["10".into(), "20".into()]));
        let (ask, _) = closer(&ranges, &[differs(0, 5), differs(2, 7)], false);
        let range = |from: Option<&str>, before: Option<&str>| Range {
            from: from.map(str::to_owned),
            before: before.map(str::to_owned),
        };
        let expected =
            Ask { ranges: vec![range(None, Some("10")), range(Some("20"), None)], ..asked(keys(false)) };
        assert_eq!(ask, expected);
        let (ask, _) = closer(&ranges, &[differs(1, 1_000_000)], false);
        assert_eq!(ask, Ask { ranges: vec![range(Some("10"), Some("20"))], ..asked(By::Buckets(1024)) });
        let (closer_still, _) = closer(&ask, &[differs(700, 900)], false);
        assert_eq!(closer_still.ranges, ask.ranges);
    }

    #[test]
    fn a_table_has_buckets_for_its_rows() {
        assert_eq!([0, 255, 600, 300_000, u64::MAX].map(buckets_for), [1, 1, 2, 1024, 1024]);
    }

    #[test]
    fn what_may_be_for_its_width_is_no_difference() {
        let wide = |how| Unequal { id: "a".into(), rows: 1, how, shown: Some("7".into()), wide: true };
        let (differences, shown, uncertain) = keys(&[wide(How::Changed), wide(How::Missing)]);
        assert_eq!((differences.total(), differences.missing, uncertain), (1, 1, 1));
        assert_eq!(shown, [DifferentKey { key: "7".into(), what: How::Missing }]);
    }
}
