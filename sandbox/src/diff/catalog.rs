//! Tables and columns on both sides, from their catalogs.

use re_dms_shared::names::{target_column, target_name};
use re_dms_shared::types::{TypeMapping, map_type};
use tokio_postgres::{Client, Error};

/// A table of the source.
#[derive(Clone, Debug)]
pub(super) struct SourceTable {
    pub(super) schema: String,
    pub(super) name: String,
    /// A partitioned table's rows are its partitions' rows; an ordinary table's are its own alone, whatever inherits.
    pub(super) partitioned: bool,
    pub(super) columns: Vec<SourceColumn>,
}

/// A column of the source.
#[derive(Clone, Debug)]
pub(super) struct SourceColumn {
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) mapping: TypeMapping,
}

impl SourceTable {
    pub(super) fn target_schema(&self) -> String {
        target_name(&self.schema)
    }

    pub(super) fn target_name(&self) -> String {
        target_name(&self.name)
    }
}

impl SourceColumn {
    pub(super) fn target_name(&self) -> String {
        target_column(&self.name)
    }
}

/// A column of the warehouse: its name and its type's, domains looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetColumn {
    pub(super) name: String,
    pub(super) type_name: String,
}

/// All tables that can be replicated, by name: no partitions (their rows are their root's), nothing temporary or unlogged.
/// Generated columns are not in the stream.
pub(super) async fn source_tables(client: &Client) -> Result<Vec<SourceTable>, Error> {
    let tables = client
        .query(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p'
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
               AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
             ORDER BY 2, 3",
            &[],
        )
        .await?;
    let mut found = Vec::with_capacity(tables.len());
    for row in tables {
        let columns = client
            .query(
                "SELECT attname::text, atttypid, atttypmod FROM pg_attribute
                 WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
                 ORDER BY attnum",
                &[&row.get::<_, u32>(0)],
            )
            .await?;
        let column = |row: &tokio_postgres::Row| {
            let type_oid = row.get(1);
            SourceColumn { name: row.get(0), type_oid, mapping: map_type(type_oid, row.get(2)) }
        };
        found.push(SourceTable {
            schema: row.get(1),
            name: row.get(2),
            partitioned: row.get(3),
            columns: columns.iter().map(column).collect(),
        });
    }
    Ok(found)
}

/// The columns of a table of the warehouse; none if there is no such table.
pub(super) async fn target_columns(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Option<Vec<TargetColumn>>, Error> {
    let rows = client
        .query(
            "SELECT a.attname::text, COALESCE(b.typname, t.typname)::text
             FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             LEFT JOIN pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_type b ON b.oid = t.typbasetype
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')
             ORDER BY a.attnum",
            &[&schema, &table],
        )
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let column = |row: &tokio_postgres::Row| {
        Some(TargetColumn { name: row.get::<_, Option<_>>(0)?, type_name: row.get(1) })
    };
    Ok(Some(rows.iter().filter_map(column).collect()))
}
