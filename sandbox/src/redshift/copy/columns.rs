//! The columns that a COPY fills, from the catalog as the statement's connection sees it.

use tokio_postgres::Client;

use crate::redshift::catalog;
use crate::redshift::sql::{ColumnType, CopyStatement};

/// One column to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) column_type: ColumnType,
    pub(super) not_null: bool,
}

impl Column {
    /// `column_length` of the error tables.
    pub(super) fn length(&self) -> String {
        match self.column_type {
            ColumnType::Char(bytes) | ColumnType::Varchar(bytes) => bytes.to_string(),
            ColumnType::Varbyte(bytes) => bytes.to_string(),
            ColumnType::Decimal { precision, scale } => format!("{precision}, {scale}"),
            _ => "0".to_owned(),
        }
    }
}

/// In the order of COPY's list, or of the table. The error is in Redshift's words.
pub(super) async fn target_columns(client: &Client, copy: &CopyStatement) -> Result<Vec<Column>, String> {
    let table = &copy.table.name;
    let found = catalog::columns(client, &copy.table).await.map_err(|error| catalog::message(&error))?;
    let Some(found) = found else {
        return Err(format!("Cannot COPY into nonexistent table {table}"));
    };
    let mut columns = Vec::new();
    let names: Vec<String> = if copy.columns.is_empty() {
        found.iter().map(|column| column.name.clone()).collect()
    } else {
        copy.columns.clone()
    };
    for name in names {
        let Some(column) = found.iter().find(|column| column.name == name) else {
            return Err(format!("column \"{name}\" of relation \"{table}\" does not exist"));
        };
        if column.not_null && column.has_default {
            // Redshift puts the default in place of NULL there.
            return Err(
                "COPY into a NOT NULL column with a default is not supported by the stand-in".to_owned()
            );
        }
        let Some(column_type) = column.column_type else {
            return Err(format!("COPY into the type of column \"{name}\" is not supported by the stand-in"));
        };
        columns.push(Column { name, column_type, not_null: column.not_null });
    }
    for column in &found {
        let left_out = !columns.iter().any(|listed| listed.name == column.name);
        if left_out && column.not_null && !column.has_default {
            return Err(format!(
                "Column \"{}\" is NOT NULL and has no default: it must be in the list",
                column.name
            ));
        }
    }
    Ok(columns)
}
