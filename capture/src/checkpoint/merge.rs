//! A table's steps, one after the other, over rows on disk.
//!
//! Rows wait in parts with all that befalls them, and each part is worked off in memory, once: at the end, and wherever rows
//! may have to go to another part, because their key changes or all of their columns are what tells them apart.

use std::path::Path;

use re_dms_shared::manifest::{Action, Chunk, Column, Load, Operation, SchemaChange, Table, TableChange};

use super::files::Rows;
use super::image::Images;
use super::rows::{Change, Field, LoadMarker, Marker, Part, Row, key_of};
use super::shape::{Shape, Transform};
use super::spill::Spill;
use super::steps::StoredStep;
use crate::aws::Objects;
use crate::error::{Error, Result, Who};
use crate::key_order::KeyOrder;

/// Rows in memory take so much of their compressed text, about.
const GROWTH: u64 = 30;
/// Files that are open at the same time.
const MOST_PARTS: u64 = 200;

/// One table's.
pub(super) struct Merge<'a> {
    objects: &'a Objects,
    folder: &'a Path,
    parts: usize,
    shape: Shape,
    markers: Vec<Marker>,
    spill: Option<Spill>,
    generation: u32,
    is_there: bool,
}

impl<'a> Merge<'a> {
    /// `bytes` is what the table's files have together, `memory` what may be taken.
    pub(super) fn new(objects: &'a Objects, folder: &'a Path, bytes: u64, memory: usize) -> Self {
        let parts = bytes.saturating_mul(GROWTH) / (memory as u64).max(1) + 1;
        let parts = usize::try_from(parts.min(MOST_PARTS)).unwrap_or(1);
        Self {
            objects,
            folder,
            parts,
            shape: Shape::default(),
            markers: Vec::new(),
            spill: None,
            generation: 0,
            is_there: false,
        }
    }

    /// Whether there is such a table, after all steps so far.
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    pub(super) async fn step(&mut self, step: &StoredStep) -> Result<()> {
        let table = &step.step.table;
        match &step.step.action {
            Action::Truncate => {
                self.prepare(table)?;
                self.markers.push(Marker::Clear);
            }
            Action::Schema(change) => self.change(table, change)?,
            // The derivation makes other steps of these.
            Action::Resync | Action::Replace(_) => {}
            Action::Load(load) if load.tagged_keys => {
                return Err(refused(table, "its rows say in their keys what they are"));
            }
            Action::Load(load) => {
                self.prepare(table)?;
                self.load(table, load, step.is_copy).await?;
            }
            Action::Chunk(chunk) if chunk.load.tagged_keys || !table.kept.is_empty() => {
                return Err(refused(
                    table,
                    "a range of its keys was read anew, and its rows have more than its columns",
                ));
            }
            Action::Chunk(chunk) => {
                self.prepare(table)?;
                self.clear(table, chunk)?;
                self.load(table, &chunk.load, false).await?;
            }
        }
        Ok(())
    }

    fn change(&mut self, table: &Table, change: &SchemaChange) -> Result<()> {
        if change.before.is_none() {
            return self.prepare(table);
        }
        if change.changes.contains(&TableChange::Drop) {
            self.is_there = false;
            self.markers.push(Marker::Clear);
            self.shape = Shape::default();
            return Ok(());
        }
        if !self.is_there {
            return self.prepare(table);
        }
        let before = self.shape.clone();
        let transform = self.shape.change(table, change).map_err(|what| refused(table, &what))?;
        self.transform(table, &before, transform)
    }

    fn prepare(&mut self, table: &Table) -> Result<()> {
        self.is_there = true;
        let before = self.shape.clone();
        let transform = self.shape.prepare(table);
        self.transform(table, &before, transform)
    }

    fn transform(&mut self, table: &Table, before: &Shape, transform: Option<Transform>) -> Result<()> {
        let same_key = match &transform {
            None => before.key == self.shape.key,
            Some(transform) => !before.key.is_empty() && transform.keeps(&before.key),
        };
        let was_keyed = !before.key.is_empty();
        if let Some(transform) = transform {
            self.markers.push(Marker::Transform(transform));
        }
        if same_key { Ok(()) } else { self.work_off(table, was_keyed) }
    }

    /// The rows of its ranges go.
    fn clear(&mut self, table: &Table, chunk: &Chunk) -> Result<()> {
        let source = |name: &String| table.columns.iter().find(|column| column.target_name == *name);
        let key: Vec<_> = chunk.key.iter().filter_map(source).map(|column| column.name.clone()).collect();
        let place = |position: usize| self.shape.position(&table.columns[position].target_name);
        let order = KeyOrder::of(table, &key).and_then(|order| order.at(place));
        let spans = |order: KeyOrder| {
            let spans: Option<Vec<_>> = chunk.ranges.iter().map(|range| order.span(range)).collect();
            spans.map(|spans| (order, spans))
        };
        let (order, spans) = order
            .and_then(spans)
            .ok_or_else(|| refused(table, "a range of its keys was read anew, and they have no order"))?;
        self.markers.push(Marker::ClearRanges(order, spans));
        Ok(())
    }

    async fn load(&mut self, table: &Table, load: &Load, is_copy: bool) -> Result<()> {
        if load.rows.total() == 0 {
            return Ok(());
        }
        let place = |column: &Column| self.shape.position(&column.target_name).unwrap_or(usize::MAX);
        let places: Vec<_> = table.columns.iter().map(place).collect();
        let kept: Vec<_> = table.kept.iter().map(place).filter(|place| *place != usize::MAX).collect();
        if load.rows.removes > 0 && places.len() < self.shape.columns.len() {
            return Err(refused(
                table,
                "rows without a key went while columns were kept that the source has no more",
            ));
        }
        let is_key = |position: &usize| table.columns[*position].key;
        let set = |set: &Vec<usize>| {
            set.iter().filter(|position| !is_key(position)).map(|position| places[*position]).collect()
        };
        let marker = LoadMarker {
            key: self.shape.key.clone(),
            sets: load.present_sets.iter().map(set).collect(),
            kept,
        };
        self.markers.push(Marker::Load(marker));
        let has_moves = load.rows.moves > 0;
        let more = match (is_copy, has_moves, load.rows.removes > 0) {
            (true, ..) => 0,
            (false, true, _) => 2 + self.shape.key.len(),
            (false, false, true) => 4,
            (false, false, false) => 2,
        };
        for file in &load.files {
            let mut rows = Rows::open(self.objects, file, load.compression, places.len() + more).await?;
            while let Some(fields) = rows.next()? {
                let change = self.read(fields, &places, is_copy).ok_or_else(|| {
                    let what = format!("{}: a row is not of the documented form", file.key);
                    Error::fatal(Who::Storage, what, "was it changed by hand?")
                })?;
                self.put(&change)?;
            }
        }
        // Where they went is another part.
        if has_moves { self.work_off(table, true) } else { Ok(()) }
    }

    /// From a file's fields to a row of the shape.
    fn read(&self, fields: Vec<Field>, places: &[usize], is_copy: bool) -> Option<Change> {
        let number = |field: Option<Field>| -> Option<u64> {
            field.flatten().map_or(Some(0), |text| std::str::from_utf8(&text).ok()?.parse().ok())
        };
        let mut fields = fields.into_iter();
        let (operation, set) = if is_copy {
            (b'i', 0)
        } else {
            let operation = fields.next()??;
            (*operation.first()?, number(fields.next())?)
        };
        let mut row: Row = vec![None; self.shape.columns.len()];
        for place in places {
            *row.get_mut(*place)? = fields.next()?;
        }
        let is = |of: Operation| of.code().as_bytes() == [operation];
        let number = if is(Operation::Remove) { number(fields.nth(1))? } else { set };
        if is(Operation::Move) {
            row.extend(fields);
        }
        Some(Change { marker: self.markers.len() - 1, operation, number, row })
    }

    fn put(&mut self, change: &Change) -> Result<()> {
        let key = if self.shape.key.is_empty() {
            key_of(change.row.iter())
        } else if change.operation == b'm' {
            key_of(change.row[self.shape.columns.len()..].iter())
        } else {
            key_of(self.shape.key.iter().map(|position| &change.row[*position]))
        };
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => self.spill.insert(Spill::make(self.folder, self.generation, self.parts)?),
        };
        spill.write(&key, change)
    }

    /// Brings all rows to where they are now, part by part.
    fn work_off(&mut self, table: &Table, is_keyed: bool) -> Result<()> {
        let markers = std::mem::take(&mut self.markers);
        let Some(spill) = self.spill.take() else { return Ok(()) };
        self.generation += 1;
        self.markers =
            vec![Marker::Load(LoadMarker { key: self.shape.key.clone(), ..LoadMarker::default() })];
        for part in spill.into_parts()? {
            let mut reader = part?;
            let mut part = Part::new(&markers, is_keyed);
            while let Some(change) = reader.next()? {
                part.apply(change).map_err(|error| refused(table, &error.to_string()))?;
            }
            for (row, copies) in part.finish().map_err(|error| refused(table, &error.to_string()))? {
                let change = Change { marker: 0, operation: b'i', number: 0, row };
                for _ in 0..copies {
                    self.put(&change)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the rows, and says what the table is.
    pub(super) async fn finish(mut self, last: &Table, out: &mut Images<'_>) -> Result<()> {
        let is_keyed = !self.shape.key.is_empty();
        let places: Vec<_> =
            out.table().columns.iter().map(|column| self.shape.position(&column.target_name)).collect();
        let Some(spill) = self.spill.take() else { return Ok(()) };
        for part in spill.into_parts()? {
            let mut reader = part?;
            let mut part = Part::new(&self.markers, is_keyed);
            while let Some(change) = reader.next()? {
                part.apply(change).map_err(|error| refused(last, &error.to_string()))?;
            }
            for (row, copies) in part.finish().map_err(|error| refused(last, &error.to_string()))? {
                for _ in 0..copies {
                    out.row(places.iter().map(|place| place.and_then(|place| row[place].as_deref()))).await?;
                }
            }
        }
        Ok(())
    }

    /// The columns that there are, in order, by their names in Redshift.
    pub(super) fn columns(&self) -> &[String] {
        &self.shape.columns
    }
}

fn refused(table: &Table, what: &str) -> Error {
    let what = format!("{}.{} can't be merged: {what}", table.schema, table.name);
    Error::fatal(
        Who::Stream,
        what,
        "leave the table out with --table: replays of it begin at the base before",
    )
}
