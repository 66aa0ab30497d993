//! What the loader asks Redshift outside of a segment's transaction.

use std::collections::{BTreeMap, BTreeSet};

use re_dms_shared::manifest::{Action, Manifest};
use re_dms_shared::sql::literal;

/// Tables asked for in one query, so that its text stays well below the Data API's limit.
const TABLES_A_QUERY: usize = 300;

/// The columns of the segment's targets, as many queries as it takes. Read by [`super::Catalog::add_row`].
#[must_use]
pub fn columns(manifest: &Manifest) -> Vec<String> {
    let targets: BTreeSet<_> =
        manifest.steps.iter().map(|step| (&step.table.target_schema, &step.table.target_name)).collect();
    let targets: Vec<_> = targets.into_iter().collect();
    targets.chunks(TABLES_A_QUERY).map(columns_of).collect()
}

fn columns_of(targets: &[(&String, &String)]) -> String {
    let mut by_schema: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (schema, table) in targets {
        by_schema.entry(schema).or_default().push(literal(&table.to_ascii_lowercase()));
    }
    let conditions: Vec<_> = by_schema
        .iter()
        .map(|(schema, tables)| {
            let schema = literal(&schema.to_ascii_lowercase());
            format!("(table_schema = {schema} AND table_name IN ({}))", tables.join(", "))
        })
        .collect();
    format!(
        "SELECT table_schema, table_name, column_name, data_type, character_maximum_length, numeric_precision, \
         numeric_scale FROM svv_columns WHERE {}",
        conditions.join(" OR ")
    )
}

/// The newest load error of a file below `folder` of `bucket`. The values that Redshift keeps beside it are not asked for.
#[must_use]
pub fn load_error(bucket: &str, folder: &str) -> String {
    let files = format!("s3://{bucket}/{folder}");
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
        Action::Truncate => 0,
    }
}
