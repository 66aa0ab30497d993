//! How much comes for which table: counted from the manifests of the last segments.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use re_dms_shared::manifest::{Action, Manifest};
use serde::Serialize;

use crate::error::Result;
use crate::history::History;

/// So many segments are looked at…
const SEGMENTS: u64 = 20;
/// …and of these the ones that are no older than this, beside the last one.
const OLDEST: Duration = Duration::from_secs(10 * 60);

/// What the last segments hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// How many there were.
    pub segments: u64,
    /// From their first transaction to their last, at least a second.
    pub seconds: f64,
    /// By table, the busiest first.
    pub tables: Vec<TableRate>,
}

/// What they hold of one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TableRate {
    /// `schema.name` on the source.
    pub table: String,
    /// Rows in files, after compaction.
    pub rows: u64,
    /// Of these, rows that came.
    pub inserts: u64,
    /// Rows that changed.
    pub updates: u64,
    /// Rows that went.
    pub deletes: u64,
    /// Rows in a second of [`Rates::seconds`].
    pub rows_per_second: f64,
}

impl Rates {
    pub(super) async fn read(history: &History<'_>, (first, last): (u64, u64)) -> Result<Self> {
        let from = first.max(last.saturating_sub(SEGMENTS - 1));
        let read: Vec<_> = join_all((from..=last).map(|seq| history.segment(seq))).await;
        let mut manifests = Vec::new();
        for segment in read {
            manifests.extend(segment?.map(|segment| segment.manifest));
        }
        Ok(Self::of(&manifests))
    }

    /// Of manifests in their order. The initial copy's say nothing about what comes.
    fn of(manifests: &[Manifest]) -> Self {
        let Some(end) = manifests.iter().map(|manifest| manifest.last_commit_time).max() else {
            return Self::default();
        };
        let is_recent = |time: Timestamp| end.duration_since(time).unsigned_abs() <= OLDEST;
        let counted: Vec<_> = manifests
            .iter()
            .filter(|manifest| manifest.copy.is_none() && is_recent(manifest.last_commit_time))
            .collect();
        let Some(start) = counted.iter().map(|manifest| manifest.first_commit_time).min() else {
            return Self::default();
        };
        let seconds = end.duration_since(start).as_secs_f64().max(1.0);
        let mut tables: BTreeMap<String, TableRate> = BTreeMap::new();
        for step in counted.iter().flat_map(|manifest| &manifest.steps) {
            let Action::Load(load) = &step.action else { continue };
            let name = format!("{}.{}", step.table.schema, step.table.name);
            let rate = tables.entry(name).or_default();
            rate.inserts += load.rows.inserts;
            rate.updates += load.rows.replaces + load.rows.updates + load.rows.moves;
            rate.deletes += load.rows.deletes + load.rows.removes;
        }
        let finish = |(table, rate): (String, TableRate)| {
            let rows = rate.inserts + rate.updates + rate.deletes;
            TableRate { table, rows, rows_per_second: rows as f64 / seconds, ..rate }
        };
        let mut tables: Vec<_> = tables.into_iter().map(finish).collect();
        tables.sort_by_key(|rate| std::cmp::Reverse(rate.rows));
        Self { segments: counted.len() as u64, seconds, tables }
    }
}
