//! A load cut into files of about equal size, before any of them is written: so they can be written side by side, and the
//! same load gives the same files whoever is ready first.

use std::sync::Arc;

use re_dms_shared::manifest::{Altered, RowCounts, needs_tagged_keys};

use super::options::FileSize;
use super::present::PresentSets;
use super::renderer::{FileSummary, Tally};
use crate::batch::{Copies, Entry, LoadData, Move, TableShape};

/// What all files of a load have in common.
#[derive(Debug)]
pub struct LoadContext {
    pub(super) shape: Arc<TableShape>,
    pub(super) present_sets: PresentSets,
    /// Rows have the fields of a removal.
    pub(super) has_removals: bool,
    /// Rows have no fields but the table's columns'.
    pub(super) is_bare: bool,
    /// What else there is to say of a row is in front of its key's values.
    pub(super) tagged_keys: bool,
}

/// The rows of one file. Never empty.
#[derive(Debug)]
pub struct FileRows {
    pub(super) rows: LoadData,
    /// Removals in the files before: they are numbered through the load.
    pub(super) removals_before: u64,
}

/// What a load's manifest says about its rows.
#[derive(Debug)]
pub struct LoadSummary {
    /// Rows by operation.
    pub rows: RowCounts,
    /// The sets of columns that updates and moves hold, key columns included.
    pub present_sets: Vec<Vec<usize>>,
    /// Values that met a policy: a value is counted once a policy, however many of its elements met it.
    pub altered: Vec<Altered>,
}

/// Cuts a load into files of about the same size.
#[must_use]
pub fn split(shape: Arc<TableShape>, load: LoadData, size: FileSize) -> (LoadContext, Vec<FileRows>) {
    let total = load.row_bytes();
    let borders = Borders { total, files: size.files(total), filled: 0, consumed: 0 };
    let present_sets = PresentSets::of(&load);
    let tagged_keys = needs_tagged_keys(shape.table(), matches!(load, LoadData::Moves(_)));
    let mut has_removals = false;
    let parts: Vec<LoadData> = match load {
        LoadData::Entries(entries) => {
            let parts = cut(entries, borders, |entry: &Entry| entry.row.len());
            parts.into_iter().map(LoadData::Entries).collect()
        }
        LoadData::Moves(moves) => {
            let parts = cut(moves, borders, |moved: &Move| moved.row.len() + moved.old_key.len());
            parts.into_iter().map(LoadData::Moves).collect()
        }
        LoadData::Copies(rows) => {
            has_removals = rows.iter().any(|copies| copies.change < 0);
            cut_copies(rows, borders).into_iter().map(LoadData::Copies).collect()
        }
    };
    let mut removals = 0;
    let files = parts.into_iter().map(|rows| {
        let removals_before = removals;
        if let LoadData::Copies(rows) = &rows {
            removals += rows.iter().filter(|copies| copies.change < 0).count() as u64;
        }
        FileRows { rows, removals_before }
    });
    let files = files.collect();
    (LoadContext { shape, present_sets, has_removals, is_bare: tagged_keys, tagged_keys }, files)
}

/// Where files end: with the row that brings the load to the next border of `files` equal parts of `total` bytes.
struct Borders {
    total: usize,
    files: usize,
    /// Files that are full.
    filled: usize,
    consumed: usize,
}

impl Borders {
    /// Bytes up to the next border.
    fn room(&self) -> usize {
        let border = (self.filled + 1) as u128 * self.total as u128;
        let border = usize::try_from(border.div_ceil(self.files.max(1) as u128)).unwrap_or(usize::MAX);
        border.saturating_sub(self.consumed)
    }

    /// Takes so many bytes; whether the file ends with them.
    fn take(&mut self, bytes: usize) -> bool {
        let ends = bytes >= self.room();
        self.consumed += bytes;
        while self.filled < self.files && self.room() == 0 {
            self.filled += 1;
        }
        ends
    }
}

fn cut<T>(mut rows: Vec<T>, mut borders: Borders, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut starts = Vec::new();
    for (row, next) in rows.iter().zip(1..) {
        if borders.take(bytes(row)) && next < rows.len() {
            starts.push(next);
        }
    }
    let mut parts: Vec<Vec<T>> = starts.into_iter().rev().map(|start| rows.split_off(start)).collect();
    parts.push(rows);
    parts.reverse();
    parts
}

/// As [`cut`], by lines: one row's copies may be spread over several files.
fn cut_copies(rows: Vec<Copies>, mut borders: Borders) -> Vec<Vec<Copies>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    for Copies { row, change } in rows {
        let mut lines = usize::try_from(change).unwrap_or(0);
        // The last of the copies that fill a file; what is left goes into the next.
        while lines > 0 {
            let fitting = borders.room().div_ceil(row.len().max(1)).max(1).min(lines);
            lines -= fitting;
            let ends = borders.take(fitting * row.len());
            part.push(Copies { row: row.clone(), change: i64::try_from(fitting).unwrap_or(i64::MAX) });
            if ends {
                parts.push(std::mem::take(&mut part));
            }
        }
        if change < 0 {
            let ends = borders.take(row.len());
            part.push(Copies { row, change });
            if ends {
                parts.push(std::mem::take(&mut part));
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

impl LoadContext {
    /// Of a table's initial copy: rows go straight into the table.
    #[must_use]
    pub fn copy(shape: Arc<TableShape>) -> Self {
        let present_sets = PresentSets::default();
        Self { shape, present_sets, has_removals: false, is_bare: true, tagged_keys: false }
    }

    /// The table that the load is for.
    #[must_use]
    pub fn shape(&self) -> &TableShape {
        &self.shape
    }

    /// Whether its files have tagged keys.
    #[must_use]
    pub fn has_tagged_keys(&self) -> bool {
        self.tagged_keys
    }

    /// Puts together what its files hold.
    #[must_use]
    pub fn summary(&self, files: impl IntoIterator<Item = FileSummary>) -> LoadSummary {
        let mut rows = RowCounts::default();
        let mut tallies = vec![Tally::default(); self.shape.columns().len()];
        for file in files {
            rows += file.rows;
            for (sum, tally) in tallies.iter_mut().zip(file.tallies) {
                sum.nulled += tally.nulled;
                sum.truncated += tally.truncated;
                sum.saturated += tally.saturated;
            }
        }
        let columns = self.shape.columns().iter().zip(&tallies);
        let policies = columns.flat_map(|(column, tally)| {
            let met = [("null", tally.nulled), ("truncate", tally.truncated), ("saturate", tally.saturated)];
            met.map(|(policy, values)| Altered {
                column: column.name.clone(),
                policy: policy.to_owned(),
                values,
            })
        });
        let altered = policies.filter(|altered| altered.values > 0).collect();
        LoadSummary { rows, present_sets: self.present_sets.sets.clone(), altered }
    }
}
