//! What the loader asks Redshift outside of a segment's transaction.

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::{Action, Manifest, SchemaChange, Step, TableChange};
use re_dms_shared::sql::literal;

/// Tables asked for in one query, so that its text stays well below the Data API's limit.
const TABLES_A_QUERY: usize = 300;

/// The columns of the segment's targets, as many queries as it takes. Read by [`super::Catalog::add_row`].
#[must_use]
pub fn columns(manifest: &Manifest) -> Vec<String> {
    columns_of_targets(targets(manifest.steps.iter()))
}

/// The same of other targets.
pub(super) fn columns_of_targets(targets: BTreeSet<(&String, &String)>) -> Vec<String> {
    let targets: Vec<_> = targets.into_iter().collect();
    targets.chunks(TABLES_A_QUERY).map(columns_of).collect()
}

/// Schema and name of the steps' tables, and of what they were before.
fn targets<'a>(steps: impl Iterator<Item = &'a Step>) -> BTreeSet<(&'a String, &'a String)> {
    let tables = steps.flat_map(|step| {
        let before = match &step.action {
            Action::Schema(SchemaChange { before, .. }) => before.as_ref(),
            Action::Load(_) | Action::Chunk(_) | Action::Truncate | Action::Resync | Action::Replace(_) => {
                None
            }
        };
        std::iter::once(&step.table).chain(before)
    });
    tables.map(|table| (&table.target_schema, &table.target_name)).collect()
}

/// The views that read from tables which lose something: none if no table does. They would keep Redshift from dropping
/// it. Read by [`super::Catalog::add_dependent`].
#[must_use]
pub fn dependents(manifest: &Manifest) -> Vec<String> {
    losing(manifest).chunks(TABLES_A_QUERY).map(dependents_of).collect()
}

/// The columns by which such tables are distributed and sorted. Read by [`super::Catalog::add_layout`].
#[must_use]
pub fn layouts(manifest: &Manifest) -> Vec<String> {
    let query = |targets: &[(&String, &String)]| {
        format!(
            "SELECT schema_name, table_name, column_name, CASE WHEN distkey THEN 1 ELSE 0 END, \
             CASE WHEN sortkey <> 0 THEN 1 ELSE 0 END FROM svv_redshift_columns \
             WHERE database_name = current_database() AND (distkey OR sortkey <> 0) AND ({})",
            among(targets, "schema_name", "table_name")
        )
    };
    losing(manifest).chunks(TABLES_A_QUERY).map(query).collect()
}

/// The names of their declared keys. Read by [`super::Catalog::add_primary_key`].
#[must_use]
pub fn primary_keys(manifest: &Manifest) -> Vec<String> {
    let query = |targets: &[(&String, &String)]| {
        format!(
            "SELECT table_schema, table_name, constraint_name FROM information_schema.table_constraints \
             WHERE constraint_type = 'PRIMARY KEY' AND ({})",
            among(targets, "table_schema", "table_name")
        )
    };
    losing(manifest).chunks(TABLES_A_QUERY).map(query).collect()
}

/// Tables that lose something, or whose columns change.
fn losing(manifest: &Manifest) -> Vec<(&String, &String)> {
    let loses = |step: &&Step| match &step.action {
        Action::Schema(SchemaChange { changes, .. }) => changes.iter().any(|change| {
            matches!(
                change,
                TableChange::Drop
                    | TableChange::Move
                    | TableChange::DropColumn { .. }
                    | TableChange::ChangeType { .. }
                    | TableChange::ChangeKey
            )
        }),
        // Columns may get other types.
        Action::Replace(_) => true,
        Action::Load(_) | Action::Chunk(_) | Action::Truncate | Action::Resync => false,
    };
    targets(manifest.steps.iter().filter(loses)).into_iter().collect()
}

fn dependents_of(targets: &[(&String, &String)]) -> String {
    let conditions = among(targets, "n.nspname", "c.relname");
    format!(
        "SELECT DISTINCT n.nspname, c.relname, a.attname, vn.nspname AS view_schema, v.relname AS view_name \
         FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class \
         JOIN pg_namespace vn ON vn.oid = v.relnamespace \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid \
         WHERE v.oid <> c.oid AND ({conditions})"
    )
}

fn columns_of(targets: &[(&String, &String)]) -> String {
    format!(
        "SELECT table_schema, table_name, column_name, data_type, character_maximum_length, numeric_precision, \
         numeric_scale, is_nullable FROM svv_columns WHERE {}",
        among(targets, "table_schema", "table_name")
    )
}

fn among(targets: &[(&String, &String)], schema_column: &str, table_column: &str) -> String {
    let mut by_schema: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (schema, table) in targets {
        by_schema.entry(schema).or_default().push(literal(&table.to_ascii_lowercase()));
    }
    let conditions: Vec<_> = by_schema
        .iter()
        .map(|(schema, tables)| {
            let schema = literal(&schema.to_ascii_lowercase());
            format!("({schema_column} = {schema} AND {table_column} IN ({}))", tables.join(", "))
        })
        .collect();
    conditions.join(" OR ")
}

/// The newest load error of a file of `bucket` whose key begins with `prefix`. The values that Redshift keeps beside it are not asked for.
#[must_use]
pub fn load_error(bucket: &str, prefix: &str) -> String {
    let files = format!("s3://{bucket}/{prefix}");
    format!(
        "SELECT file_name, line_number, column_name, column_type, error_code FROM sys_load_error_detail \
         WHERE POSITION({} IN file_name) = 1 ORDER BY start_time DESC LIMIT 1",
        literal(&files)
    )
}

/// Rows in all files of a segment.
#[must_use]
pub fn rows(manifest: &Manifest) -> u64 {
    manifest.steps.iter().map(|step| rows_of(&step.action)).sum()
}

/// Rows in the files of one step.
#[must_use]
pub fn rows_of(action: &Action) -> u64 {
    match action {
        Action::Load(load) => load.rows.total(),
        Action::Chunk(chunk) => chunk.load.rows.total(),
        Action::Truncate | Action::Schema(_) | Action::Resync => 0,
        // They are loaded later, as a request.
        Action::Replace(_) => 0,
    }
}
