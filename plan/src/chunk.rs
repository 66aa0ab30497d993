//! Ranges of keys that were read anew: all of their rows go, and those that were read come for them. In order with the
//! table's other steps, in one transaction with them, so that nobody sees a range without its rows.
//!
//! Redshift has no row comparison: columns are compared one by one. Bounds are cast to the columns' types, which have one order
//! in both databases; no other key comes in chunks.

use re_dms_shared::manifest::{Chunk, Column, KeyBound, KeyRange, Table};
use re_dms_shared::sql::{ident, literal};

use super::copy::Stage;
use super::tables::target;
use super::{Purpose, Statements, merge};

/// What a staged chunk does.
pub(super) fn statements(out: &mut Statements, stage: &Stage<'_>, chunk: &Chunk) {
    merge::keep(out, stage);
    out.push(Purpose::Delete, clear(stage.table, chunk));
    merge::bring(out, stage);
}

/// Deletes the rows of its ranges.
pub(super) fn clear(table: &Table, chunk: &Chunk) -> String {
    let key: Vec<_> =
        chunk.key.iter().filter_map(|name| table.columns.iter().find(|c| c.target_name == *name)).collect();
    let conditions: Option<Vec<_>> = chunk.ranges.iter().map(|range| condition(&key, range)).collect();
    let condition = match conditions.as_deref() {
        None => String::new(),
        Some([one]) => format!(" WHERE {one}"),
        Some(several) => format!(" WHERE ({})", several.join(") OR (")),
    };
    format!("DELETE FROM {}{condition}", target(table))
}

/// None if every row is in it.
fn condition(key: &[&Column], range: &KeyRange) -> Option<String> {
    let KeyRange { from, to } = range;
    if let Some(from) = from.as_ref().filter(|_| range.is_key()) {
        let pairs = key.iter().zip(&from.key);
        let equal: Vec<_> =
            pairs.map(|(column, text)| format!("{} = {}", name(column), value(column, text))).collect();
        return Some(equal.join(" AND "));
    }
    let from = from.as_ref().map(|KeyBound { key: bound, included }| {
        let behind = beyond(key, bound, if *included { ">=" } else { ">" });
        if to.is_some() {
            return behind;
        }
        // No key that the source has is NULL; rows that it does not have are to go as well.
        let nulls: Vec<_> = key.iter().map(|column| format!("{} IS NULL", name(column))).collect();
        format!("({behind} OR {})", nulls.join(" OR "))
    });
    let to = to.as_ref().map(|bound| beyond(key, bound, "<="));
    let conditions: Vec<_> = from.into_iter().chain(to).collect();
    (!conditions.is_empty()).then(|| conditions.join(" AND "))
}

/// The key lies on that side of the bound. The first column's condition stands alone in front: blocks are left out by it.
fn beyond(key: &[&Column], bound: &[String], comparison: &str) -> String {
    let strict = &comparison[..1];
    let pairs: Vec<_> =
        key.iter().zip(bound).map(|(column, text)| (name(column), value(column, text))).collect();
    let last = pairs.len().saturating_sub(1);
    let cases: Vec<_> = pairs
        .iter()
        .enumerate()
        .map(|(position, (column, value))| {
            let same = pairs[..position].iter().map(|(column, value)| format!("{column} = {value}"));
            let comparison = if position == last { comparison } else { strict };
            let all: Vec<_> = same.chain([format!("{column} {comparison} {value}")]).collect();
            all.join(" AND ")
        })
        .collect();
    match (cases.as_slice(), pairs.first()) {
        ([one], _) => one.clone(),
        (cases, Some((column, value))) => {
            let cases: Vec<_> = cases.iter().map(|case| format!("({case})")).collect();
            format!("{column} {strict}= {value} AND ({})", cases.join(" OR "))
        }
        (_, None) => String::new(),
    }
}

fn name(column: &Column) -> String {
    ident(&column.target_name)
}

fn value(column: &Column, text: &str) -> String {
    format!("CAST({} AS {})", literal(text), column.redshift_type)
}
