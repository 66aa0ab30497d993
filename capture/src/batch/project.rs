//! Rows of a table of which Redshift is to have some columns only.

use crate::pgoutput::{ChangeKind, OldTuple, Tuple};

/// Kept between changes so that none of them allocates.
#[derive(Debug, Default)]
pub(super) struct Projected {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Projected {
    /// The change with the cells at these positions, which ascend.
    pub(super) fn change<'a>(&'a mut self, change: ChangeKind<'_>, positions: &[usize]) -> ChangeKind<'a> {
        match change {
            ChangeKind::Insert { new } => ChangeKind::Insert { new: pick(new, positions, &mut self.new) },
            ChangeKind::Update { old, new } => {
                let new = pick(new, positions, &mut self.new);
                ChangeKind::Update { old: old.map(|old| pick_old(old, positions, &mut self.old)), new }
            }
            ChangeKind::Delete { old } => ChangeKind::Delete { old: pick_old(old, positions, &mut self.old) },
        }
    }
}

fn pick_old<'a>(old: OldTuple<'_>, positions: &[usize], buffer: &'a mut Vec<u8>) -> OldTuple<'a> {
    match old {
        OldTuple::Key(tuple) => OldTuple::Key(pick(tuple, positions, buffer)),
        OldTuple::Full(tuple) => OldTuple::Full(pick(tuple, positions, buffer)),
    }
}

/// A row with fewer columns than it should have keeps that, so that it is noticed.
fn pick<'a>(tuple: Tuple<'_>, positions: &[usize], buffer: &'a mut Vec<u8>) -> Tuple<'a> {
    let sent = positions.partition_point(|position| *position < tuple.columns());
    buffer.clear();
    Tuple::encode(tuple.cells_at(&positions[..sent]), buffer);
    Tuple::from_checked(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::Cell;

    #[test]
    fn only_the_picked_cells_are_left() {
        let mut row = Vec::new();
        Tuple::encode(
            [Cell::Text(b"1"), Cell::Text(b"new"), Cell::Unchanged, Cell::Null].into_iter(),
            &mut row,
        );
        let row = Tuple::from_checked(&row);
        let mut projected = Projected::default();
        let change = ChangeKind::Update { old: Some(OldTuple::Full(row)), new: row };
        let ChangeKind::Update { old: Some(OldTuple::Full(old)), new } = projected.change(change, &[0, 2])
        else {
            panic!("an update stays one")
        };
        for tuple in [old, new] {
            assert_eq!(tuple.cells().collect::<Vec<_>>(), [Cell::Text(b"1"), Cell::Unchanged]);
        }
    }
}
