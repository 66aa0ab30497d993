//! `re_dms plan`: what becomes of changes of tables' definitions, as the SQL that the loader would run: of those that are
//! held, and of those that the source's catalog has already and the stream has not seen.
//!
//! Redshift is not asked: its tables are taken to be as the stream left them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use re_dms_plan::{Catalog as Targets, Target, change_sql};
use re_dms_shared::manifest::{Action, SchemaChange, Table};
use re_dms_shared::s3_layout::{StreamLayout, seq_of_manifest_key};
use re_dms_shared::table_log::QuarantinedTable;

use crate::aws::{self, Objects};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::history::{History, StagedSegment, read_shapes};
use crate::relations::{KnownTables, SchemaStep};
use crate::source::Source;
use crate::tables;

/// The SQL, with comments.
///
/// # Errors
/// If there is no status of the stream, or S3 or the source can't be asked.
pub async fn plan(config: &Config) -> Result<String> {
    let status = tables::status(config)?;
    let sdk = aws::sdk_config(&config.aws).await;
    let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
    let layout = StreamLayout::new(&config.s3.prefix, &config.stream);
    let history = History::new(&objects, &layout, &status.epoch);
    let newest = match history.range().await? {
        Some((_, last)) => history.segment(last).await?,
        None => None,
    };
    let shapes = newest.as_ref().and_then(|segment| segment.manifest.shapes.as_deref());
    let known = match shapes {
        Some(key) => read_shapes(&objects, key, "the last segment").await?,
        None => KnownTables::default(),
    };
    let mut targets = Targets::default();
    let mut text = String::new();
    for (table, change) in waiting(&history, newest, &status.quarantined).await? {
        let name = Target::of(&table).to_string();
        let held = status.quarantined.iter().find(|quarantined| quarantined.table == name);
        let why = match held {
            Some(QuarantinedTable { held: true, since_seq, .. }) => {
                format!("held since segment {since_seq}: `re_dms tables approve {name}` lets it be done")
            }
            _ => format!("waits with what is quarantined: `re_dms tables resume {name}`"),
        };
        show(&mut text, &mut targets, &table, &change, &why);
    }
    for SchemaStep { table, change } in foreseen(config, known).await? {
        let why = match (&change.before, change.hold) {
            (None, _) => "new, made with its first row",
            (Some(_), true) => {
                "will be held once it is seen: with the table's next row, or when it is looked at"
            }
            (Some(_), false) => {
                "will be done once it is seen: with the table's next row, or when it is looked at"
            }
        };
        show(&mut text, &mut targets, &table, &change, why);
    }
    if text.is_empty() {
        text.push_str("-- nothing to change\n");
    }
    Ok(text)
}

/// Changes of quarantined tables, in order. A segment that has any has shapes of its own, which the later manifests name:
/// so there is no need to read them all.
async fn waiting(
    history: &History<'_>,
    newest: Option<StagedSegment>,
    quarantined: &[QuarantinedTable],
) -> Result<Vec<(Table, SchemaChange)>> {
    let since: BTreeMap<&str, u64> =
        quarantined.iter().map(|table| (table.table.as_str(), table.since_seq)).collect();
    let first = since.values().copied().min().unwrap_or(u64::MAX);
    let mut found = Vec::new();
    let mut shapes = newest.and_then(|segment| segment.manifest.shapes);
    while let Some(seq) = shapes.as_deref().and_then(seq_of_shapes).filter(|seq| *seq >= first) {
        let Some(segment) = history.segment(seq).await? else { break };
        for step in segment.manifest.steps.into_iter().rev() {
            let Action::Schema(change) = step.action else { continue };
            let waits = |table: &Table| {
                since.get(Target::of(table).to_string().as_str()).is_some_and(|since| seq >= *since)
            };
            if waits(&step.table) {
                found.push((step.table, change));
            }
        }
        let Some(before) = seq.checked_sub(1).filter(|seq| *seq > 0) else { break };
        shapes = history.segment(before).await?.and_then(|segment| segment.manifest.shapes);
    }
    found.reverse();
    Ok(found)
}

/// The segment whose folder has the file.
fn seq_of_shapes(key: &str) -> Option<u64> {
    let (folder, _) = key.rsplit_once('/')?;
    seq_of_manifest_key(&format!("{folder}/manifest.json"))
}

/// What the catalog has already.
async fn foreseen(config: &Config, known: KnownTables) -> Result<Vec<SchemaStep>> {
    let source = Source::connect(&config.source).await?;
    let publication = &config.source.publication;
    let around = source.around(publication).await?;
    let mut tables = Vec::new();
    for table in around.iter().filter(|table| table.published) {
        tables.extend(source.definition(table.oid, publication).await?);
    }
    let present: BTreeSet<u32> = around.iter().map(|table| table.oid).collect();
    let mut relations = Catalog::new(&config.source).relations(config, known);
    // The catalog is asked from a thread that is none of the runtime's.
    let foreseen = tokio::task::spawn_blocking(move || relations.foresee(&present, tables)).await;
    foreseen.unwrap_or_else(|error| {
        Err(Error::fatal(Who::Machine, format!("a task broke off: {error}"), "report this as a bug"))
    })
}

fn show(text: &mut String, targets: &mut Targets, table: &Table, change: &SchemaChange, why: &str) {
    if let Some(before) = &change.before {
        targets.assume(before);
    }
    let mut lines = vec![format!("-- {}: {why}", Target::of(table))];
    lines.extend(change.unproven.iter().map(|reason| format!("-- needs a resync then: {reason}")));
    match change_sql(targets, table, change) {
        Ok(sql) => lines.extend(sql.into_iter().map(|sql| format!("{sql};"))),
        Err(error) => lines.push(format!("-- can't be done: {error} (hint: {})", error.hint())),
    }
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a String does not fail.
    let _ = writeln!(text, "{}", lines.join("\n"));
}
