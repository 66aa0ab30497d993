//! `sandbox diff`: every replicated table, source against warehouse, by counts and hashes that each database computes for
//! itself over values in a common text form. Values never leave the databases.

mod canonical;
mod catalog;
mod globs;
mod one_table;
mod report;
mod rules;

use std::path::Path;

pub use globs::TableGlobs;
pub use report::{Report, TableReport, Verdict};
pub use rules::Rules;

use crate::capture_config::CaptureConfig;
use crate::database;
use crate::error::{Error, Part, Result};
use crate::state::{Folder, State};

/// How both sides print dates, floats and bytes, and one snapshot for all tables.
const BEGIN: &str = "
    SET TimeZone = 'UTC';
    SET DateStyle = 'ISO';
    SET IntervalStyle = 'postgres';
    SET lc_monetary = 'C';
    SET extra_float_digits = 3;
    SET bytea_output = 'hex';
    SET standard_conforming_strings = on;
    SET statement_timeout = 0;
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Compares a sandbox's two sides as they are now.
///
/// # Errors
/// A side can't be read. A difference is not an error but part of the report.
pub async fn diff(dir: &Path) -> Result<Report> {
    let folder = Folder::existing(dir)?;
    let state = State::load(&folder)?.unwrap_or_default();
    let config = CaptureConfig::load(&folder.capture_config())?;
    let globs = TableGlobs::new(config.texts("source.include"), config.texts("source.exclude"));

    compare(&state.source_url, &state.warehouse_url, &globs, &Rules::of(&config)?).await
}

/// Compares the tables that the patterns pick, of a source and a warehouse by their URLs.
///
/// # Errors
/// A side can't be read.
pub async fn compare(
    source_url: &str,
    warehouse_url: &str,
    globs: &TableGlobs,
    rules: &Rules,
) -> Result<Report> {
    let source = database::connect(Part::Source, source_url).await?;
    let warehouse = database::connect(Part::Warehouse, warehouse_url).await?;
    source.batch_execute(BEGIN).await.map_err(Error::database(Part::Source))?;
    warehouse.batch_execute(BEGIN).await.map_err(Error::database(Part::Warehouse))?;

    let tables = catalog::source_tables(&source, rules).await.map_err(Error::database(Part::Source))?;
    let mut reports = Vec::with_capacity(tables.len());
    for table in tables.iter().filter(|table| globs.pick(&table.schema, &table.name)) {
        reports.push(one_table::compare(&source, &warehouse, table).await?);
    }
    Ok(Report { tables: reports })
}
