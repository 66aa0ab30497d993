//! A load's rows, one after the other, as CSV.

use std::collections::HashMap;

use re_dms_shared::manifest::{Altered, Operation, RowCounts};

use super::csv::NULL;
use super::error::RenderError;
use super::files::{FileWriter, RenderedFile};
use super::value::{ColumnWriter, Failure, MAX_ROW_BYTES, Outcome, Scratch};
use crate::batch::{LoadData, TableShape};
use crate::pgoutput::{Cell, Tuple};

/// How files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Text in a file before compression, about; a load that is larger becomes several files of one size.
    pub max_file_bytes: usize,
    /// 0 to 9.
    pub gzip_level: u32,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { max_file_bytes: 64 * 1024 * 1024, gzip_level: 1 }
    }
}

/// A load as files, with what its manifest says about them.
#[derive(Debug)]
pub struct RenderedLoad {
    /// Never empty.
    pub files: Vec<RenderedFile>,
    /// Rows by operation.
    pub rows: RowCounts,
    /// The sets of columns that updates and moves hold, key columns included.
    pub present_sets: Vec<Vec<usize>>,
    /// Values that met a policy: a value is counted once a policy, however many of its elements met it.
    pub altered: Vec<Altered>,
}

/// Writes a load's rows as gzip CSV.
///
/// # Errors
/// See [`RenderError`].
pub fn write_load(
    shape: &TableShape,
    load: &LoadData,
    options: &RenderOptions,
) -> Result<RenderedLoad, RenderError> {
    let mut renderer = Renderer::new(shape);
    let mut files = FileWriter::new(load.row_bytes(), options.max_file_bytes, options.gzip_level);
    let mut text = Vec::new();
    match load {
        LoadData::Entries(entries) => {
            for entry in entries {
                let row = Row {
                    operation: entry.operation,
                    tuple: Tuple::from_checked(&entry.row),
                    tail: Tail::None,
                };
                renderer.push_row(row, &mut text)?;
                files.row_done(&mut text, entry.row.len())?;
            }
        }
        LoadData::Moves(moves) => {
            for moved in moves {
                let row = Row {
                    operation: Operation::Move,
                    tuple: Tuple::from_checked(&moved.row),
                    tail: Tail::OldKey(Tuple::from_checked(&moved.old_key)),
                };
                renderer.push_row(row, &mut text)?;
                files.row_done(&mut text, moved.row.len() + moved.old_key.len())?;
            }
        }
        LoadData::Copies(rows) => {
            let removes = rows.iter().any(|copies| copies.change < 0);
            for copies in rows {
                let (operation, tail) = match copies.change {
                    ..0 => (Operation::Remove, Tail::Removal(copies.change.unsigned_abs())),
                    _ if removes => (Operation::Insert, Tail::NoRemoval),
                    _ => (Operation::Insert, Tail::None),
                };
                let row = Row { operation, tuple: Tuple::from_checked(&copies.row), tail };
                for _ in 0..copies.lines() {
                    renderer.push_row(row, &mut text)?;
                    files.row_done(&mut text, copies.row.len())?;
                }
            }
        }
    }
    let files = files.finish(&mut text)?;
    let altered = renderer.altered();
    Ok(RenderedLoad { files, rows: renderer.rows, present_sets: renderer.present_sets.sets, altered })
}

#[derive(Clone, Copy)]
struct Row<'a> {
    operation: Operation,
    tuple: Tuple<'a>,
    tail: Tail<'a>,
}

/// What follows the table's columns: the same fields in all rows of a load.
#[derive(Clone, Copy)]
enum Tail<'a> {
    None,
    /// The old key, in a load of moves.
    OldKey(Tuple<'a>),
    /// So many copies go.
    Removal(u64),
    /// An insert beside removals.
    NoRemoval,
}

/// Values of one column that met policies.
#[derive(Clone, Copy, Default)]
struct Tally {
    nulled: u64,
    truncated: u64,
    saturated: u64,
}

struct Renderer<'a> {
    shape: &'a TableShape,
    columns: Vec<ColumnWriter>,
    present_sets: PresentSets,
    tallies: Vec<Tally>,
    rows: RowCounts,
    /// Columns of the row at hand whose values met a policy.
    row_outcomes: Vec<(usize, Outcome)>,
    scratch: Scratch,
}

impl<'a> Renderer<'a> {
    fn new(shape: &'a TableShape) -> Self {
        let columns = shape.columns().iter().zip(shape.classes()).zip(shape.rules());
        Self {
            shape,
            columns: columns
                .map(|((column, class), &rules)| ColumnWriter::new(column, class, rules))
                .collect(),
            present_sets: PresentSets::default(),
            tallies: vec![Tally::default(); shape.columns().len()],
            rows: RowCounts::default(),
            row_outcomes: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Appends the row to `out` and counts it.
    fn push_row(&mut self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let present_set = match row.operation {
            Operation::Update | Operation::Move => Some(self.present_sets.position(row.tuple)),
            Operation::Insert | Operation::Replace | Operation::Delete | Operation::Remove => None,
        };
        let start = out.len();
        self.write_row(row, present_set, &[], out)?;
        if out.len() - start > MAX_ROW_BYTES {
            let dropped = self.columns_to_drop(row, out.len() - start)?;
            out.truncate(start);
            self.write_row(row, present_set, &dropped, out)?;
        }
        self.write_tail_end(row.tail, out);
        for (position, outcome) in self.row_outcomes.drain(..) {
            // A removal only looks for what its values became when they were inserted.
            if row.operation != Operation::Remove {
                self.tallies[position].nulled += u64::from(outcome.nulled);
                self.tallies[position].truncated += u64::from(outcome.truncated);
                self.tallies[position].saturated += u64::from(outcome.saturated);
            }
        }
        match row.operation {
            Operation::Insert => self.rows.inserts += 1,
            Operation::Replace => self.rows.replaces += 1,
            Operation::Update => self.rows.updates += 1,
            Operation::Delete => self.rows.deletes += 1,
            Operation::Move => self.rows.moves += 1,
            Operation::Remove => self.rows.removes += 1,
        }
        Ok(())
    }

    /// Appends the row to `out`, without the line's end, NULL in the columns of `dropped`.
    fn write_row(
        &mut self,
        row: Row<'_>,
        present_set: Option<usize>,
        dropped: &[usize],
        out: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        self.row_outcomes.clear();
        out.extend_from_slice(row.operation.code().as_bytes());
        out.push(b',');
        match present_set {
            Some(position) => out.extend_from_slice(position.to_string().as_bytes()),
            None => out.push(NULL),
        }
        let mut cells = row.tuple.cells();
        for position in 0..self.columns.len() {
            out.push(b',');
            // A delete's tuple is its key alone.
            let is_left_out = row.operation == Operation::Delete && !self.columns[position].key;
            let cell = if is_left_out { Some(Cell::Null) } else { cells.next() };
            let outcome = match cell {
                Some(Cell::Null) => {
                    out.push(NULL);
                    continue;
                }
                Some(Cell::Unchanged) if present_set.is_some() => {
                    out.push(NULL);
                    continue;
                }
                Some(Cell::Unchanged) | None => return Err(self.incomplete()),
                Some(Cell::Text(_)) if dropped.contains(&position) => {
                    out.push(NULL);
                    Outcome::NULLED
                }
                Some(Cell::Text(value)) => self.write_value(position, value, out)?,
            };
            if outcome != Outcome::EXACT {
                self.row_outcomes.push((position, outcome));
            }
        }
        if let Tail::OldKey(old_key) = row.tail {
            self.write_old_key(old_key, out)?;
        }
        Ok(())
    }

    /// Ends the line. What is written here is not part of the row's length: equal rows must meet the same policies,
    /// whether they come or go.
    fn write_tail_end(&self, tail: Tail<'_>, out: &mut Vec<u8>) {
        match tail {
            Tail::None | Tail::OldKey(_) => {}
            Tail::NoRemoval => out.extend_from_slice(&[b',', NULL, b',', NULL]),
            Tail::Removal(copies) => {
                let number = self.rows.removes + 1;
                out.extend_from_slice(format!(",{number},{copies}").as_bytes());
            }
        }
        out.push(b'\n');
    }

    fn write_old_key(&mut self, old_key: Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let shape = self.shape;
        let mut cells = old_key.cells();
        for &position in shape.key_positions() {
            out.push(b',');
            match cells.next() {
                Some(Cell::Null) => out.push(NULL),
                Some(Cell::Text(value)) => {
                    self.write_value(position, value, out)?;
                }
                Some(Cell::Unchanged) | None => return Err(self.incomplete()),
            }
        }
        Ok(())
    }

    fn write_value(
        &mut self,
        position: usize,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Outcome, RenderError> {
        let writer = &self.columns[position];
        let table = || self.shape.source_name();
        let column = || self.shape.columns()[position].name.clone();
        match writer.write(value, &mut self.scratch, out) {
            Ok(outcome) if writer.key && (outcome != Outcome::EXACT || writer.has_twin(value)) => {
                Err(RenderError::KeyNotExact { table: table(), column: column() })
            }
            Ok(outcome) => Ok(outcome),
            Err(Failure::Malformed(expected)) => {
                Err(RenderError::Malformed { table: table(), column: column(), expected })
            }
            Err(Failure::Refused(policy)) => {
                Err(RenderError::Refused { table: table(), column: column(), policy })
            }
        }
    }

    /// Columns without which a row that is `length` bytes long would be short enough: as few as possible, none of the
    /// key.
    fn columns_to_drop(&mut self, row: Row<'_>, length: usize) -> Result<Vec<usize>, RenderError> {
        let mut sizes = Vec::new();
        let mut field = Vec::new();
        for (position, cell) in row.tuple.cells().enumerate() {
            if let Cell::Text(value) = cell
                && row.operation != Operation::Delete
                && !self.columns[position].key
            {
                field.clear();
                self.write_value(position, value, &mut field)?;
                sizes.push((field.len(), position));
            }
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut length = length;
        let mut dropped = Vec::new();
        for (size, position) in sizes {
            if length <= MAX_ROW_BYTES {
                break;
            }
            // NULL takes a byte.
            length = length + 1 - size.max(1);
            dropped.push(position);
        }
        if length > MAX_ROW_BYTES {
            let table = self.shape.source_name();
            return Err(RenderError::KeyTooLong { table, limit: MAX_ROW_BYTES });
        }
        Ok(dropped)
    }

    fn altered(&self) -> Vec<Altered> {
        let columns = self.shape.columns().iter().zip(&self.tallies);
        let policies = columns.flat_map(|(column, tally)| {
            let met = [("null", tally.nulled), ("truncate", tally.truncated), ("saturate", tally.saturated)];
            met.map(|(policy, values)| Altered {
                column: column.name.clone(),
                policy: policy.to_owned(),
                values,
            })
        });
        policies.filter(|altered| altered.values > 0).collect()
    }

    fn incomplete(&self) -> RenderError {
        RenderError::Incomplete { table: self.shape.source_name() }
    }
}

/// The different sets of columns that a load's updates hold, numbered in the order in which they come up.
#[derive(Default)]
struct PresentSets {
    sets: Vec<Vec<usize>>,
    positions: HashMap<Vec<usize>, usize>,
    /// The set of the row at hand.
    set: Vec<usize>,
    /// The number of the row before: rows with one set come in runs.
    last: usize,
}

impl PresentSets {
    fn position(&mut self, row: Tuple<'_>) -> usize {
        self.set.clear();
        let present = row.cells().enumerate().filter(|(_, cell)| *cell != Cell::Unchanged);
        self.set.extend(present.map(|(position, _)| position));
        if self.sets.get(self.last) != Some(&self.set) {
            self.last = match self.positions.get(&self.set) {
                Some(&position) => position,
                None => {
                    self.sets.push(self.set.clone());
                    self.positions.insert(self.set.clone(), self.sets.len() - 1);
                    self.sets.len() - 1
                }
            };
        }
        self.last
    }
}
