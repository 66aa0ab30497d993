//! Tagged keys: how rows say what they are where no column is left for it.
//!
//! A staging table takes [`MOST_COLUMNS`] columns, as every table does, and a load needs some of its own beside the
//! table's. Where they don't fit, the fields of the key's columns hold them, in front of the key's value: the
//! [operation](super::Operation::code), the present set as `SET_DIGITS` digits (zero where there is none), the old
//! value's length in characters as `OLD_DIGITS` digits, the old value in a load of moves, and then the value. The
//! staging columns of the key are VARCHARs then.

use std::ops::RangeInclusive;

use super::{Column, Table};
use crate::types::RedshiftType;

/// Redshift's limit of columns in a table (`redshift.md`, 2).
pub const MOST_COLUMNS: usize = 1600;

/// Digits of the present set.
const SET_DIGITS: usize = 8;

/// Digits of the old value's length.
const OLD_DIGITS: usize = 8;

/// Columns of its own that every load has else: the operation and the present set.
const OWN_COLUMNS: usize = 2;

/// Columns of its own that a load of a table without a key has besides: a removal's number and copies.
const REMOVAL_COLUMNS: usize = 2;

/// What is in front of a key's value.
#[must_use]
pub fn key_tag(operation: &str, present_set: usize, old_value: &str) -> String {
    let (set, old) = (SET_DIGITS, OLD_DIGITS);
    format!("{operation}{present_set:0set$}{:0old$}{old_value}", old_value.chars().count())
}

/// Whether a load of the table needs tagged keys: `moves` for one that has the old key's columns.
#[must_use]
pub fn needs_tagged_keys(table: &Table, moves: bool) -> bool {
    let keys = table.columns.iter().filter(|column| column.key).count();
    let own = OWN_COLUMNS + if moves { keys } else { 0 };
    keys > 0 && table.columns.len() + table.kept.len() + own > MOST_COLUMNS
}

/// How many columns a table with these may have, so that every load of it can be staged.
#[must_use]
pub fn most_columns(columns: &[Column]) -> usize {
    let key: Vec<_> = columns.iter().filter(|column| column.key).collect();
    match key.len() {
        0 => MOST_COLUMNS - OWN_COLUMNS - REMOVAL_COLUMNS,
        _ if key.iter().all(|column| can_be_tagged(column.redshift_type)) => MOST_COLUMNS,
        keys => MOST_COLUMNS - OWN_COLUMNS - keys.min(MOST_COLUMNS - OWN_COLUMNS),
    }
}

/// Whether a value can be had from its text by a cast that gives what COPY gives.
#[must_use]
pub fn can_be_tagged(ty: RedshiftType) -> bool {
    use RedshiftType as R;
    matches!(
        ty,
        R::SmallInt
            | R::Integer
            | R::BigInt
            | R::Decimal { .. }
            | R::Varchar(_)
            | R::Date
            | R::Timestamp
            | R::TimestampTz
    )
}

/// Where the parts of a tag are, as SUBSTRING counts: characters from 1. The old value begins where the value does if it
/// is empty.
#[derive(Debug)]
pub struct TagParts;

impl TagParts {
    /// The operation's one letter.
    pub const OPERATION: RangeInclusive<usize> = 1..=1;
    /// The present set.
    pub const SET: RangeInclusive<usize> = 2..=1 + SET_DIGITS;
    /// The old value's length.
    pub const OLD_LENGTH: RangeInclusive<usize> = 2 + SET_DIGITS..=1 + SET_DIGITS + OLD_DIGITS;
    /// The first character after these.
    pub const REST: usize = 2 + SET_DIGITS + OLD_DIGITS;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_its_parts_where_they_are_looked_for() {
        let tagged: Vec<char> = (key_tag("m", 42, "Ärger") + "new").chars().collect();
        let part = |range: RangeInclusive<usize>| -> String {
            tagged[range.start() - 1..*range.end()].iter().collect()
        };
        assert_eq!(part(TagParts::OPERATION), "m");
        assert_eq!(part(TagParts::SET).parse(), Ok(42));
        assert_eq!(part(TagParts::OLD_LENGTH).parse(), Ok(5));
        assert_eq!(part(TagParts::REST..=TagParts::REST + 4), "Ärger");
        assert_eq!(part(TagParts::REST + 5..=tagged.len()), "new");
    }
}
