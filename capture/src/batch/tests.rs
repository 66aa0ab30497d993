//! Rows and shapes for tests, and the two kinds of tests: each rule by itself, and all of them against a model.

mod order;
mod replay;
mod replay_whole_rows;
mod rules;
mod whole_rows;

use std::sync::Arc;

use super::*;
use crate::pgoutput::{Cell, ChangeKind, OldTuple, Tuple};

const TEXT: u32 = 25;

/// A table of text columns named by letters; upper case for the key.
fn shape(columns: &str) -> Arc<TableShape> {
    named_shape(7, "t", columns)
}

fn named_shape(oid: u32, name: &str, columns: &str) -> Arc<TableShape> {
    let column = |letter: char| SourceColumn {
        name: letter.to_string(),
        attribute_number: None,
        type_oid: TEXT,
        type_modifier: -1,
        key: letter.is_ascii_uppercase(),
    };
    let columns = columns.chars().map(column).collect();
    Arc::new(TableShape::new(oid, ("public", name), ("public", name), columns).unwrap())
}

/// `None` for unchanged, `Some(None)` for NULL.
type TestCell = Option<Option<String>>;

fn bytes_of(cells: &[TestCell]) -> Vec<u8> {
    let mut out = Vec::new();
    let cell = |cell: &'_ TestCell| match cell {
        None => "u".to_owned(),
        Some(None) => "n".to_owned(),
        Some(Some(text)) => format!("t{text}"),
    };
    let tagged: Vec<String> = cells.iter().map(cell).collect();
    let cells = tagged.iter().map(|text| match text.split_at(1) {
        ("u", _) => Cell::Unchanged,
        ("n", _) => Cell::Null,
        (_, text) => Cell::Text(text.as_bytes()),
    });
    Tuple::encode(cells, &mut out);
    out
}

/// Cells divided by spaces: `~` is unchanged, `-` is NULL.
fn row(text: &str) -> Vec<u8> {
    let cell = |word: &str| match word {
        "~" => None,
        "-" => Some(None),
        word => Some(Some(word.to_owned())),
    };
    bytes_of(&text.split(' ').map(cell).collect::<Vec<_>>())
}

/// The reverse of [`row`].
fn text_of(row: &[u8]) -> String {
    let cell = |cell| match cell {
        Cell::Unchanged => "~",
        Cell::Null => "-",
        Cell::Text(text) => str::from_utf8(text).unwrap(),
    };
    Tuple::from_checked(row).cells().map(cell).collect::<Vec<_>>().join(" ")
}

fn insert(batch: &mut Batch, shape: &Arc<TableShape>, new: &str) -> Result<(), BatchError> {
    batch.apply(shape, ChangeKind::Insert { new: Tuple::from_checked(&row(new)) })
}

fn update(batch: &mut Batch, shape: &Arc<TableShape>, new: &str) -> Result<(), BatchError> {
    batch.apply(shape, ChangeKind::Update { old: None, new: Tuple::from_checked(&row(new)) })
}

/// An update whose old key was sent.
fn rekey(batch: &mut Batch, shape: &Arc<TableShape>, old: &str, new: &str) -> Result<(), BatchError> {
    let (old, new) = (row(old), row(new));
    let old = Some(OldTuple::Key(Tuple::from_checked(&old)));
    batch.apply(shape, ChangeKind::Update { old, new: Tuple::from_checked(&new) })
}

/// An update with the whole row before it.
fn update_full(batch: &mut Batch, shape: &Arc<TableShape>, old: &str, new: &str) -> Result<(), BatchError> {
    let (old, new) = (row(old), row(new));
    let old = Some(OldTuple::Full(Tuple::from_checked(&old)));
    batch.apply(shape, ChangeKind::Update { old, new: Tuple::from_checked(&new) })
}

/// A delete with the whole row before it.
fn delete_full(batch: &mut Batch, shape: &Arc<TableShape>, old: &str) -> Result<(), BatchError> {
    batch.apply(shape, ChangeKind::Delete { old: OldTuple::Full(Tuple::from_checked(&row(old))) })
}

fn delete(batch: &mut Batch, shape: &Arc<TableShape>, old: &str) -> Result<(), BatchError> {
    batch.apply(shape, ChangeKind::Delete { old: OldTuple::Key(Tuple::from_checked(&row(old))) })
}

/// The steps as text: `i 1 x`, moves with the old key in front of an arrow.
fn steps(batch: Batch) -> Vec<String> {
    let step = |step: StepData| match step.action {
        StepAction::Schema(_) => vec![format!("schema {}", step.shape.table().target_name)],
        StepAction::Truncate => vec![format!("truncate {}", step.shape.table().name)],
        StepAction::Resync => vec![format!("resync {}", step.shape.table().name)],
        StepAction::Replace(_) => vec![format!("replace {}", step.shape.table().name)],
        StepAction::Chunk(chunk) => vec![format!("chunk of {} rows", chunk.rows.len())],
        StepAction::Load(LoadData::Entries(entries)) => entries
            .iter()
            .map(|entry| format!("{} {}", entry.operation.code(), text_of(&entry.row)))
            .collect(),
        StepAction::Load(LoadData::Moves(moves)) => moves
            .iter()
            .map(|moved| format!("m {} -> {}", text_of(&moved.old_key), text_of(&moved.row)))
            .collect(),
        StepAction::Load(LoadData::Copies(rows)) => {
            rows.iter().map(|copies| format!("{:+} {}", copies.change, text_of(&copies.row))).collect()
        }
    };
    batch.into_steps().into_iter().map(|data| step(data).join(", ")).collect()
}
