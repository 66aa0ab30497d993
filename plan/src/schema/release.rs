//! What keeps Redshift from dropping or widening a column: a declared key, a DISTKEY, a SORTKEY (`redshift.md`, 3.2).
//!
//! How a table lies is altered before the transaction: whether Redshift takes it within one is not documented, it changes
//! no row, and is found done by whoever comes again. AUTO alone would leave the old keys in place.

use std::collections::BTreeSet;

use re_dms_shared::manifest::{SchemaChange, Table, TableChange};
use re_dms_shared::sql::{ident, qualified};

use super::super::catalog::CatalogColumn;
use super::super::{Catalog, PlanError, Purpose, Statements, tables};
use super::convert::replace;
use super::refuse_views;

/// Makes the column free to go.
pub(super) fn release(out: &mut Statements, catalog: &mut Catalog, table: &Table, name: &str) {
    drop_key(out, catalog, table, name);
    let Some(target) = catalog.target_mut(table) else { return };
    let Some(column) = target.columns.get_mut(name) else { return };
    let distributes = std::mem::take(&mut column.distributes);
    let sorts = std::mem::take(&mut column.sorts);
    if sorts {
        target.columns.values_mut().for_each(|column| column.sorts = false);
    }
    let mut alter = |what: &str| match &target.origin {
        Some((schema, name)) => {
            let sql = format!("ALTER TABLE {} ALTER {what}", qualified(schema, name));
            out.push_before(Purpose::AlterLayout, sql);
        }
        // There is no such table before.
        None => out.push(Purpose::AlterLayout, format!("ALTER TABLE {} ALTER {what}", tables::target(table))),
    };
    if distributes {
        alter("DISTSTYLE EVEN");
        alter("DISTSTYLE AUTO");
    }
    if sorts {
        alter("SORTKEY NONE");
        alter("SORTKEY AUTO");
    }
}

/// The declared key goes within the transaction; its columns stay NOT NULL.
fn drop_key(out: &mut Statements, catalog: &mut Catalog, table: &Table, name: &str) {
    if let Some(constraint) = take_key(catalog, table, name) {
        let sql = format!("ALTER TABLE {} DROP CONSTRAINT {}", tables::target(table), ident(&constraint));
        out.push(Purpose::DropKey, sql);
    }
}

/// The key that the column may be part of: from here on it is not declared.
pub(super) fn take_key(catalog: &mut Catalog, table: &Table, name: &str) -> Option<String> {
    let target = catalog.target_mut(table)?;
    if target.columns.get(name).is_some_and(|column| column.not_null) {
        target.primary_key.take()
    } else {
        None
    }
}

/// Columns that are the key's no more may hold NULL from now on, which Redshift allows only new columns.
pub(super) fn release_key(
    out: &mut Statements,
    catalog: &mut Catalog,
    table: &Table,
    change: &SchemaChange,
) -> Result<(), PlanError> {
    let Some(before) = change.before.as_ref().filter(|_| change.changes.contains(&TableChange::ChangeKey))
    else {
        return Ok(());
    };
    let now = |name: &str| {
        let renamed = change.changes.iter().find_map(|change| match change {
            TableChange::RenameColumn { from, to } if from == name => Some(to.as_str()),
            _ => None,
        });
        renamed.unwrap_or(name).to_ascii_lowercase()
    };
    let keys: BTreeSet<String> = table
        .columns
        .iter()
        .filter(|column| column.key)
        .map(|column| column.target_name.to_ascii_lowercase())
        .collect();
    let was_key = before.columns.iter().filter(|column| column.key).map(|column| now(&column.target_name));
    let names: Vec<String> = was_key.collect();
    for name in &names {
        drop_key(out, catalog, table, name);
    }
    for name in names.iter().filter(|name| !keys.contains(*name)) {
        let column = catalog.target(table).and_then(|target| target.columns.get(name));
        let Some(&CatalogColumn::Known(ty)) =
            column.filter(|column| column.not_null).map(|column| &column.ty)
        else {
            continue;
        };
        refuse_views(catalog, table, Some(name))?;
        replace(out, catalog, table, name, ty, Some(ident(name)));
    }
    Ok(())
}
