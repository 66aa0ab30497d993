//! Tables and columns on both sides, from their catalogs.

use re_dms_shared::names::{target_column, target_name};
use re_dms_shared::types::{ColumnRules, HASHED, SourceType, TypeMapping, catalog, map_column, map_type};
use tokio_postgres::{Client, Error};

use super::rules::{Hash, Rules};

/// A table of the source.
#[derive(Clone, Debug)]
pub(super) struct SourceTable {
    pub(super) schema: String,
    pub(super) name: String,
    /// A partitioned table's rows are its partitions' rows; an ordinary table's are its own alone, whatever inherits.
    pub(super) partitioned: bool,
    pub(super) columns: Vec<SourceColumn>,
    /// Names of columns that are not replicated.
    pub(super) left_out: Vec<String>,
    /// Its schema's name in Redshift.
    pub(super) target_schema: String,
}

/// A column of the source.
#[derive(Clone, Debug)]
pub(super) struct SourceColumn {
    pub(super) name: String,
    /// Behind domains; [`HASHED`] if the OID says nothing.
    pub(super) type_oid: u32,
    pub(super) mapping: TypeMapping,
    pub(super) rules: ColumnRules,
    /// Set if only its values' hashes arrive.
    pub(super) hash: Option<Hash>,
}

impl SourceTable {
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
pub(super) async fn source_tables(client: &Client, rules: &Rules) -> Result<Vec<SourceTable>, Error> {
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
        let (schema, name): (String, String) = (row.get(1), row.get(2));
        let (mut kept, mut left_out) = (Vec::new(), Vec::new());
        let oids: Vec<u32> = columns.iter().map(|column| column.get(1)).collect();
        let types = types(client, &oids).await?;
        for column in &columns {
            let column_name: String = column.get(0);
            if rules.columns.is_excluded(&schema, &name, &column_name) {
                left_out.push(column_name);
                continue;
            }
            let ty = catalog::build(column.get(1), &types);
            let column_rules = rules.columns.rules(&schema, &name, &column_name);
            let is_hashed = rules.columns.is_hashed(&schema, &name, &column_name);
            let hash = rules.hash.clone().filter(|_| is_hashed);
            let mapping = if is_hashed {
                map_type(HASHED, -1)
            } else {
                // A type that can't be is refused by the capture.
                map_column(&ty, column.get(2), false, &column_rules).unwrap_or_else(|_| map_type(HASHED, -1))
            };
            let type_oid = match ty.behind_domains(-1).0 {
                SourceType::Oid(oid) => *oid,
                _ => HASHED,
            };
            kept.push(SourceColumn { name: column_name, type_oid, mapping, rules: column_rules, hash });
        }
        let target_schema = rules.target_schema(&schema);
        found.push(SourceTable {
            schema,
            name,
            partitioned: row.get(3),
            columns: kept,
            left_out,
            target_schema,
        });
    }
    Ok(found)
}

/// What the catalog says of types.
async fn types(client: &Client, oids: &[u32]) -> Result<Vec<catalog::Row>, Error> {
    let rows = client.query(catalog::QUERY, &[&oids]).await?;
    let row = |row: &tokio_postgres::Row| catalog::Row {
        oid: row.get(0),
        name: row.get(1),
        kind: row.get(2),
        of: row.get(3),
        modifier: row.get(4),
        delimiter: row.get(5),
        field_names: row.get(6),
        field_types: row.get(7),
    };
    Ok(rows.iter().map(row).collect())
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
