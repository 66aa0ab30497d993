//! Redshift and the loader.

use super::super::*;
use super::source::{Row, row};
use crate::batch::{Entry, LoadData, StepAction, StepData};
use crate::pgoutput::{Cell, Tuple};
use re_dms_shared::manifest::Operation;

/// A heap, because Redshift does not keep keys unique by itself.
pub(super) struct Target {
    pub(super) rows: Vec<Row>,
}

impl Target {
    pub(super) fn load(&mut self, step: &StepData) {
        match &step.action {
            StepAction::Truncate => self.rows.clear(),
            StepAction::Load(LoadData::Entries(entries)) => {
                for entry in entries {
                    self.merge(entry);
                }
            }
            StepAction::Load(LoadData::Moves(moves)) => {
                let before = self.rows.clone();
                for moved in moves {
                    let (old, cells) = (key(&moved.old_key), cells(&moved.row));
                    for (found, before) in
                        self.rows.iter_mut().zip(&before).filter(|(_, before)| before.0 == old)
                    {
                        *found = (
                            cells[0].flatten().unwrap(),
                            cells[1].unwrap_or(before.1),
                            cells[2].unwrap_or(before.2),
                        );
                    }
                }
            }
            StepAction::Chunk(chunk) => {
                let order = KeyOrder::of(step.shape.table(), &chunk.key).unwrap();
                let spans: Vec<_> = chunk.ranges.iter().map(|range| order.span(range).unwrap()).collect();
                self.rows.retain(|found| {
                    let key = row(found.0, None, None);
                    let place = order.of_row(Tuple::from_checked(&key)).unwrap();
                    !spans.iter().any(|span| span.contains(&place))
                });
                self.rows.extend(chunk.rows.iter().map(|entry| whole(&entry.row)));
            }
            other => panic!("{other:?}"),
        }
    }

    fn merge(&mut self, Entry { operation, row }: &Entry) {
        let key = key(row);
        match operation {
            Operation::Insert => self.rows.push(whole(row)),
            Operation::Replace => {
                self.rows.retain(|found| found.0 != key);
                self.rows.push(whole(row));
            }
            Operation::Update => {
                let cells = cells(row);
                for found in self.rows.iter_mut().filter(|found| found.0 == key) {
                    found.1 = cells[1].unwrap_or(found.1);
                    found.2 = cells[2].unwrap_or(found.2);
                }
            }
            _ => self.rows.retain(|found| found.0 != key),
        }
    }
}

/// None for what the row does not have, and of what it has the value.
fn cells(row: &[u8]) -> Vec<Option<Option<u8>>> {
    let value = |cell: Cell<'_>| match cell {
        Cell::Text(text) => Some(Some(std::str::from_utf8(text).unwrap().parse::<u8>().unwrap())),
        Cell::Null => Some(None),
        Cell::Unchanged => None,
    };
    Tuple::from_checked(row).cells().map(value).collect()
}

fn key(row: &[u8]) -> u8 {
    cells(row)[0].flatten().unwrap()
}

fn whole(row: &[u8]) -> Row {
    let cells = cells(row);
    (cells[0].flatten().unwrap(), cells[1].unwrap(), cells[2].unwrap())
}
