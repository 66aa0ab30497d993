//! `re_dms segments list`: a line a segment, as it is read.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::pin;

use futures_util::stream::TryStreamExt as _;
use re_dms_shared::manifest::{Action, Manifest, RowCounts, Step};
use serde_json::json;

use super::{Archive, Expendable, Kept, Point, Stored, TablePick, retention};
use crate::config::Config;
use crate::error::{Error, Result, Who};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only segments with steps of these tables.
    pub tables: TablePick,
    /// From this point on.
    pub from: Option<Point>,
    /// Up to this point.
    pub to: Option<Point>,
    /// A JSON object a line.
    pub json: bool,
}

/// Writes a line for each of the stream's segments on S3.
///
/// # Errors
/// If S3 can't be read, or `out` fails.
pub async fn list(config: &Config, options: &ListOptions, out: &mut impl Write) -> Result<()> {
    let archive = Archive::open(config).await?;
    let Archive { objects, layout, epoch, .. } = &archive;
    let expendable = Expendable::read(objects, layout, epoch).await?.up_to;
    let first = match options.from {
        Some(Point::Segment(seq)) => seq,
        _ => 0,
    };
    let (mut segments, mut rows, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut stored = pin!(archive.segments(first));
    while let Some(segment) = stored.try_next().await? {
        let manifest = &segment.manifest;
        // Commit times may run backwards by a little: only a number is the end.
        if matches!(options.to, Some(Point::Segment(last)) if manifest.seq > last) {
            break;
        }
        let is_early = options.from.is_some_and(|from| from.is_after(manifest));
        let is_late = options.to.is_some_and(|to| to.is_before_end_of(manifest));
        if is_early || is_late || !concerns(manifest, &options.tables) {
            continue;
        }
        let summary = Summary::of(&segment, &options.tables);
        segments += 1;
        rows += summary.rows.total();
        bytes += summary.bytes;
        let line = if options.json {
            summary.json(&segment, expendable).to_string()
        } else {
            summary.text(&segment, expendable)
        };
        match writeln!(out, "{line}") {
            // Who reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| unwritable(&error))?,
        }
    }
    if options.json {
        return Ok(());
    }
    let told = format!("{segments} segments, {rows} rows, {bytes} bytes");
    let kept = match config.segments.retention {
        Some(retention) if retention::base(&archive, retention).await?.is_none() => {
            format!("\nnothing expires: {}", Kept::NoCheckpoint)
        }
        _ => String::new(),
    };
    writeln!(out, "{told}{kept}").map_err(|error| unwritable(&error))
}

fn unwritable(error: &io::Error) -> Error {
    Error::fatal(Who::Machine, format!("the list can't be written: {error}"), "is there room where it goes?")
}

fn concerns(manifest: &Manifest, tables: &TablePick) -> bool {
    let copied = manifest.copy.as_ref().is_some_and(|copy| tables.names(&copy.schema, &copy.name));
    tables.is_all() || copied || manifest.steps.iter().any(|step| tables.step(step))
}

/// What one segment has of the tables that were asked for.
struct Summary {
    tables: BTreeSet<String>,
    rows: RowCounts,
    bytes: u64,
    has_change: bool,
}

impl Summary {
    fn of(segment: &Stored, tables: &TablePick) -> Self {
        let mut summary =
            Self { tables: BTreeSet::new(), rows: RowCounts::default(), bytes: 0, has_change: false };
        for step in segment.manifest.steps.iter().filter(|step| tables.step(step)) {
            summary.add(step);
        }
        summary
    }

    fn add(&mut self, step: &Step) {
        self.tables.insert(format!("{}.{}", step.table.schema, step.table.name));
        if let Some(load) = step.action.load() {
            self.rows += load.rows;
            self.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
        }
        self.has_change |= matches!(step.action, Action::Schema(_));
    }

    fn text(&self, segment: &Stored, expendable: u64) -> String {
        let Manifest { seq, start_lsn, end_lsn, first_commit_time, last_commit_time, transactions, .. } =
            &segment.manifest;
        let tables = self.tables.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (rows, bytes) = (self.rows.total(), self.bytes);
        let range = match &segment.manifest.copy {
            Some(copy) => format!("initial copy as of {}", copy.snapshot),
            None => format!(
                "{start_lsn}..{end_lsn}  {first_commit_time:.3}..{last_commit_time:.3}  {transactions} transactions"
            ),
        };
        let change = if self.has_change { "  definition changed" } else { "" };
        let loaded = match (segment.is_loaded, *seq <= expendable) {
            (_, true) => "expendable",
            (true, false) => "loaded",
            (false, false) => "no receipt",
        };
        format!("{seq}  {range}  {rows} rows, {bytes} bytes  {loaded}  {tables}{change}")
    }

    fn json(&self, segment: &Stored, expendable: u64) -> serde_json::Value {
        let Manifest { seq, start_lsn, end_lsn, first_commit_time, last_commit_time, transactions, .. } =
            &segment.manifest;
        json!({
            "seq": seq,
            "start_lsn": start_lsn,
            "end_lsn": end_lsn,
            "first_commit_time": first_commit_time,
            "last_commit_time": last_commit_time,
            "transactions": transactions,
            "initial_copy": segment.manifest.copy.is_some(),
            "tables": self.tables,
            "rows": self.rows,
            "bytes": self.bytes,
            "definition_changed": self.has_change,
            "has_receipt": segment.is_loaded,
            "expendable": *seq <= expendable,
        })
    }
}
