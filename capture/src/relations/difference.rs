//! What must change in Redshift so that a table is there as it is on the source, and what of its rows from before can't be
//! told without reading them again.

use re_dms_shared::manifest::{Column, Fill, OldValues, Table, TableChange};
use re_dms_shared::types::{HASHED, RedshiftType};

use super::look::TableNow;
use crate::rows::Constant;

/// From one shape to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) changes: Vec<TableChange>,
    /// Reasons, for people.
    pub(super) unproven: Vec<String>,
}

/// What is known beside the shapes.
#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    /// The catalog's view of the table after.
    pub(super) now: Option<&'a TableNow>,
    /// PostgreSQL wrote the rows anew, or may have.
    pub(super) rewritten: bool,
    /// If it did, then surely by the types' own casts: there was no USING.
    pub(super) plain: bool,
    /// A column's value as data files have it.
    pub(super) constant: &'a dyn Fn(&Column, &str) -> Option<Constant>,
}

/// Compares. Columns are the same that have the same attribute number, or, where a number is not known, the same name.
pub(super) fn difference(before: &Table, after: &Table, evidence: Evidence<'_>) -> Difference {
    let mut found = Difference::default();
    if (&before.target_schema, &before.target_name) != (&after.target_schema, &after.target_name) {
        found.changes.push(TableChange::Move);
    }
    for old in &before.columns {
        if !after.columns.iter().any(|new| is_same(old, new)) {
            found.changes.push(TableChange::DropColumn { column: old.target_name.clone() });
        }
    }
    for new in &after.columns {
        match before.columns.iter().find(|old| is_same(old, new)) {
            None => {
                let fill = fill(new, evidence, &mut found.unproven);
                found.changes.push(TableChange::AddColumn { column: new.target_name.clone(), fill });
            }
            Some(old) => {
                if old.target_name != new.target_name {
                    let (from, to) = (old.target_name.clone(), new.target_name.clone());
                    found.changes.push(TableChange::RenameColumn { from, to });
                }
                found.changes.extend(retype(old, new, evidence, &mut found.unproven));
            }
        }
    }
    if before.columns.iter().any(|column| column.key)
        && before.layout.primary_key
        && !has_key_of(before, after)
    {
        found.changes.push(TableChange::ChangeKey);
    }
    found
}

fn has_key_of(before: &Table, after: &Table) -> bool {
    let keys = |table: &Table| table.columns.iter().filter(|column| column.key).count();
    let still = |old: &&Column| old.key && after.columns.iter().any(|new| new.key && is_same(old, new));
    keys(before) == keys(after) && before.columns.iter().filter(still).count() == keys(before)
}

fn is_same(old: &Column, new: &Column) -> bool {
    match (old.attribute_number, new.attribute_number) {
        (Some(old), Some(new)) => old == new,
        _ => old.name == new.name,
    }
}

/// What rows from before have in a new column.
fn fill(column: &Column, evidence: Evidence<'_>, unproven: &mut Vec<String>) -> Fill {
    let Some(now) = evidence.now.and_then(|now| now.column(column.attribute_number)) else {
        unproven.push(format!("what rows from before have in the new column {} is not known", column.name));
        return Fill::Null;
    };
    // A column that has gone again by now takes its values with it.
    if now.name.is_none() {
        return Fill::Null;
    }
    match &now.value {
        Some(value) if now.missing => match (evidence.constant)(column, value) {
            Some((Some(text), _)) => Fill::Value(text),
            Some((None, _)) | None => {
                unproven.push(format!(
                    "the default of the new column {} has no form in Redshift: rows from before have NULL",
                    column.name
                ));
                Fill::Null
            }
        },
        _ if now.default && evidence.rewritten => {
            unproven.push(format!(
                "rows from before have values of their own in the new column {}: its default is not constant",
                column.name
            ));
            Fill::Null
        }
        _ => Fill::Null,
    }
}

fn retype(
    old: &Column,
    new: &Column,
    evidence: Evidence<'_>,
    unproven: &mut Vec<String>,
) -> Option<TableChange> {
    let same_type = (old.type_oid, old.type_modifier) == (new.type_oid, new.type_modifier);
    if same_type && fits(old.redshift_type, new.redshift_type) {
        return None;
    }
    let conversion = conversion(old, new);
    let values = match conversion {
        Conversion::None => OldValues::Unknown,
        Conversion::Exact | Conversion::IfNotRewritten => OldValues::Converted,
    };
    let exact = match conversion {
        Conversion::Exact => !evidence.rewritten || evidence.plain,
        Conversion::IfNotRewritten => !evidence.rewritten,
        Conversion::None => false,
    };
    if !exact {
        let what = match values {
            OldValues::Converted => "rows from before were converted in Redshift",
            OldValues::Unknown => "rows from before have NULL",
        };
        unproven.push(format!(
            "the type of column {} changed, which may have changed its values: {what}",
            new.name
        ));
    }
    let nothing_to_do = values == OldValues::Converted && old.redshift_type == new.redshift_type;
    (!nothing_to_do).then(|| TableChange::ChangeType {
        column: new.target_name.clone(),
        from: old.redshift_type,
        to: new.redshift_type,
        values,
    })
}

/// Whether the column can stay as it is: a key's columns are wider than others, and may be no longer the key's.
fn fits(is: RedshiftType, wanted: RedshiftType) -> bool {
    match (is, wanted) {
        (RedshiftType::Varchar(is), RedshiftType::Varchar(wanted)) => is >= wanted,
        _ => is == wanted,
    }
}

/// What Redshift makes of the old values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conversion {
    /// What PostgreSQL's own cast makes of them.
    Exact,
    /// The same, but not if PostgreSQL wrote them anew.
    IfNotRewritten,
    /// Nothing that is surely right.
    None,
}

const BOOL: u32 = 16;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;

fn conversion(old: &Column, new: &Column) -> Conversion {
    let is_text = |ty: RedshiftType| matches!(ty, RedshiftType::Varchar(_));
    let (from, to) = (old.redshift_type, new.redshift_type);
    match (old.type_oid, new.type_oid) {
        (HASHED, _) | (_, HASHED) if old.type_oid != new.type_oid => Conversion::None,
        (INT2 | INT4 | INT8, INT2 | INT4 | INT8) => Conversion::Exact,
        (INT2 | INT4 | INT8, NUMERIC | TEXT | VARCHAR) => Conversion::Exact,
        (INT2 | INT4 | INT8 | FLOAT4, FLOAT8) | (INT2, FLOAT4) => Conversion::Exact,
        (NUMERIC, NUMERIC) if !is_text(from) => Conversion::Exact,
        (NUMERIC, TEXT | VARCHAR) => Conversion::Exact,
        (BOOL, TEXT | VARCHAR) => Conversion::Exact,
        (DATE, TIMESTAMP) | (TIMESTAMP, DATE) => Conversion::Exact,
        (TIMESTAMP, TIMESTAMPTZ) | (TIMESTAMPTZ, TIMESTAMP) => Conversion::IfNotRewritten,
        // Blanks at the end come and go.
        (BPCHAR, _) | (_, BPCHAR) if is_text(from) && is_text(to) => Conversion::IfNotRewritten,
        (_, TEXT | VARCHAR) if is_text(from) => Conversion::Exact,
        _ if from == to => Conversion::IfNotRewritten,
        _ => Conversion::None,
    }
}

#[cfg(test)]
mod tests;
