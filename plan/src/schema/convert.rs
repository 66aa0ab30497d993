//! A column gets another type. A VARCHAR is widened in place, which Redshift refuses within a transaction: it is done before,
//! and found done by whoever comes again. Anything else is a new column beside the old one, that takes its place.

use re_dms_shared::manifest::{OldValues, Table};
use re_dms_shared::sql::{ident, qualified};
use re_dms_shared::types::RedshiftType;

use super::super::catalog::{CatalogColumn, TargetColumn};
use super::super::{Catalog, PlanError, Purpose, Statements, tables};
use super::columns::{drop_column, rename};
use super::refuse_views;
use super::release::take_key;

/// Gives the column `name` the type `to`, unless it is of another type than `from` and holds every value of `to`: then
/// somebody wanted it so.
pub(in super::super) fn convert(
    out: &mut Statements,
    catalog: &mut Catalog,
    table: &Table,
    name: &str,
    from: RedshiftType,
    to: RedshiftType,
    values: OldValues,
) -> Result<(), PlanError> {
    let Some(target) = catalog.target(table) else { return Ok(()) };
    let origin_table = target.origin.clone();
    let Some(column) = target.columns.get(name).cloned() else { return Ok(()) };
    let as_it_was = column.ty == CatalogColumn::Known(from);
    let keeps_values = values == OldValues::Converted;
    // A longer VARCHAR or VARBYTE than needed does no harm.
    let only_longer = matches!(
        (from, to),
        (RedshiftType::Varchar(_), RedshiftType::Varchar(_))
            | (RedshiftType::Varbyte(_), RedshiftType::Varbyte(_))
    );
    if keeps_values && column.ty.holds(to) && (!as_it_was || only_longer || from == to) {
        return Ok(());
    }
    if keeps_values
        && let (CatalogColumn::Known(RedshiftType::Varchar(_)), RedshiftType::Varchar(_)) = (&column.ty, to)
        && let (Some((schema, name_before)), Some(origin)) = (origin_table, column.origin.clone())
    {
        let before = qualified(&schema, &name_before);
        if let Some(constraint) = take_key(catalog, table, name) {
            // Redshift widens no key's column. The key is not declared again.
            let sql = format!("ALTER TABLE {before} DROP CONSTRAINT {}", ident(&constraint));
            out.push_before(Purpose::DropKey, sql);
        }
        let sql = format!("ALTER TABLE {before} ALTER COLUMN {} TYPE {to}", ident(&origin));
        if let Some(column) = catalog.target_mut(table).and_then(|target| target.columns.get_mut(name)) {
            column.ty = CatalogColumn::Known(to);
        }
        out.push_before(Purpose::WidenColumn, sql);
        return Ok(());
    }
    let found = match column.ty {
        CatalogColumn::Known(found) => found,
        CatalogColumn::Foreign(_) => from,
    };
    refuse_views(catalog, table, Some(name))?;
    let fill = keeps_values.then(|| converted(&ident(name), found, to));
    replace(out, catalog, table, name, to, fill);
    Ok(())
}

/// Add, fill, drop, rename.
pub(super) fn replace(
    out: &mut Statements,
    catalog: &mut Catalog,
    table: &Table,
    name: &str,
    to: RedshiftType,
    fill: Option<String>,
) {
    const BESIDE: &str = "re_dms_converted";
    let target = tables::target(table);
    let beside = ident(BESIDE);
    let encoding = tables::encoding(table, name, to);
    out.push(Purpose::AddColumn, format!("ALTER TABLE {target} ADD COLUMN {beside} {to}{encoding}"));
    if let Some(fill) = fill {
        out.push(Purpose::FillColumn, format!("UPDATE {target} SET {beside} = {fill}"));
    }
    if let Some(target) = catalog.target_mut(table) {
        target.columns.insert(BESIDE.to_owned(), TargetColumn::made(to));
    }
    drop_column(out, catalog, table, name);
    rename(out, catalog, table, BESIDE, name);
}

/// The old column's value in the new type, as PostgreSQL's own cast would have it.
fn converted(column: &str, from: RedshiftType, to: RedshiftType) -> String {
    match (from, to) {
        (RedshiftType::Boolean, RedshiftType::Varchar(_)) => {
            format!("CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END")
        }
        (from, to) if from == to => column.to_owned(),
        _ => format!("CAST({column} AS {to})"),
    }
}
