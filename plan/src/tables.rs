//! Targets: made when missing, given the columns that they lack.
//!
//! Columns are nullable and there is no primary key unless the layout wants it: Redshift can neither drop a NOT NULL later
//! nor widen a key's VARCHAR, and enforces no key (`redshift.md`, 2.4 and 3.2).

use re_dms_shared::manifest::{Column, Distribution, OldValues, Table};
use re_dms_shared::names::MAX_IDENTIFIER_BYTES;
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
            out.push(Purpose::CreateTable, create(table));
        }
        Some(existing) => {
            let mut too_narrow = Vec::new();
            for column in &table.columns {
                match existing.columns.get(&column.target_name.to_ascii_lowercase()).map(|found| &found.ty) {
                    None => {
                        let sql =
                            format!("ALTER TABLE {} ADD COLUMN {}", target(table), definition(table, column));
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
pub(super) fn definition(table: &Table, column: &Column) -> String {
    let Column { target_name, redshift_type, .. } = column;
    format!("{} {redshift_type}{}", ident(target_name), encoding(table, target_name, *redshift_type))
}

/// `ENCODE …` with a blank before it, if the layout says so of the column, and the type still takes it.
pub(super) fn encoding(table: &Table, name: &str, ty: RedshiftType) -> String {
    let encoding = table.layout.encodings.get(name).filter(|encoding| encoding.takes(ty));
    encoding.map_or_else(String::new, |encoding| format!(" ENCODE {}", encoding.to_string().to_uppercase()))
}

/// What the declared key of a table that is made is called: no two tables in a schema have one of the same name, whatever
/// they are renamed to.
pub(super) fn key_name(table: &Table) -> String {
    let name = format!("re_dms_key_{}_{}", table.oid, table.target_name);
    name[..name.floor_char_boundary(MAX_IDENTIFIER_BYTES)].to_owned()
}

/// A key is declared only if the layout wants it: its columns can never be made nullable again.
fn create(table: &Table) -> String {
    let declares = |column: &Column| table.layout.primary_key && column.key;
    let mut parts: Vec<_> = table
        .columns
        .iter()
        .map(|column| {
            let not_null = if declares(column) { " NOT NULL" } else { "" };
            format!("{}{not_null}", definition(table, column))
        })
        .collect();
    let key: Vec<_> = table
        .columns
        .iter()
        .filter(|column| declares(column))
        .map(|column| ident(&column.target_name))
        .collect();
    if !key.is_empty() {
        let name = ident(&key_name(table));
        parts.push(format!("CONSTRAINT {name} PRIMARY KEY ({})", key.join(", ")));
    }
    let has = |name: &String| table.columns.iter().any(|column| column.target_name == *name);
    let distribution = match &table.layout.distribution {
        Distribution::Even => " DISTSTYLE EVEN".to_owned(),
        Distribution::All => " DISTSTYLE ALL".to_owned(),
        Distribution::Key(column) if has(column) => format!(" DISTSTYLE KEY DISTKEY ({})", ident(column)),
        Distribution::Auto | Distribution::Key(_) => String::new(),
    };
    let sort_key: Vec<_> = table.layout.sort_key.iter().map(|column| ident(column)).collect();
    let sort_key = if sort_key.is_empty() || !table.layout.sort_key.iter().all(has) {
        String::new()
    } else {
        format!(" COMPOUND SORTKEY ({})", sort_key.join(", "))
    };
    format!("CREATE TABLE IF NOT EXISTS {} ({}){distribution}{sort_key}", target(table), parts.join(", "))
}
