//! Which keys of a table are to be read anew, by what a comparison knows: those that differ, if each of them was seen; else the
//! ranges in which something does; else all. Pure.
//!
//! Keys come here as they are printed for both databases alike, and go on as PostgreSQL prints them.

use re_dms_shared::manifest::{Column, KeyBound, KeyRange, Table};
use re_dms_shared::types::RedshiftType;
use re_dms_shared::verify::Range;

use crate::key_order::{KeyOrder, Place};
use crate::relations::KeyRanges;

/// Ranges that are asked for: each costs a reading of its own, and the wish for them is written with every segment.
const MOST_RANGES: usize = 500;

/// What of a table is in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Doubts {
    /// Nobody knows where it differs.
    #[default]
    Anywhere,
    /// These keys.
    Within(KeyRanges),
}

/// The key's columns, if both sides order them alike.
pub(super) fn ordered_key(table: &Table) -> Option<(KeyOrder, Vec<String>)> {
    let key = table.columns.iter().filter(|column| column.key).map(|column| column.name.clone());
    let key: Vec<_> = key.collect();
    Some((KeyOrder::of(table, &key)?, key))
}

impl Doubts {
    /// Keys as they are shown.
    pub(super) fn of_keys<'a>(table: &Table, shown: impl Iterator<Item = Option<&'a str>>) -> Self {
        let found = || {
            let (order, key) = ordered_key(table)?;
            let columns: Vec<_> = table.columns.iter().filter(|column| column.key).collect();
            let placed = |shown: Option<&str>| {
                let parts: Vec<_> = shown?.split(", ").collect();
                let texts = columns.iter().zip(&parts).map(|(column, part)| as_on_source(column, part));
                let texts: Vec<_> = texts.collect::<Option<_>>()?;
                (parts.len() == columns.len()).then_some((order.of_key(&texts)?, texts))
            };
            let mut keys: Vec<(Place, Vec<String>)> = shown.map(placed).collect::<Option<_>>()?;
            keys.sort();
            keys.dedup();
            Some(KeyRanges { key, ranges: fewer(&joined(keys)) })
        };
        found().filter(|keys| !keys.ranges.is_empty()).map_or(Self::Anywhere, Self::Within)
    }

    /// Ranges of the key's first column, ascending: they are some of the key's if it has no other.
    pub(super) fn of_ranges(table: &Table, ranges: &[Range]) -> Self {
        let Some((order, key)) = ordered_key(table).filter(|(_, key)| key.len() == 1) else {
            return Self::Anywhere;
        };
        let mut joined: Vec<KeyRange> = Vec::new();
        for Range { from, before } in ranges {
            let (from, to) = (from.clone().map(|from| vec![from]), before.clone().map(|before| vec![before]));
            match joined.last_mut() {
                // The key that ends a range is in both: which one lies before it nobody knows.
                Some(last) if last.to.is_some() && last.to == from => last.to = to,
                _ => {
                    let from = from.map(|key| KeyBound { key, included: true });
                    joined.push(KeyRange { from, to });
                }
            }
        }
        if joined.is_empty() || joined.iter().any(|range| range.is_all() || order.span(range).is_none()) {
            return Self::Anywhere;
        }
        Self::Within(KeyRanges { key, ranges: joined })
    }
}

/// Keys between which there can be no other make one range.
fn joined(keys: Vec<(Place, Vec<String>)>) -> Vec<KeyRange> {
    let mut ranges: Vec<KeyRange> = Vec::new();
    let mut last: Option<Place> = None;
    for (place, key) in keys {
        match ranges.last_mut() {
            Some(range) if last.as_ref().is_some_and(|last| last.is_followed_by(&place)) => {
                range.to = Some(key);
            }
            _ => ranges.push(KeyRange::of_key(key)),
        }
        last = Some(place);
    }
    ranges
}

/// No more than may be asked for: neighbours make one, with what lies between them.
fn fewer(ranges: &[KeyRange]) -> Vec<KeyRange> {
    let of_one = ranges.len().div_ceil(MOST_RANGES).max(1);
    let one = |ranges: &[KeyRange]| {
        let (first, last) = (ranges.first()?, ranges.last()?);
        Some(KeyRange { from: first.from.clone(), to: last.to.clone() })
    };
    ranges.chunks(of_one).filter_map(one).collect()
}

/// From the text that both databases print to PostgreSQL's own; none if it is not known.
fn as_on_source(column: &Column, text: &str) -> Option<String> {
    use RedshiftType as R;
    let of_our_era = || text.strip_suffix(" AD");
    let short = |time: &str| match time.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }
        None => time.to_owned(),
    };
    match column.redshift_type {
        R::SmallInt | R::Integer | R::BigInt | R::Varchar(_) => Some(text.to_owned()),
        R::Decimal { scale, .. } => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let scale = usize::from(scale);
            match (scale, fraction.len() <= scale) {
                (0, true) => Some(whole.to_owned()),
                (_, true) => Some(format!("{whole}.{fraction:0<scale$}")),
                (_, false) => None,
            }
        }
        R::Date => of_our_era().map(str::to_owned),
        R::Timestamp => of_our_era().map(short),
        R::TimestampTz => of_our_era().map(|time| format!("{}+00", short(time))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use re_dms_shared::manifest::Layout;

    use super::*;

    fn table(key: &[(&str, u32, i32, &str)]) -> Table {
        let column = |(name, type_oid, type_modifier, ty): &(&str, u32, i32, &str), key| Column {
            name: (*name).to_owned(),
            attribute_number: None,
            type_oid: *type_oid,
            type_modifier: *type_modifier,
            target_name: name.to_lowercase(),
            redshift_type: ty.parse().unwrap(),
            key,
        };
        let columns = key.iter().map(|of| column(of, true));
        Table {
            schema: "s".into(),
            name: "t".into(),
            oid: 1,
            target_schema: "s".into(),
            target_name: "t".into(),
            columns: columns.chain([column(&("v", 25, -1, "VARCHAR(9)"), false)]).collect(),
            kept: Vec::new(),
            layout: Layout::default(),
        }
    }

    fn of_keys(table: &Table, shown: &[&str]) -> Option<Vec<(String, String)>> {
        match Doubts::of_keys(table, shown.iter().map(|text| Some(*text))) {
            Doubts::Anywhere => None,
            Doubts::Within(keys) => {
                let bound = |key: &Option<Vec<String>>| key.as_ref().unwrap().join("/");
                let from = |range: &KeyRange| bound(&range.from.as_ref().map(|from| from.key.clone()));
                Some(keys.ranges.iter().map(|range| (from(range), bound(&range.to))).collect())
            }
        }
    }

    fn pairs(expected: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(expected.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect())
    }

    #[test]
    fn keys_are_as_the_source_prints_them_and_integers_that_follow_each_other_one_range() {
        let int = table(&[("Id", 20, -1, "BIGINT")]);
        let expected = pairs(&[("-7", "-7"), ("8", "10"), ("12", "12")]);
        assert_eq!(of_keys(&int, &["10", "-7", "9", "12", "8", "9"]), expected);
        let several = table(&[("d", 1082, -1, "DATE"), ("n", 1700, 4, "DECIMAL(10,2)")]);
        let expected =
            pairs(&[("2001-01-01/-0.50", "2001-01-01/-0.50"), ("2001-01-02/3.00", "2001-01-02/3.00")]);
        assert_eq!(of_keys(&several, &["2001-01-02 AD, 3", "2001-01-01 AD, -0.5"]), expected);
        let time = table(&[("at", 1184, -1, "TIMESTAMPTZ")]);
        let expected = pairs(&[
            ("2024-01-01 00:00:00+00", "2024-01-01 00:00:00+00"),
            ("2024-01-01 00:00:00.05+00", "2024-01-01 00:00:00.05+00"),
        ]);
        let shown = ["2024-01-01 00:00:00.050000 AD", "2024-01-01 00:00:00.000000 AD"];
        assert_eq!(of_keys(&time, &shown), expected);
        let many: Vec<_> = (0..5000).map(|id| (id * 2).to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let ranges = of_keys(&int, &many).unwrap();
        assert_eq!((ranges.len(), ranges[1].clone()), (500, ("20".to_owned(), "38".to_owned())));
    }

    #[test]
    fn what_is_not_known_of_a_key_may_be_anywhere() {
        let int = table(&[("id", 20, -1, "BIGINT")]);
        assert_eq!(of_keys(&int, &["1", "NULL"]), None);
        assert_eq!(of_keys(&int, &["1, 2"]), None);
        assert_eq!(of_keys(&int, &[]), None);
        assert_eq!(Doubts::of_keys(&int, [Some("1"), None].into_iter()), Doubts::Anywhere);
        assert_eq!(of_keys(&table(&[("id", 25, -1, "VARCHAR(9)")]), &["a"]), None);
        assert_eq!(of_keys(&table(&[("d", 1082, -1, "DATE")]), &["0044-03-15 BC"]), None);
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let range = |from: Option<&str>, before: Option<&str>| Range {
            from: from.map(str::to_owned),
            before: before.map(str::to_owned),
        };
        let int = table(&[("id", 20, -1, "BIGINT")]);
        let ranges = [
            range(None, Some("10")),
            range(Some("10"), Some("20")),
            range(Some("30"), Some("40")),
            range(Some("50"), None),
        ];
        let Doubts::Within(KeyRanges { key, ranges }) = Doubts::of_ranges(&int, &ranges) else {
            panic!("they are known")
        };
        assert_eq!(key, ["id"]);
        let json = serde_json::json!(ranges).to_string();
        assert_eq!(
            json,
            r#"[{"to":["20"]},{"from":{"included":true,"key":["30"]},"to":["40"]},{"from":{"included":true,"key":["50"]}}]"#
        );
        assert_eq!(Doubts::of_ranges(&int, &[range(None, None)]), Doubts::Anywhere);
        let two = table(&[("a", 20, -1, "BIGINT"), ("b", 20, -1, "BIGINT")]);
        assert_eq!(Doubts::of_ranges(&two, &[range(None, Some("10"))]), Doubts::Anywhere);
    }
}
