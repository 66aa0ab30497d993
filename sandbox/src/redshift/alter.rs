//! The changes of columns that need a look at the catalog first (`redshift.md`, 3.2).

use super::catalog::{self, Failure};
use super::execute::{NOTHING, Outcome, run};
use super::sql::{self, ColumnType};
use super::warehouse::Connection;

/// `ALTER COLUMN … TYPE VARCHAR(n)` with Redshift's conditions.
pub(super) async fn widen(connection: &Connection, widening: &sql::Widening) -> Result<Outcome, Failure> {
    let (table, name) = (&widening.table, &widening.column);
    let columns = catalog::columns(&connection.client, table).await?;
    let columns = columns.ok_or_else(|| format!("relation \"{}\" does not exist", table.name))?;
    let column = columns.into_iter().find(|column| column.name == *name);
    let Some(column) = column else {
        return Err(format!("column \"{name}\" of relation \"{}\" does not exist", table.name).into());
    };
    let refused = |reason: &str| {
        Err(format!("cannot alter column \"{name}\" of relation \"{}\", {reason}", table.name).into())
    };
    match column.column_type {
        Some(ColumnType::Varchar(bytes)) if bytes == widening.bytes => {
            return refused("target column size should be different");
        }
        Some(ColumnType::Varchar(_)) => {}
        _ => return refused("column type is not VARCHAR"),
    }
    if column.declared_key {
        return refused("column is part of a PRIMARY KEY or UNIQUE constraint");
    }
    if column.has_default {
        return refused("column has a default expression");
    }
    if column.is_rigid {
        return refused("column encoding is BYTEDICT, RUNLENGTH, TEXT255 or TEXT32K");
    }
    let quoted = sql::quoted(name);
    let longest = format!("SELECT COALESCE(MAX(octet_length({quoted})), 0)::bigint FROM {table}");
    let longest = connection.client.query_one(&longest, &[]).await?;
    if longest.try_get::<_, i64>(0)? > i64::from(widening.bytes) {
        return refused("target column size should be greater or equal to current maximum column size");
    }
    let new_type = ColumnType::Varchar(widening.bytes);
    let mut changes: Vec<String> =
        column.length_checks.iter().map(|check| format!("DROP CONSTRAINT {}", sql::quoted(check))).collect();
    changes.push(format!("ALTER COLUMN {quoted} TYPE {}", new_type.postgres()));
    changes.extend(new_type.length_check(name, &widening.tag).map(|check| format!("ADD {check}")));
    run(connection, &format!("ALTER TABLE {table} {}", changes.join(", "))).await?;
    Ok(NOTHING)
}

/// `ALTER DISTSTYLE`, `ALTER SORTKEY`: what is remembered of the table's columns goes.
pub(super) async fn alter_layout(
    connection: &Connection,
    change: &sql::LayoutChange,
) -> Result<Outcome, Failure> {
    let columns = catalog::columns(&connection.client, &change.table).await?;
    let columns = columns.ok_or_else(|| format!("relation \"{}\" does not exist", change.table.name))?;
    let remembered = columns.iter().flat_map(|column| match change.forgotten {
        Some(sql::Forgotten::DistKey) => column.distkey.as_slice(),
        Some(sql::Forgotten::SortKey) => column.sortkey.as_slice(),
        None => &[],
    });
    for name in remembered {
        if name.starts_with("interleaved_") {
            return Err("interleaved sort keys can't be altered".into());
        }
        run(connection, &format!("ALTER TABLE {} DROP CONSTRAINT {}", change.table, sql::quoted(name)))
            .await?;
    }
    Ok(NOTHING)
}

/// A table keeps at least one column, and those that it is distributed or sorted by.
pub(super) async fn drop_column(connection: &Connection, removal: &sql::Removal) -> Result<Outcome, Failure> {
    let (table, name) = (&removal.table, &removal.column);
    let columns = catalog::columns(&connection.client, table).await?.unwrap_or_default();
    if let [only] = columns.as_slice()
        && only.name == *name
    {
        return Err(format!("cannot drop column \"{name}\" of table \"{}\", its only one", table.name).into());
    }
    if let Some(column) = columns.iter().find(|column| column.name == *name) {
        if !column.distkey.is_empty() {
            return Err(format!("cannot drop distkey column \"{name}\"").into());
        }
        if !column.sortkey.is_empty() {
            return Err(format!("cannot drop sortkey column \"{name}\"").into());
        }
        if column.declared_key && !removal.cascade {
            let table = &table.name;
            let why = format!("cannot drop table {table} column {name} because other objects depend on it");
            return Err(why.into());
        }
    }
    let behaviour = if removal.cascade { " CASCADE" } else { "" };
    let sql = format!("ALTER TABLE {table} DROP COLUMN {}{behaviour}", sql::quoted(name));
    run(connection, &sql).await?;
    Ok(NOTHING)
}
