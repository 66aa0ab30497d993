//! The parts of tagged keys, as expressions that stand for the staging columns which a load without them has.

use re_dms_shared::manifest::{Column, OPERATION_COLUMN, PRESENT_SET_COLUMN, TagParts, old_key_column};
use re_dms_shared::types::RedshiftType;

/// A column of the staging table.
pub(super) fn staged_type(column: &Column) -> String {
    if column.key { RedshiftType::Varchar(u16::MAX).to_string() } else { column.redshift_type.to_string() }
}

/// What stands for the staging column of this name; none if it is one of the table's own that holds just its value.
/// `column` says how a statement calls a column of the staging table.
pub(super) fn part<'a>(
    key: impl Iterator<Item = &'a Column>,
    name: &str,
    column: impl Fn(&str) -> String,
) -> Option<String> {
    for (position, key_column) in key.enumerate() {
        let field = column(&key_column.target_name);
        let between = |part: std::ops::RangeInclusive<usize>| {
            format!("SUBSTRING({field}, {}, {})", part.start(), part.end() - part.start() + 1)
        };
        let number = |part: String| format!("CAST({part} AS INTEGER)");
        match name {
            OPERATION_COLUMN => return Some(between(TagParts::OPERATION)),
            PRESENT_SET_COLUMN => return Some(number(between(TagParts::SET))),
            _ => {}
        }
        let (old_length, rest) = (number(between(TagParts::OLD_LENGTH)), TagParts::REST);
        if name == key_column.target_name {
            let value = format!("SUBSTRING({field}, {rest} + {old_length})");
            return Some(typed(key_column.redshift_type, value));
        }
        if name == old_key_column(position) {
            let value = format!("SUBSTRING({field}, {rest}, {old_length})");
            return Some(typed(key_column.redshift_type, value));
        }
    }
    None
}

fn typed(ty: RedshiftType, text: String) -> String {
    if matches!(ty, RedshiftType::Varchar(_)) { text } else { format!("CAST({text} AS {ty})") }
}
