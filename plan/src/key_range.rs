//! The range that the staged keys lie in, as a condition on the target's columns. It changes nothing about which rows are
//! found, since a row that has a staged key lies in the range; but Redshift knows the least and the greatest value of each
//! block of a column, and need not read the blocks that lie outside.
//!
//! Only for types with one order for everything that compares them. Texts are equal when trailing blanks differ, floats have
//! NaN and −0, bytes and SUPER have no order that is documented: they get no range.

use re_dms_shared::manifest::Column;

use super::copy::Stage;
use super::merge::target_column;

/// Columns of a key that get a range: each one costs two looks through the staging table.
const RANGES: usize = 3;

/// Conditions, each with AND before it: the target's key columns lie between the staged ones of the rows that `of` picks.
/// `staged` names the staged columns.
pub(super) fn within(stage: &Stage<'_>, of: &str, staged: impl Fn(usize, &Column) -> String) -> String {
    let key = stage.key().enumerate().filter(|(_, column)| column.redshift_type.has_one_order());
    let range = |(position, column): (usize, &Column)| {
        let theirs = stage.column(&staged(position, column));
        let of_stage = |function| format!("(SELECT {function}({theirs}) FROM {} WHERE {of})", stage.relation);
        let ours = target_column(stage, &column.target_name);
        format!(" AND {ours} BETWEEN {} AND {}", of_stage("MIN"), of_stage("MAX"))
    };
    key.take(RANGES).map(range).collect()
}
