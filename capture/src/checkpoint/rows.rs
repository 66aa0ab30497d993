//! Rows of a part of a table, and what a step's rows do to them, as the loader would have done it in Redshift. Pure.

use std::collections::HashMap;

use super::shape::Transform;
use crate::key_order::{KeyOrder, Span};

/// A value as a data file has it; none for NULL.
pub(super) type Field = Option<Box<[u8]>>;

/// A row's fields, in the order of the shape that it has at the time.
pub(super) type Row = Vec<Field>;

/// What befalls all rows, or how those that follow are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// They go.
    Clear,
    /// Those with keys in these ranges go.
    ClearRanges(KeyOrder, Vec<Span>),
    /// They get other columns.
    Transform(Transform),
    /// Rows of a load.
    Load(LoadMarker),
}

/// What is the same for all rows of a load. Positions are those of the shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LoadMarker {
    /// The key.
    pub(super) key: Vec<usize>,
    /// By set, the columns that an update changes.
    pub(super) sets: Vec<Vec<usize>>,
    /// Columns that the source has no more: what a key's row has in them stays.
    pub(super) kept: Vec<usize>,
}

/// One row of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Its load, by the place of its marker.
    pub(super) marker: usize,
    /// The operation's letter.
    pub(super) operation: u8,
    /// Which set, or how many copies.
    pub(super) number: u64,
    /// As wide as the shape; behind it, of a move, the old key.
    pub(super) row: Row,
}

/// Why a part can't be merged. Holds no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Contradiction {
    #[error("two rows have one key")]
    TwoRows,
    #[error("a row names a set of columns that its load does not have")]
    NoSuchSet,
    #[error("an operation is unknown, or is none for such a table")]
    Operation,
    #[error("a key has no place in a range that was read anew")]
    NoPlace,
}

/// The rows of a part of a table.
#[derive(Debug)]
pub(super) struct Part<'a> {
    markers: &'a [Marker],
    /// The first marker that is not done.
    next: usize,
    rows: Rows,
    /// Rows that got another key: they are another part's.
    moved: Vec<Row>,
}

#[derive(Debug)]
enum Rows {
    Keyed(HashMap<Vec<u8>, Row>),
    /// Without a key: how many of each.
    Bag(HashMap<Row, u64>),
}

/// What tells keys apart: NULL from empty, and where each field ends.
pub(super) fn key_of<'a>(fields: impl Iterator<Item = &'a Field>) -> Vec<u8> {
    let mut key = Vec::new();
    for field in fields {
        let length = field.as_ref().map_or(u64::MAX, |text| text.len() as u64);
        key.extend_from_slice(&length.to_le_bytes());
        key.extend_from_slice(field.as_deref().unwrap_or_default());
    }
    key
}

impl<'a> Part<'a> {
    pub(super) fn new(markers: &'a [Marker], is_keyed: bool) -> Self {
        let rows = if is_keyed { Rows::Keyed(HashMap::new()) } else { Rows::Bag(HashMap::new()) };
        Self { markers, next: 0, rows, moved: Vec::new() }
    }

    /// Does what comes before the marker, itself included.
    fn advance(&mut self, to: usize) -> Result<(), Contradiction> {
        while self.next <= to {
            match &self.markers[self.next] {
                Marker::Clear => match &mut self.rows {
                    Rows::Keyed(rows) => rows.clear(),
                    Rows::Bag(rows) => rows.clear(),
                },
                Marker::ClearRanges(order, spans) => {
                    if let Rows::Keyed(rows) = &mut self.rows {
                        let mut have_places = true;
                        rows.retain(|_, row| match order.of_fields(row) {
                            Some(place) => !spans.iter().any(|span| span.contains(&place)),
                            None => {
                                have_places = false;
                                true
                            }
                        });
                        if !have_places {
                            return Err(Contradiction::NoPlace);
                        }
                    }
                }
                Marker::Transform(transform) => self.transform(transform),
                Marker::Load(_) => {}
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Keys stay what rows are found by: where a key changes, all rows are worked off before others come.
    fn transform(&mut self, transform: &Transform) {
        match &mut self.rows {
            Rows::Keyed(rows) => rows.values_mut().for_each(|row| *row = transform.row(row)),
            Rows::Bag(rows) => {
                let mut changed = HashMap::with_capacity(rows.len());
                for (row, copies) in std::mem::take(rows) {
                    *changed.entry(transform.row(&row)).or_default() += copies;
                }
                *rows = changed;
            }
        }
    }

    /// Does what the row says.
    pub(super) fn apply(&mut self, change: Change) -> Result<(), Contradiction> {
        self.advance(change.marker)?;
        let Some(Marker::Load(load)) = self.markers.get(change.marker) else {
            return Err(Contradiction::Operation);
        };
        let Change { operation, number, mut row, .. } = change;
        let set = |number: u64| {
            let position = usize::try_from(number).ok();
            position.and_then(|position| load.sets.get(position)).ok_or(Contradiction::NoSuchSet)
        };
        match (&mut self.rows, operation) {
            (Rows::Bag(rows), b'i') => *rows.entry(row).or_default() += 1,
            (Rows::Bag(rows), b'x') => {
                if let Some(copies) = rows.get_mut(&row) {
                    *copies = copies.saturating_sub(number);
                    if *copies == 0 {
                        rows.remove(&row);
                    }
                }
            }
            (Rows::Keyed(rows), b'm') => {
                let old_key = row.split_off(row.len() - load.key.len());
                if let Some(mut found) = rows.remove(&key_of(old_key.iter())) {
                    for position in set(number)?.iter().chain(&load.key) {
                        found[*position] = std::mem::take(&mut row[*position]);
                    }
                    self.moved.push(found);
                }
            }
            (Rows::Keyed(rows), operation) => {
                let key = key_of(load.key.iter().map(|position| &row[*position]));
                match operation {
                    b'i' => {
                        if rows.insert(key, row).is_some() {
                            return Err(Contradiction::TwoRows);
                        }
                    }
                    b'r' => {
                        if let Some(old) = rows.get_mut(&key) {
                            for position in &load.kept {
                                row[*position] = std::mem::take(&mut old[*position]);
                            }
                        }
                        rows.insert(key, row);
                    }
                    b'u' => {
                        if let Some(found) = rows.get_mut(&key) {
                            for position in set(number)? {
                                found[*position] = std::mem::take(&mut row[*position]);
                            }
                        }
                    }
                    b'd' => {
                        rows.remove(&key);
                    }
                    _ => return Err(Contradiction::Operation),
                }
            }
            (Rows::Bag(_), _) => return Err(Contradiction::Operation),
        }
        Ok(())
    }

    /// The rows in the end, each with the number of its copies.
    pub(super) fn finish(mut self) -> Result<impl Iterator<Item = (Row, u64)>, Contradiction> {
        if let Some(last) = self.markers.len().checked_sub(1) {
            self.advance(last)?;
        }
        let (keyed, bag) = match self.rows {
            Rows::Keyed(rows) => (rows, HashMap::new()),
            Rows::Bag(rows) => (HashMap::new(), rows),
        };
        Ok(keyed.into_values().chain(self.moved).map(|row| (row, 1)).chain(bag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Row {
        values.iter().map(|text| (*text != "-").then(|| text.as_bytes().into())).collect()
    }

    fn merged(
        markers: &[Marker],
        is_keyed: bool,
        changes: &[(usize, char, u64, &[&str])],
    ) -> Result<Vec<(Row, u64)>, Contradiction> {
        let mut part = Part::new(markers, is_keyed);
        for (marker, operation, number, values) in changes {
            let change =
                Change { marker: *marker, operation: *operation as u8, number: *number, row: row(values) };
            part.apply(change)?;
        }
        let mut rows: Vec<_> = part.finish()?.collect();
        rows.sort();
        Ok(rows)
    }

    fn load(key: &[usize], sets: &[&[usize]], kept: &[usize]) -> Marker {
        let sets = sets.iter().map(|set| set.to_vec()).collect();
        Marker::Load(LoadMarker { key: key.to_vec(), sets, kept: kept.to_vec() })
    }

    #[test]
    fn a_range_that_was_read_anew_takes_the_place_of_its_keys() {
        let column = re_dms_shared::manifest::Column {
            name: "id".into(),
            attribute_number: None,
            type_oid: 23,
            type_modifier: -1,
            target_name: "id".into(),
            redshift_type: re_dms_shared::types::RedshiftType::Integer,
            key: true,
        };
        let table = re_dms_shared::manifest::Table {
            schema: "s".into(),
            name: "t".into(),
            oid: 1,
            target_schema: "s".into(),
            target_name: "t".into(),
            columns: vec![column],
            kept: Vec::new(),
            layout: re_dms_shared::manifest::Layout::default(),
        };
        let order = KeyOrder::of(&table, &["id".into()]).unwrap();
        let to = Some(vec!["10".to_owned()]);
        let span = order.span(&re_dms_shared::manifest::KeyRange { from: None, to }).unwrap();
        let markers = [load(&[0], &[], &[]), Marker::ClearRanges(order, vec![span]), load(&[0], &[], &[])];
        let rows = |changes: &[(usize, char, u64, &[&str])]| merged(&markers, true, changes);
        let changes: [(usize, char, u64, &[&str]); 4] = [
            (0, 'i', 0, &["9", "old"]),
            (0, 'i', 0, &["11", "old"]),
            (0, 'i', 0, &["10", "old"]),
            (2, 'r', 0, &["10", "new"]),
        ];
        assert_eq!(rows(&changes), Ok(vec![(row(&["10", "new"]), 1), (row(&["11", "old"]), 1)]));
        assert_eq!(rows(&changes[..3]), Ok(vec![(row(&["11", "old"]), 1)]), "it may be empty");
        assert_eq!(rows(&[(0, 'i', 0, &["x", "old"])]), Err(Contradiction::NoPlace));
    }

    #[test]
    fn keyed_rows_meet_every_operation() {
        let markers = [load(&[0], &[&[1], &[2]], &[2]), Marker::Clear, load(&[0], &[&[1]], &[])];
        let rows = merged(
            &markers[..1],
            true,
            &[
                (0, 'i', 0, &["1", "a", "k"]),
                (0, 'i', 0, &["2", "b", "-"]),
                (0, 'i', 0, &["3", "c", "x"]),
                (0, 'r', 0, &["1", "A", "-"]),
                (0, 'u', 1, &["2", "-", "B"]),
                (0, 'u', 0, &["9", "nobody", "-"]),
                (0, 'm', 0, &["30", "C", "-", "3"]),
                (0, 'd', 0, &["2", "-", "-"]),
                (0, 'r', 0, &["4", "d", "-"]),
            ],
        );
        // What the source has no more stays with a row that is replaced, and moves along.
        let expected = [row(&["1", "A", "k"]), row(&["30", "C", "x"]), row(&["4", "d", "-"])];
        assert_eq!(rows, Ok(expected.into_iter().map(|row| (row, 1)).collect()));
        let rows = merged(&markers, true, &[(0, 'i', 0, &["1", "a", "k"]), (2, 'i', 0, &["1", "b", "-"])]);
        assert_eq!(rows, Ok(vec![(row(&["1", "b", "-"]), 1)]), "truncated in between");
        let twice = merged(&markers, true, &[(0, 'i', 0, &["1", "a", "-"]), (0, 'i', 0, &["1", "b", "-"])]);
        assert_eq!(twice, Err(Contradiction::TwoRows));
        assert_eq!(
            merged(&markers, true, &[(0, 'i', 0, &["1", "-", "-"]), (0, 'u', 7, &["1", "-", "-"])]),
            Err(Contradiction::NoSuchSet)
        );
    }

    #[test]
    fn rows_without_a_key_are_counted() {
        let markers = [load(&[], &[], &[])];
        let rows = merged(
            &markers,
            false,
            &[
                (0, 'i', 0, &["a", "-"]),
                (0, 'i', 0, &["a", "-"]),
                (0, 'i', 0, &["a", "-"]),
                (0, 'i', 0, &["a", ""]),
                (0, 'x', 2, &["a", "-"]),
                (0, 'x', 5, &["b", "-"]),
            ],
        );
        assert_eq!(rows, Ok(vec![(row(&["a", "-"]), 1), (row(&["a", ""]), 1)]));
        assert_eq!(merged(&markers, false, &[(0, 'd', 0, &["a"])]), Err(Contradiction::Operation));
    }
}
