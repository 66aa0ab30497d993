//! The targets as they are in Redshift, read for a plan.

use re_dms_shared::manifest::Manifest;

use crate::error::LoadError;
use crate::runner::Runner;
use crate::statements::{Cell, Statements};
use re_dms_plan::{self as plan, Catalog};

/// The manifest's targets as they are in Redshift.
pub(crate) async fn catalog<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
) -> Result<Catalog, LoadError> {
    let mut catalog = Catalog::default();
    for sql in plan::queries::columns(manifest) {
        take_columns(&mut catalog, &runner.query("reading the catalog", sql).await?);
    }
    dependents(runner, manifest, &mut catalog).await?;
    layouts(runner, manifest, &mut catalog).await?;
    Ok(catalog)
}

/// What a query for tables' columns gave.
pub(crate) fn take_columns(catalog: &mut Catalog, rows: &[Vec<Cell>]) {
    for row in rows {
        if let [schema, table, column, data_type, numbers @ ..] = row.as_slice()
            && let [Some(schema), Some(table), Some(column), Some(data_type)] =
                [schema.text(), table.text(), column.text(), data_type.text()]
        {
            let number = |position: usize| numbers.get(position).and_then(Cell::number);
            let not_null = numbers.get(3).and_then(Cell::text) == Some("NO");
            let numbers = [number(0), number(1), number(2)];
            catalog.add_row(schema, table, column, data_type, numbers, not_null);
        }
    }
}

/// Which views stand in the way of what the segment drops.
async fn dependents<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
    catalog: &mut Catalog,
) -> Result<(), LoadError> {
    for sql in plan::queries::dependents(manifest) {
        for row in runner.query("reading which views depend on tables", sql).await? {
            if let [schema, table, column, view_schema, view] = row.as_slice()
                && let [Some(schema), Some(table), Some(view_schema), Some(view)] =
                    [schema.text(), table.text(), view_schema.text(), view.text()]
            {
                catalog.add_dependent(schema, table, column.text(), format!("{view_schema}.{view}"));
            }
        }
    }
    Ok(())
}

/// What else keeps Redshift from dropping columns.
async fn layouts<A: Statements>(
    runner: &Runner<'_, A>,
    manifest: &Manifest,
    catalog: &mut Catalog,
) -> Result<(), LoadError> {
    for sql in plan::queries::layouts(manifest) {
        for row in runner.query("reading how tables are distributed and sorted", sql).await? {
            if let [schema, table, column, distributes, sorts] = row.as_slice()
                && let [Some(schema), Some(table), Some(column)] =
                    [schema.text(), table.text(), column.text()]
            {
                let is = |cell: &Cell| cell.number() == Some(1);
                catalog.add_layout(schema, table, column, is(distributes), is(sorts));
            }
        }
    }
    for sql in plan::queries::primary_keys(manifest) {
        for row in runner.query("reading declared keys", sql).await? {
            if let [schema, table, constraint] = row.as_slice()
                && let [Some(schema), Some(table), Some(constraint)] =
                    [schema.text(), table.text(), constraint.text()]
            {
                catalog.add_primary_key(schema, table, constraint);
            }
        }
    }
    Ok(())
}
