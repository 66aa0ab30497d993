//! Changes of tables' definitions, within what Redshift can do (`redshift.md`, 3.2 to 3.4): one column a statement, nothing
//! cascaded, and no change of a type but a VARCHAR's length, which must not be in the transaction.
//!
//! Names are taken in an order that needs none twice: what goes, goes first; then renames; then types; then new columns.
//! What is found done already is left alone: somebody may have helped.

mod columns;
mod convert;
mod release;

use re_dms_shared::manifest::{SchemaChange, Table, TableChange};
use re_dms_shared::sql::ident;

use super::{Catalog, PlanError, Purpose, Statements, table_label, tables};
pub(super) use convert::convert;

/// Makes the table of `change.before` the table `after`.
pub(super) fn statements(
    out: &mut Statements,
    catalog: &mut Catalog,
    after: &Table,
    change: &SchemaChange,
) -> Result<(), PlanError> {
    let Some(before) = &change.before else {
        return tables::prepare(out, catalog, after);
    };
    if change.changes.contains(&TableChange::Drop) {
        return drop_table(out, catalog, before);
    }
    if change.changes.contains(&TableChange::Move) {
        move_table(out, catalog, before, after)?;
    }
    if catalog.target(after).is_some() {
        columns::change(out, catalog, after, change)?;
    }
    // A table that nothing was ever loaded into is made here.
    tables::prepare(out, catalog, after)
}

fn drop_table(out: &mut Statements, catalog: &mut Catalog, table: &Table) -> Result<(), PlanError> {
    if catalog.target(table).is_none() {
        return Ok(());
    }
    refuse_views(catalog, table, None)?;
    out.push(Purpose::DropTable, format!("DROP TABLE {}", tables::target(table)));
    catalog.forget(table);
    Ok(())
}

fn move_table(
    out: &mut Statements,
    catalog: &mut Catalog,
    before: &Table,
    after: &Table,
) -> Result<(), PlanError> {
    if catalog.target(before).is_none() {
        return Ok(());
    }
    if catalog.target(after).is_some() {
        return Err(PlanError::NameTaken {
            table: table_label(before),
            what: "the table".into(),
            name: table_label(after),
        });
    }
    let same_schema = before.target_schema.eq_ignore_ascii_case(&after.target_schema);
    if same_schema {
        let name = ident(&after.target_name);
        out.push(Purpose::RenameTable, format!("ALTER TABLE {} RENAME TO {name}", tables::target(before)));
    } else {
        rebuild_in_schema(out, catalog, before, after)?;
    }
    if let Some(mut target) = catalog.forget(before) {
        if !same_schema {
            // LIKE takes over what is NOT NULL, and no key.
            (target.origin, target.primary_key) = (None, None);
            for column in target.columns.values_mut() {
                column.origin = None;
            }
        }
        catalog.put(after, target);
    }
    Ok(())
}

/// Redshift moves no table to another schema: a new one gets the rows.
fn rebuild_in_schema(
    out: &mut Statements,
    catalog: &Catalog,
    before: &Table,
    after: &Table,
) -> Result<(), PlanError> {
    refuse_views(catalog, before, None)?;
    let Some(found) = catalog.target(before) else { return Ok(()) };
    if !catalog.has_schema(after) {
        out.push(
            Purpose::CreateSchema,
            format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&after.target_schema)),
        );
    }
    let (old, new) = (tables::target(before), tables::target(after));
    out.push(Purpose::CreateTable, format!("CREATE TABLE {new} (LIKE {old})"));
    let columns: Vec<_> = found.columns.keys().map(|name| ident(name)).collect();
    let columns = columns.join(", ");
    out.push(Purpose::MoveRows, format!("INSERT INTO {new} ({columns}) SELECT {columns} FROM {old}"));
    out.push(Purpose::DropTable, format!("DROP TABLE {old}"));
    Ok(())
}

/// Redshift refuses to drop what views read unless they are dropped with it, which is not ours to do.
fn refuse_views(catalog: &Catalog, table: &Table, column: Option<&str>) -> Result<(), PlanError> {
    let views = catalog.views_on(table, column);
    if views.is_empty() {
        return Ok(());
    }
    let what = column.map_or_else(|| "the table".to_owned(), |column| format!("column {column}"));
    Err(PlanError::Views { table: table_label(table), what, views })
}
