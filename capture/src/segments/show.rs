//! `re_dms segments show`: one segment, step by step, and its receipt.

use std::fmt::Write as _;

use re_dms_shared::manifest::{Action, Manifest, RowCounts, Step};
use serde_json::{Value, json};

use super::Archive;
use crate::config::Config;
use crate::error::{Error, Result, Who};

/// A segment for people, or as JSON: its manifest and its receipt.
///
/// # Errors
/// If S3 can't be read, or has no such segment.
pub async fn show(config: &Config, seq: u64, as_json: bool) -> Result<String> {
    let archive = Archive::open(config).await?;
    let Some(segment) = archive.history().segment(seq).await? else {
        let what = format!("segment {seq} of {} is not on S3", archive.stream);
        return Err(Error::fatal(Who::Stream, what, "`re_dms segments list` shows those that are"));
    };
    let receipt = archive.objects.get(&archive.layout.segment(&archive.epoch, seq).receipt()).await?;
    // The ledger is the authority: a receipt that can't be read says as much as none.
    let receipt: Option<Value> = receipt.and_then(|json| serde_json::from_slice(&json).ok());
    if as_json {
        let shown =
            json!({ "manifest": segment.manifest, "manifest_sha256": segment.sha256, "receipt": receipt });
        return Ok(format!("{shown:#}"));
    }
    Ok(text(&segment.manifest, &segment.sha256, receipt.as_ref()))
}

fn text(manifest: &Manifest, sha256: &str, receipt: Option<&Value>) -> String {
    let Manifest { stream, epoch, seq, start_lsn, end_lsn, .. } = manifest;
    let Manifest { first_commit_time, last_commit_time, transactions, captured_by, format, .. } = manifest;
    let mut out = format!(
        "segment {seq} of {stream}, epoch {epoch}\n\
         LSN            {start_lsn}..{end_lsn}\n\
         committed      {first_commit_time}..{last_commit_time}, {transactions} transactions\n\
         manifest       format {format}, SHA-256 {sha256}, by {captured_by}\n"
    );
    if let Some(copy) = &manifest.copy {
        let _ = writeln!(out, "initial copy   of {}.{} as of {}", copy.schema, copy.name, copy.snapshot);
    }
    let said = receipt.map_or_else(
        || "none: it is not loaded, or the receipt is lost".to_owned(),
        |receipt| format!("loaded at {}", receipt["loaded_at"].as_str().unwrap_or("an unknown time")),
    );
    let _ = writeln!(out, "receipt        {said}");
    for one in &manifest.steps {
        let _ = writeln!(out, "{}", step(one));
    }
    out
}

fn step(step: &Step) -> String {
    let table = &step.table;
    let action = match &step.action {
        Action::Load(load) => {
            let bytes: u64 = load.files.iter().map(|file| file.bytes).sum();
            format!("{} in {} files, {bytes} bytes", counts(&load.rows), load.files.len())
        }
        Action::Truncate => "all rows go".to_owned(),
        Action::Resync => "is read anew from here on".to_owned(),
        Action::Replace(load) => {
            format!("its rows, read anew: {} in {} files", counts(&load.rows), load.files.len())
        }
        Action::Chunk(chunk) => {
            let (rows, files) = (counts(&chunk.load.rows), chunk.load.files.len());
            format!("ranges of its keys, read anew: {rows} in {files} files")
        }
        Action::Schema(change) => {
            let changes: Vec<_> = change
                .changes
                .iter()
                .filter_map(|change| json!(change)["change"].as_str().map(str::to_owned))
                .collect();
            format!("definition: {}", changes.join(", "))
        }
    };
    format!(
        "step {:<9} {}.{} → {}.{}: {action}",
        step.number, table.schema, table.name, table.target_schema, table.target_name
    )
}

fn counts(rows: &RowCounts) -> String {
    let RowCounts { inserts, replaces, updates, deletes, moves, removes } = *rows;
    let parts = [
        (inserts, "inserts"),
        (replaces, "replaces"),
        (updates, "updates"),
        (deletes, "deletes"),
        (moves, "moves"),
        (removes, "removes"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if parts.is_empty() { "no rows".to_owned() } else { parts.join(", ") }
}
