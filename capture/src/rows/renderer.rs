//! One file's rows, one after the other, as CSV.

use re_dms_shared::manifest::{Operation, RowCounts, key_tag, sha256_hex};

use super::compress::Codec;
use super::csv::{NULL, push_field, unquoted};
use super::error::RenderError;
use super::present::Cursor;
use super::split::{FileRows, LoadContext};
use super::value::{ColumnWriter, Failure, MAX_ROW_BYTES, Outcome, Scratch};
use crate::batch::LoadData;
use crate::pgoutput::{Cell, Tuple};

/// A finished data file.
#[derive(Debug)]
pub struct RenderedFile {
    /// Its bytes, compressed.
    pub bytes: Vec<u8>,
    /// Of `bytes`: 64 lower-case hex digits.
    pub sha256: String,
    /// What it holds.
    pub summary: FileSummary,
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct FileSummary {
    /// Rows by operation.
    pub rows: RowCounts,
    /// By column.
    pub(super) tallies: Vec<Tally>,
}

/// Values of one column that met policies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) nulled: u64,
    pub(super) truncated: u64,
    pub(super) saturated: u64,
}

impl FileRows {
    /// Writes the rows as compressed CSV. Takes them, so that memory is free again row by row.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(self, context: &LoadContext, codec: Codec) -> Result<RenderedFile, RenderError> {
        let mut text = Vec::with_capacity(text_bytes(&self.rows));
        let mut renderer = Renderer::new(context, self.removals_before);
        match self.rows {
            LoadData::Entries(entries) => {
                for entry in entries {
                    let tuple = Tuple::from_checked(&entry.row);
                    renderer
                        .push_row(Row { operation: entry.operation, tuple, tail: Tail::None }, &mut text)?;
                }
            }
            LoadData::Moves(moves) => {
                for moved in moves {
                    let tuple = Tuple::from_checked(&moved.row);
                    let tail = Tail::OldKey(Tuple::from_checked(&moved.old_key));
                    renderer.push_row(Row { operation: Operation::Move, tuple, tail }, &mut text)?;
                }
            }
            LoadData::Copies(rows) => {
                for copies in rows {
                    let (operation, tail) = match copies.change {
                        ..0 => (Operation::Remove, Tail::Removal(copies.change.unsigned_abs())),
                        _ if context.has_removals => (Operation::Insert, Tail::NoRemoval),
                        _ => (Operation::Insert, Tail::None),
                    };
                    let row = Row { operation, tuple: Tuple::from_checked(&copies.row), tail };
                    for _ in 0..copies.lines() {
                        renderer.push_row(row, &mut text)?;
                    }
                }
            }
        }
        renderer.finish(&text, codec)
    }
}

/// About as much as the rows' text will take: a cell's five bytes in memory make up for its comma, and for some quotes.
fn text_bytes(rows: &LoadData) -> usize {
    rows.row_bytes() + 8 * rows.rows()
}

#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) operation: Operation,
    pub(super) tuple: Tuple<'a>,
    pub(super) tail: Tail<'a>,
}

/// What follows the table's columns: the same fields in all rows of a load.
#[derive(Clone, Copy)]
pub(super) enum Tail<'a> {
    None,
    /// The old key, in a load of moves.
    OldKey(Tuple<'a>),
    /// So many copies go.
    Removal(u64),
    /// An insert beside removals.
    NoRemoval,
}

pub(super) struct Renderer<'a> {
    context: &'a LoadContext,
    columns: Vec<ColumnWriter>,
    cursor: Cursor,
    removals_before: u64,
    tallies: Vec<Tally>,
    rows: RowCounts,
    /// Columns of the row at hand whose values met a policy.
    row_outcomes: Vec<(usize, Outcome)>,
    scratch: Scratch,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(context: &'a LoadContext, removals_before: u64) -> Self {
        let shape = &context.shape;
        let columns = shape.columns().iter().zip(shape.classes()).zip(shape.rules());
        Self {
            context,
            columns: columns
                .map(|((column, class), &rules)| ColumnWriter::new(column, class, rules))
                .collect(),
            cursor: Cursor::default(),
            removals_before,
            tallies: vec![Tally::default(); shape.columns().len()],
            rows: RowCounts::default(),
            row_outcomes: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Makes a file of the text that it has written.
    pub(super) fn finish(self, text: &[u8], codec: Codec) -> Result<RenderedFile, RenderError> {
        let summary = FileSummary { rows: self.rows, tallies: self.tallies };
        let bytes = codec.compress(text)?;
        let sha256 = sha256_hex(&bytes);
        Ok(RenderedFile { bytes, sha256, summary })
    }

    /// Appends the row to `out` and counts it.
    pub(super) fn push_row(&mut self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let present_set = match row.operation {
            Operation::Update | Operation::Move => {
                let known = self.context.present_sets.position(row.tuple, &mut self.cursor);
                Some(known.ok_or_else(|| self.incomplete())?)
            }
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
        let start = out.len();
        let is_bare = self.context.is_bare;
        if !is_bare {
            out.extend_from_slice(row.operation.code().as_bytes());
            out.push(b',');
            match present_set {
                Some(position) => out.extend_from_slice(position.to_string().as_bytes()),
                None => out.push(NULL),
            }
        }
        let mut cells = row.tuple.cells();
        for position in 0..self.columns.len() {
            if !is_bare || position > 0 {
                out.push(b',');
            }
            // A delete's tuple is its key alone.
            let is_left_out = row.operation == Operation::Delete && !self.columns[position].key;
            let cell = if is_left_out { Some(Cell::Null) } else { cells.next() };
            let outcome = match cell {
                Some(Cell::Null) => {
                    self.columns[position].push_null(out);
                    continue;
                }
                Some(Cell::Unchanged) if present_set.is_some() => {
                    self.columns[position].push_null(out);
                    continue;
                }
                Some(Cell::Unchanged) | None => return Err(self.incomplete()),
                Some(Cell::Text(_)) if dropped.contains(&position) => {
                    self.columns[position].push_null(out);
                    Outcome::NULLED
                }
                Some(Cell::Text(value)) if self.context.tagged_keys && self.columns[position].key => {
                    self.write_tagged_key(position, value, (row, present_set), out)?;
                    Outcome::EXACT
                }
                Some(Cell::Text(value)) => self.write_value(position, value, out)?,
            };
            if outcome != Outcome::EXACT {
                self.row_outcomes.push((position, outcome));
            }
        }
        if let Tail::OldKey(old_key) = row.tail
            && !self.context.tagged_keys
        {
            self.write_old_key(old_key, out)?;
        }
        if out.len() == start {
            // One column with an empty text: a line that is empty might be taken for none.
            out.extend_from_slice(b"\"\"");
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
                let number = self.removals_before + self.rows.removes + 1;
                out.extend_from_slice(format!(",{number},{copies}").as_bytes());
            }
        }
        out.push(b'\n');
    }

    fn write_old_key(&mut self, old_key: Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let context = self.context;
        let mut cells = old_key.cells();
        for &position in context.shape.key_positions() {
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

    /// The value of a key's column, behind all that the row has no other place for.
    fn write_tagged_key(
        &mut self,
        position: usize,
        value: &[u8],
        (row, present_set): (Row<'_>, Option<usize>),
        out: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        let old = match row.tail {
            Tail::OldKey(old_key) => {
                let place = self.context.shape.key_positions().iter().position(|&key| key == position);
                match place.and_then(|place| old_key.cells().nth(place)) {
                    Some(Cell::Text(old)) => self.plain_value(position, old)?,
                    _ => return Err(self.incomplete()),
                }
            }
            _ => Vec::new(),
        };
        // Keys that have tags are numbers, times and texts, and PostgreSQL's texts are UTF-8 here.
        let old = String::from_utf8(old).map_err(|_| self.incomplete())?;
        let mut field = key_tag(row.operation.code(), present_set.unwrap_or(0), &old).into_bytes();
        field.extend_from_slice(&self.plain_value(position, value)?);
        push_field(&field, out);
        Ok(())
    }

    /// A value as COPY understands its field.
    fn plain_value(&mut self, position: usize, value: &[u8]) -> Result<Vec<u8>, RenderError> {
        let mut field = Vec::new();
        self.write_value(position, value, &mut field)?;
        Ok(unquoted(field))
    }

    fn write_value(
        &mut self,
        position: usize,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Outcome, RenderError> {
        let writer = &self.columns[position];
        let table = || self.context.shape.source_name();
        let column = || self.context.shape.columns()[position].name.clone();
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
            let table = self.context.shape.source_name();
            return Err(RenderError::KeyTooLong { table, limit: MAX_ROW_BYTES });
        }
        Ok(dropped)
    }

    fn incomplete(&self) -> RenderError {
        RenderError::Incomplete { table: self.context.shape.source_name() }
    }
}
