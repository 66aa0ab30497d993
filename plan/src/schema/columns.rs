//! Columns that go, get another name or type, or are new.

use std::collections::BTreeSet;

use re_dms_shared::manifest::{Column, Fill, SchemaChange, Table, TableChange};
use re_dms_shared::sql::{ident, literal};
use re_dms_shared::types::RedshiftType;

use super::super::catalog::TargetColumn;
use super::super::{Catalog, PlanError, Purpose, Statements, table_label, tables};
use super::convert::convert;
use super::{refuse_views, release};

/// Changes the columns of a table that exists.
pub(super) fn change(
    out: &mut Statements,
    catalog: &mut Catalog,
    table: &Table,
    change: &SchemaChange,
) -> Result<(), PlanError> {
    let changes = change.changes.as_slice();
    let dropped: Vec<&str> = changes
        .iter()
        .filter_map(|change| match change {
            TableChange::DropColumn { column } => Some(column.as_str()),
            _ => None,
        })
        .collect();
    let left_over = drop_columns(out, catalog, table, &dropped)?;
    let renames = changes.iter().filter_map(|change| match change {
        TableChange::RenameColumn { from, to } => Some((from.to_ascii_lowercase(), to.to_ascii_lowercase())),
        _ => None,
    });
    rename_columns(out, catalog, table, renames.collect())?;
    release::release_key(out, catalog, table, change)?;
    for change in changes {
        if let TableChange::ChangeType { column, from, to, values } = change {
            convert(out, catalog, table, &column.to_ascii_lowercase(), *from, *to, *values)?;
        }
    }
    for change in changes {
        if let TableChange::AddColumn { column, fill } = change {
            let column = table.columns.iter().find(|found| found.target_name == *column);
            if let Some(column) = column {
                add_column(out, catalog, table, column, fill);
            }
        }
    }
    let can_go = catalog.target(table).is_some_and(|target| target.columns.len() > 1);
    if let Some(last) = left_over.filter(|_| can_go) {
        drop_column(out, catalog, table, &last);
    }
    Ok(())
}

/// Redshift keeps at least one column in a table: should all of them go, the last one is only put aside, and its name in
/// the meantime returned.
fn drop_columns(
    out: &mut Statements,
    catalog: &mut Catalog,
    table: &Table,
    dropped: &[&str],
) -> Result<Option<String>, PlanError> {
    for column in dropped {
        let name = column.to_ascii_lowercase();
        let Some(target) = catalog.target(table) else { return Ok(None) };
        if !target.columns.contains_key(&name) {
            continue;
        }
        let is_last = target.columns.len() == 1;
        refuse_views(catalog, table, Some(&name))?;
        if is_last {
            let aside = "re_dms_dropped".to_owned();
            rename(out, catalog, table, &name, &aside);
            return Ok(Some(aside));
        }
        drop_column(out, catalog, table, &name);
    }
    Ok(None)
}

pub(super) fn drop_column(out: &mut Statements, catalog: &mut Catalog, table: &Table, name: &str) {
    release::release(out, catalog, table, name);
    let sql = format!("ALTER TABLE {} DROP COLUMN {}", tables::target(table), ident(name));
    out.push(Purpose::DropColumn, sql);
    if let Some(target) = catalog.target_mut(table) {
        target.columns.remove(name);
    }
}

/// Each waits until its new name is free; where they wait for each other, one steps aside.
fn rename_columns(
    out: &mut Statements,
    catalog: &mut Catalog,
    table: &Table,
    mut renames: Vec<(String, String)>,
) -> Result<(), PlanError> {
    let mut put_aside = 0;
    loop {
        let Some(target) = catalog.target(table) else { return Ok(()) };
        // Done already, or never there: `prepare` makes what is missing.
        renames.retain(|(from, to)| from != to && target.columns.contains_key(from));
        if renames.is_empty() {
            return Ok(());
        }
        if let Some(free) = renames.iter().position(|(_, to)| !target.columns.contains_key(to)) {
            let (from, to) = renames.swap_remove(free);
            rename(out, catalog, table, &from, &to);
            continue;
        }
        let leaving: BTreeSet<&String> = renames.iter().map(|(from, _)| from).collect();
        if let Some((from, to)) = renames.iter().find(|(_, to)| !leaving.contains(to)) {
            return Err(PlanError::NameTaken {
                table: table_label(table),
                what: format!("column {from}"),
                name: to.clone(),
            });
        }
        let (from, to) = renames.swap_remove(0);
        put_aside += 1;
        let aside = format!("re_dms_renamed_{put_aside}");
        rename(out, catalog, table, &from, &aside);
        renames.push((aside, to));
    }
}

pub(super) fn rename(out: &mut Statements, catalog: &mut Catalog, table: &Table, from: &str, to: &str) {
    let target = tables::target(table);
    let sql = format!("ALTER TABLE {target} RENAME COLUMN {} TO {}", ident(from), ident(to));
    out.push(Purpose::RenameColumn, sql);
    if let Some(target) = catalog.target_mut(table)
        && let Some(column) = target.columns.remove(from)
    {
        target.columns.insert(to.to_owned(), column);
    }
}

/// As a literal of its type.
fn constant(ty: RedshiftType, value: &str) -> String {
    let is_number = !value.is_empty()
        && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    match ty {
        RedshiftType::Boolean if value == "t" => "TRUE".to_owned(),
        RedshiftType::Boolean if value == "f" => "FALSE".to_owned(),
        RedshiftType::SmallInt
        | RedshiftType::Integer
        | RedshiftType::BigInt
        | RedshiftType::Real
        | RedshiftType::DoublePrecision
        | RedshiftType::Decimal { .. }
            if is_number =>
        {
            value.to_owned()
        }
        _ => literal(value),
    }
}

/// A default fills the rows that are there, and stays: rows are always inserted with all columns. A VARCHAR that may have
/// to be widened must not have one, and neither need the types be known whose constants are no plain literals.
fn add_column(out: &mut Statements, catalog: &mut Catalog, table: &Table, column: &Column, fill: &Fill) {
    let name = column.target_name.to_ascii_lowercase();
    let Some(target) = catalog.target(table) else { return };
    if target.columns.contains_key(&name) {
        return;
    }
    let definition = tables::definition(table, column);
    let (add, update) = match fill {
        Fill::Null => (definition, None),
        Fill::Value(value) => match column.redshift_type {
            RedshiftType::Super => (definition, Some(format!("JSON_PARSE({})", literal(value)))),
            RedshiftType::Varbyte(_) => (definition, Some(format!("FROM_HEX({})", literal(value)))),
            RedshiftType::Varchar(bytes) if bytes < u16::MAX => (definition, Some(literal(value))),
            ty => (format!("{definition} DEFAULT {}", constant(ty, value)), None),
        },
    };
    let target = tables::target(table);
    out.push(Purpose::AddColumn, format!("ALTER TABLE {target} ADD COLUMN {add}"));
    if let Some(value) = update {
        out.push(Purpose::FillColumn, format!("UPDATE {target} SET {} = {value}", ident(&name)));
    }
    if let Some(target) = catalog.target_mut(table) {
        target.columns.insert(name, TargetColumn::made(column.redshift_type));
    }
}
