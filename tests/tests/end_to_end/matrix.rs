//! Replica identity × operation × TOAST × batching: every combination, compared cell by cell; and what a batch with every
//! subset of unchanged columns looks like on S3.

mod cells;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, ensure};
use cells::{MatrixTable, TOASTED, TOASTS, matrix_tables};
use flate2::read::GzDecoder;
use re_dms_shared::manifest::{Action, Load, Manifest, Table};
use re_dms_tests::{Aws, Sandbox};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// A value that is stored outside of the row: 2,400 bytes that do not compress.
const BLOB: &str = "CREATE FUNCTION matrix_blob(salt text) RETURNS text IMMUTABLE LANGUAGE sql
    AS $$ SELECT string_agg(md5(i || salt), '') FROM generate_series(1, 75) i $$;";

/// Where every subset of three columns is unchanged somewhere, and all rows were loaded before.
const MIXED: &str = "default__update_plain__two";

#[tokio::test]
async fn every_identity_operation_and_toast() -> Result<()> {
    let tables = matrix_tables();
    // Four identities that take every operation, two that take two of them; nine operations, five states of TOAST, two
    // batchings.
    assert_eq!(tables.len() * TOASTS.len(), 4 * 90 + 2 * 20, "cells");

    // Nothing but the wait cuts a batch, so there are two.
    let sandbox = Sandbox::up_with("[batch]\ninterval = \"1h\"\n[slot]\nidle_interval = \"1s\"\n")?;
    let source = sandbox.source().await?;
    let all = |sql: fn(MatrixTable) -> String| tables.iter().map(|&table| sql(table)).collect::<String>();
    source.batch_execute(&format!("{BLOB}{}", all(MatrixTable::create))).await?;
    for batch in [all(MatrixTable::first_batch), all(MatrixTable::second_batch)] {
        source.batch_execute(&format!("BEGIN;{batch}COMMIT")).await?;
        sandbox.wait(170)?;
    }

    let warehouse = sandbox.warehouse().await?;
    let mut failed = Vec::new();
    for table in tables {
        let name = table.name();
        let (ours, theirs) = (digests(&source, &name).await?, digests(&warehouse, &name).await?);
        for toast in TOASTS.map(|toast| format!("{toast:?}")) {
            if ours.get(&toast) != theirs.get(&toast) {
                failed.push(format!("{name}, {toast}"));
            }
        }
    }
    ensure!(failed.is_empty(), "{} cells differ:\n{}", failed.len(), failed.join("\n"));
    let (equal, report) = sandbox.diff()?;
    ensure!(equal, "{report}");

    every_subset_is_in_one_file(&Aws::of(&sandbox).await?).await
}

/// By state of TOAST, the number of rows and a hash of them. Both sides print these types alike.
async fn digests(client: &Client, table: &str) -> Result<BTreeMap<String, (i64, String)>> {
    let sql = format!(
        "SELECT cell, count(*), md5(string_agg(row, '' ORDER BY row))
         FROM (SELECT cell::text, md5(ROW(id, cell, n, a, b, c)::text) AS row FROM public.{table}) r GROUP BY cell"
    );
    match client.query(&sql, &[]).await {
        Ok(rows) => Ok(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()),
        // A table whose rows all came and went within a batch.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

/// One file and one COPY a table, each row with the set of columns that it has; an absent value is NULL's mark and nothing
/// that could be a value.
async fn every_subset_is_in_one_file(aws: &Aws) -> Result<()> {
    let mut keys = aws.keys("/manifest.json").await?;
    keys.sort();
    ensure!(keys.len() == 2, "two batches make two segments: {keys:?}");
    let manifest = Manifest::from_json(&aws.object(&keys[1]).await?)?;
    let steps: Vec<_> = manifest.steps.iter().filter(|step| step.table.name == MIXED).collect();
    let [step] = steps.as_slice() else { anyhow::bail!("{} steps for one table", steps.len()) };
    let Action::Load(load) = &step.action else { anyhow::bail!("not a load: {step:?}") };
    ensure!(load.files.len() == 1, "{} files", load.files.len());
    let copied: serde_json::Value = serde_json::from_slice(&aws.object(&load.copy_manifest).await?)?;
    let copied = copied["entries"].as_array().context("a COPY manifest has entries")?;
    ensure!(
        copied.len() == 1 && copied[0]["url"].as_str().is_some_and(|url| url.ends_with(&load.files[0].key))
    );

    // Two rows each: every subset but the whole leaves something unchanged, and once more none.
    ensure!((load.rows.updates, load.rows.replaces) == (16, 8), "{:?}", load.rows);
    ensure!(load.rows.total() == 24, "{:?}", load.rows);
    let sets: BTreeSet<BTreeSet<&str>> =
        load.present_sets.iter().map(|set| names(&step.table, set)).collect();
    let subset = |bits: u32| {
        let present = TOASTED.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
        present.map(|(_, name)| *name).chain(["id", "cell", "n"]).collect()
    };
    ensure!(sets == (0..7).map(subset).collect(), "{sets:?}");
    let file = aws.object(&load.files[0].key).await?;
    check_rows(&file, load, &step.table)
}

fn names<'a>(table: &'a Table, set: &[usize]) -> BTreeSet<&'a str> {
    set.iter().map(|&position| table.columns[position].name.as_str()).collect()
}

fn check_rows(file: &[u8], load: &Load, table: &Table) -> Result<()> {
    let mut text = Vec::new();
    GzDecoder::new(file).read_to_end(&mut text)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_slice());
    let mut rows = 0;
    for record in reader.records() {
        let record = record?;
        rows += 1;
        let fields: Vec<&str> = record.iter().collect();
        let [operation, set, values @ ..] = fields.as_slice() else { anyhow::bail!("{fields:?}") };
        ensure!(values.len() == table.columns.len(), "as many fields as columns");
        let present: Vec<usize> = match *operation {
            "u" => load.present_sets[set.parse::<usize>()?].clone(),
            "r" => (0..values.len()).collect(),
            other => anyhow::bail!("an operation {other}"),
        };
        for (position, (value, column)) in values.iter().zip(&table.columns).enumerate() {
            let is_null = *value == "\0";
            // Whole rows may hold NULLs; here an update's columns all hold values.
            ensure!(is_null != present.contains(&position) || *operation == "r", "column {}", column.name);
            let is_toasted = TOASTED.contains(&column.name.as_str());
            let is_value =
                ["short ", "changed "].iter().any(|start| value.starts_with(start)) || value.len() == 2_400;
            ensure!(!is_toasted || is_null || is_value, "column {} holds what nobody wrote", column.name);
        }
    }
    ensure!(rows == load.rows.total(), "{rows} rows");
    Ok(())
}
