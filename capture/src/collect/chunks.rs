//! The collector's part in reading tables anew range by range: where a range's rows belong in the stream, and what has to come
//! behind them once more.
//!
//! A range is read first, and then a message is written: all that the reading saw was committed before the message, and so lies
//! before it in the stream. What it did not see and lies before the message, too, is put behind the rows a second time, as far
//! as it is about keys of the range. There everything is as if the range had been read at the message.
//!
//! A row's values may be in Redshift alone: those that an update left alone and PostgreSQL did not send. Where such a row gets
//! another key, they come from the old one. If that is not read yet, they may be wrong: then the new key is read once more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use re_dms_shared::manifest::{KeyBound, KeyRange, Table};
use tokio::sync::oneshot;

use super::resync::{Change, What};
use super::{Collector, decode, impossible};
use crate::batch::{KeyChange, Part, TableShape, key_change};
use crate::error::Result;
use crate::key_order::{KeyOrder, Span};
use crate::pgoutput::{ChangeKind, Message};
use crate::relations::KeyRanges;
use crate::resync::{Placed, ReadChunk, Sweep, Swept};

/// Ranges of one table that may be left; one more, and it is read from its beginning.
const MOST_RANGES: usize = 1000;

/// Tables that are read range by range.
#[derive(Default)]
pub(super) struct Sweeps {
    /// By OID.
    tables: HashMap<u32, Swath>,
    /// What is to be done where a message is, by the message's id.
    begins: HashMap<String, (Sweep, oneshot::Sender<Swept>)>,
    chunks: HashMap<String, (ReadChunk, oneshot::Sender<Placed>)>,
}

/// What is left of one.
struct Swath {
    left: KeyRanges,
    /// The table in Redshift when the reading was begun; none before.
    begun: Option<Table>,
    /// The left ranges for rows of this shape; no order if keys of it have none.
    compared: Option<(Arc<TableShape>, Option<Compared>)>,
}

/// An order, and ranges in it.
type Compared = (KeyOrder, Vec<Span>);

impl Swath {
    fn compare(&mut self, shape: &Arc<TableShape>) -> Option<&Compared> {
        if self.compared.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, shape)) {
            let compared = KeyOrder::of(shape.table(), &self.left.key).and_then(|order| {
                let spans = self.left.ranges.iter().map(|range| order.span(range)).collect::<Option<_>>()?;
                Some((order, spans))
            });
            self.compared = Some((Arc::clone(shape), compared));
        }
        self.compared.as_ref()?.1.as_ref()
    }
}

impl Sweeps {
    /// Another one reads: what was told before was for nothing.
    pub(super) fn begin_anew(&mut self) {
        self.begins.clear();
        self.chunks.clear();
        self.tables.values_mut().for_each(|swath| swath.begun = None);
    }

    pub(super) fn expect_sweep(&mut self, place: String, sweep: Sweep, begun: oneshot::Sender<Swept>) {
        self.begins.insert(place, (sweep, begun));
    }

    pub(super) fn expect_chunk(&mut self, place: String, chunk: ReadChunk, placed: oneshot::Sender<Placed>) {
        self.chunks.insert(place, (chunk, placed));
    }
}

impl Collector {
    /// What is left of tables is what the wishes say.
    pub(super) fn track_sweeps(&mut self) {
        let mut before = std::mem::take(&mut self.sweeps.tables);
        for wish in self.relations.wishes() {
            let (oid, Some(left)) = (wish.table.oid, wish.sweep) else { continue };
            let begun = before.remove(&oid).and_then(|swath| swath.begun);
            self.sweeps.tables.insert(oid, Swath { left, begun, compared: None });
        }
    }

    /// A change was applied. If it took values from a row that is not read yet to where all is read, then that is read again.
    pub(super) fn doubt(&mut self, oid: u32, change: ChangeKind<'_>) {
        let Some(swath) = self.sweeps.tables.get_mut(&oid) else { return };
        if !matches!(change, ChangeKind::Update { old: Some(_), .. }) {
            return;
        }
        let Ok(Some(shape)) = self.relations.shape(oid) else { return };
        let found = swath.compare(shape).and_then(|(order, left)| {
            let is_left = |place: &_| left.iter().any(|span| span.contains(place));
            Some(match key_change(shape, order, change)? {
                KeyChange::Moves { from, to, to_texts, whole: false } if is_left(&from) && !is_left(&to) => {
                    Some(to_texts)
                }
                KeyChange::Moves { .. } | KeyChange::Stays(_) => None,
            })
        });
        let left = match found {
            Some(None) => return,
            Some(Some(key)) if swath.left.ranges.len() < MOST_RANGES => {
                let mut left = swath.left.clone();
                left.ranges.push(KeyRange::of_key(key));
                left
            }
            // Nobody knows what this did, or it is too much.
            Some(Some(_)) | None => KeyRanges { ranges: vec![KeyRange::default()], ..swath.left.clone() },
        };
        swath.left = left.clone();
        swath.compared = None;
        self.relations.sweep(oid, Some(left));
    }

    /// The message with this id: does what was to be done here; says whether that left something to be loaded.
    pub(super) fn place(&mut self, id: &str) -> Result<bool> {
        if let Some((sweep, begun)) = self.sweeps.begins.remove(id) {
            let swept = self.begin_sweep(sweep)?;
            self.tell_wanted();
            let _ = begun.send(swept);
            return Ok(true);
        }
        let Some((chunk, placed)) = self.sweeps.chunks.remove(id) else { return Ok(false) };
        let outcome = self.place_chunk(chunk)?;
        let touched = matches!(outcome, Placed::Done(_));
        self.tell_wanted();
        let _ = placed.send(outcome);
        Ok(touched)
    }

    fn begin_sweep(&mut self, Sweep { wish, since, now, key }: Sweep) -> Result<Swept> {
        let oid = wish.table.oid;
        let Some(wish) = self.relations.wish_for(oid).filter(|current| current.id == wish.id).cloned() else {
            return Ok(Swept::Later);
        };
        if self.relations.is_told_since(oid, since) {
            return Ok(Swept::Later);
        }
        let is_unproven = self.relations.needs_resync(oid)
            || now.as_ref().is_some_and(|now| !self.relations.has_partitions_of(now));
        let read_anew = now.map_or(Ok(None), |now| self.relations.read_anew(now));
        let (steps, shape) = match read_anew {
            Ok(Some(read_anew)) => read_anew,
            Ok(None) => {
                self.end_sweep(oid, &wish.id);
                return Ok(Swept::Nothing);
            }
            Err(error) => {
                self.end_sweep(oid, &wish.id);
                return Ok(Swept::Refused(error));
            }
        };
        let has_changed = !steps.is_empty();
        self.change_schema(steps);
        let order = KeyOrder::of(shape.table(), &key);
        let Some(order) = order.filter(|_| !has_changed && !wish.whole) else { return Ok(Swept::Whole) };
        // What is not proven may be anywhere.
        let known = wish.sweep.or(wish.only).filter(|left| left.key == key && !is_unproven);
        let are_of_key = |left: &KeyRanges| left.ranges.iter().all(|range| order.span(range).is_some());
        let all = || KeyRanges { key: key.clone(), ranges: vec![KeyRange::default()] };
        let left = known.filter(are_of_key).unwrap_or_else(all);
        if left.ranges.is_empty() {
            self.end_sweep(oid, &wish.id);
            return Ok(Swept::Nothing);
        }
        self.relations.sweep(oid, Some(left.clone()));
        self.track_sweeps();
        if let Some(swath) = self.sweeps.tables.get_mut(&oid) {
            swath.begun = self.relations.in_redshift(oid).cloned();
        }
        // It is to outlive this process at once.
        self.cut_now = true;
        Ok(Swept::Read(shape, left))
    }

    fn end_sweep(&mut self, oid: u32, id: &str) {
        self.relations.end_wish(oid, id);
        self.track_sweeps();
    }

    fn place_chunk(&mut self, chunk: ReadChunk) -> Result<Placed> {
        let ReadChunk { oid, wish, seen, ranges, shape, rows } = chunk;
        if self.relations.wish_for(oid).is_none_or(|current| current.id != wish) {
            return Ok(Placed::Begin);
        }
        if self.relations.is_unsettled(oid) {
            self.settle(oid)?;
        }
        let Some(swath) = self.sweeps.tables.get(&oid) else { return Ok(Placed::Begin) };
        if swath.begun.is_none() || swath.begun.as_ref() != self.relations.in_redshift(oid) {
            return Ok(Placed::Begin);
        }
        let Some(rest) = rest_behind(&swath.left, &ranges) else { return Ok(Placed::Begin) };
        let Some(changes) = self.resyncs.unseen(oid, &seen) else {
            return Ok(Placed::Void("more was written to the table than can be remembered"));
        };
        let parts = self.parts(oid, &changes, &rest.key, &ranges);
        let Some(parts) = parts? else {
            self.resyncs.keep(oid, changes);
            return Ok(Placed::Void("rows came into the range whose values did not come with them"));
        };
        let columns = &shape.table().columns;
        let target = |name: &String| columns.iter().find(|column| column.name == *name);
        let key = rest.key.iter().filter_map(target).map(|column| column.target_name.clone()).collect();
        self.batch.chunk(&shape, key, ranges, rows);
        for (change, part) in changes.iter().zip(parts) {
            let What::Row(payload, in_block) = &change.what else { continue };
            if let (Some(shape), Message::Change(change)) =
                (self.relations.shape(oid)?, decode(payload, *in_block)?)
            {
                self.batch.apply_part(shape, change.kind, part).map_err(|error| impossible(&error))?;
            }
        }
        self.resyncs.keep(oid, changes);
        if rest.ranges.is_empty() {
            self.relations.end_wish(oid, &wish);
            self.cut_now = true;
        } else {
            self.relations.sweep(oid, Some(rest.clone()));
        }
        self.track_sweeps();
        Ok(Placed::Done(rest))
    }

    /// What is to be done again of each change; none if a range can't be told from what lies around it.
    fn parts(
        &self,
        oid: u32,
        changes: &VecDeque<Change>,
        key: &[String],
        ranges: &[KeyRange],
    ) -> Result<Option<Vec<Part>>> {
        if changes.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let Some(shape) = self.relations.shape(oid)? else { return Ok(None) };
        let order = KeyOrder::of(shape.table(), key);
        let spans = |order: KeyOrder| {
            let spans: Option<Vec<_>> = ranges.iter().map(|range| order.span(range)).collect();
            spans.map(|spans| (order, spans))
        };
        let Some((order, spans)) = order.and_then(spans) else { return Ok(None) };
        let is_read = |place: &_| spans.iter().any(|span| span.contains(place));
        let mut parts = Vec::with_capacity(changes.len());
        for change in changes {
            let What::Row(payload, in_block) = &change.what else { return Ok(None) };
            let Message::Change(change) = decode(payload, *in_block)? else { return Ok(None) };
            let Some(change) = key_change(shape, &order, change.kind) else { return Ok(None) };
            parts.push(match change {
                KeyChange::Stays(place) if is_read(&place) => Part::All,
                KeyChange::Stays(_) => Part::Nothing,
                KeyChange::Moves { from, to, whole, .. } => match (is_read(&from), is_read(&to)) {
                    (true, true) => Part::All,
                    (true, false) => Part::Leaves,
                    (false, true) if whole => Part::Arrives,
                    (false, true) => return Ok(None),
                    (false, false) => Part::Nothing,
                },
            });
        }
        Ok(Some(parts))
    }
}

/// What is left once the beginning of the first range is read, or the first ones as a whole; none if that is not what was read.
fn rest_behind(left: &KeyRanges, read: &[KeyRange]) -> Option<KeyRanges> {
    let mut rest = left.clone();
    if left.ranges.starts_with(read) {
        rest.ranges.drain(..read.len());
        return Some(rest);
    }
    let (first, [read]) = (rest.ranges.first_mut()?, read) else { return None };
    let to = read.to.clone().filter(|_| first.from == read.from)?;
    first.from = Some(KeyBound { key: to, included: false });
    Some(rest)
}

#[cfg(test)]
mod tests;
