//! Cells of rows: keys taken out of them, unchanged ones filled in from earlier rows.

use super::shape::TableShape;
use crate::pgoutput::{Cell, Tuple};

/// Whether every cell is there.
pub(super) fn is_full(row: Tuple<'_>) -> bool {
    !row.cells().any(|cell| cell == Cell::Unchanged)
}

/// Writes the row's key cells, as a tuple of their own, to `out`. Lengths are part of the encoding, so that no two
/// composite keys have the same bytes, and NULL differs from every text.
///
/// Gives the position of a key column whose value was not sent, if there is one.
pub(super) fn write_key(shape: &TableShape, row: Tuple<'_>, out: &mut Vec<u8>) -> Result<(), usize> {
    out.clear();
    let mut missing = Ok(());
    let positions = shape.key_positions();
    let key_cells = row.cells_at(positions).zip(positions).map(|(cell, &position)| {
        if cell == Cell::Unchanged {
            missing = Err(position);
        }
        cell
    });
    Tuple::encode(key_cells, out);
    missing
}

/// Writes `newer` to `out`, its unchanged cells taken from `earlier` where that has the value: it can't be NULL.
pub(super) fn write_merged(newer: Tuple<'_>, earlier: Tuple<'_>, out: &mut Vec<u8>) {
    out.clear();
    let mut pairs = newer.cells().zip(earlier.cells());
    let cells = (0..newer.columns()).map(|_| match pairs.next() {
        Some((Cell::Unchanged, earlier @ Cell::Text(_))) => earlier,
        Some((newer, _)) => newer,
        None => Cell::Unchanged,
    });
    Tuple::encode(cells, out);
}
