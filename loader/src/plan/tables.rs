//! Targets: made when missing, given the columns that they lack.
//!
//! Columns are nullable and there is no primary key: Redshift can neither drop a NOT NULL later nor widen a key's VARCHAR,
//! and enforces no key (`redshift.md`, 2.4 and 3.2).

use re_dms_shared::manifest::{Column, OldValues, Table};
use re_dms_shared::sql::{ident, qualified};
use re_dms_shared::types::RedshiftType;

use super::{Catalog, CatalogColumn, PlanError, Purpose, Statements, schema, table_label};

/// Brings the target to where it can take a step's rows.
pub(super) fn prepare(out: &mut Statements, catalog: &mut Catalog, table: &Table) -> Result<(), PlanError> {
    match catalog.target(table) {
        None => {
            if !catalog.has_schema(table) {
                let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&table.target_schema));
                out.push(Purpose::CreateSchema, sql);
            }
            let columns: Vec<_> = table.columns.iter().map(definition).collect();
            let sql = format!("CREATE TABLE IF NOT EXISTS {} ({})", target(table), columns.join(", "));
            out.push(Purpose::CreateTable, sql);
        }
        Some(existing) => {
            let mut too_narrow = Vec::new();
            for column in &table.columns {
                match existing.columns.get(&column.target_name.to_ascii_lowercase()).map(|found| &found.ty) {
                    None => {
                        let sql = format!("ALTER TABLE {} ADD COLUMN {}", target(table), definition(column));
                        out.push(Purpose::AddColumn, sql);
                    }
                    Some(found) if found.holds(column.redshift_type) => {}
                    Some(CatalogColumn::Known(from @ RedshiftType::Varchar(_)))
                        if matches!(column.redshift_type, RedshiftType::Varchar(_)) =>
                    {
                        too_narrow.push((column, *from));
                    }
                    Some(found) => {
                        return Err(PlanError::ColumnType {
                            table: table_label(table),
                            column: column.target_name.clone(),
                            found: found.label(),
                            wanted: column.redshift_type.to_string(),
                        });
                    }
                }
            }
            for (column, from) in too_narrow {
                let name = column.target_name.to_ascii_lowercase();
                schema::convert(
                    out,
                    catalog,
                    table,
                    &name,
                    from,
                    column.redshift_type,
                    OldValues::Converted,
                )?;
            }
        }
    }
    catalog.learn(table);
    Ok(())
}

/// Deletes all rows. TRUNCATE would commit what came before it (`redshift.md`, 3.3).
pub(super) fn empty(table: &Table) -> String {
    format!("DELETE FROM {}", target(table))
}

/// The target's qualified name.
pub(super) fn target(table: &Table) -> String {
    qualified(&table.target_schema, &table.target_name)
}

/// A column without default and NOT NULL.
pub(super) fn definition(column: &Column) -> String {
    format!("{} {}", ident(&column.target_name), column.redshift_type)
}
