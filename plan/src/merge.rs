//! From a staging table into its target: a key occurs at most once in a load, so deletes, updates and inserts don't meet.
//! Rows without a key that go, go before others come.
//!
//! DELETE takes no alias for its target and UPDATE's SET no qualified column (`redshift.md`, 4.2), so that tables are
//! called by their names throughout.

use re_dms_shared::manifest::{Column, OPERATION_COLUMN, Operation, PRESENT_SET_COLUMN, old_key_column};
use re_dms_shared::sql::{ident, literal};

use super::copy::Stage;
use super::tables::target;
use super::{Purpose, Statements};
use super::{equality, key_range, whole_row};

/// Up to so many sets of present columns get an UPDATE each; more share one with a CASE a column.
const UPDATES_A_LOAD: usize = 8;

/// Merges a staged load.
pub(super) fn statements(out: &mut Statements, stage: &Stage<'_>) {
    let rows = stage.load.rows;
    keep(out, stage);
    if rows.deletes + rows.replaces > 0 {
        out.push(Purpose::Delete, delete(stage));
    }
    if rows.updates > 0 {
        updates(out, stage, &Change::update(stage));
    }
    if rows.moves > 0 {
        updates(out, stage, &Change::key_move(stage));
    }
    if rows.removes > 0 {
        whole_row::statements(out, stage);
    }
    bring(out, stage);
}

/// What rows that go have in columns that only Redshift has is not lost.
pub(super) fn keep(out: &mut Statements, stage: &Stage<'_>) {
    if stage.keeps() {
        out.push(Purpose::KeepColumns, keep_columns(stage));
    }
}

/// Rows that come.
pub(super) fn bring(out: &mut Statements, stage: &Stage<'_>) {
    let rows = stage.load.rows;
    if rows.inserts + rows.replaces > 0 {
        out.push(Purpose::Insert, insert(stage));
    }
}

/// What the rows that are replaced have in columns that the source has no more goes over to those that replace them.
fn keep_columns(stage: &Stage<'_>) -> String {
    let assign = |column: &&Column| {
        let name = &column.target_name;
        format!("{} = {}", ident(name), target_column(stage, name))
    };
    let assignments: Vec<_> = stage.kept.iter().map(assign).collect();
    format!(
        "UPDATE {} SET {} FROM {} WHERE {}",
        stage.relation,
        assignments.join(", "),
        target(stage.table),
        has_key(stage, &[Operation::Replace], |_, column| column.target_name.clone())
    )
}

fn delete(stage: &Stage<'_>) -> String {
    let rows = stage.load.rows;
    let operations = present([(Operation::Delete, rows.deletes), (Operation::Replace, rows.replaces)]);
    format!(
        "DELETE FROM {} USING {} WHERE {}",
        target(stage.table),
        stage.relation,
        has_key(stage, &operations, |_, column| column.target_name.clone())
    )
}

fn insert(stage: &Stage<'_>) -> String {
    let rows = stage.load.rows;
    let operations = present([(Operation::Insert, rows.inserts), (Operation::Replace, rows.replaces)]);
    let columns: Vec<_> = stage.table.columns.iter().map(|column| ident(&column.target_name)).collect();
    let kept = stage.kept.iter().map(|column| ident(&column.target_name));
    let into: Vec<_> = columns.iter().cloned().chain(kept.clone()).collect();
    let staged = stage.table.columns.iter().zip(&columns).map(|(column, name)| {
        if stage.load.tagged_keys { stage.column(&column.target_name) } else { name.clone() }
    });
    // Written out even where it is NULL: such a column may have a default.
    let kept = kept.map(|name| if stage.keeps() { name } else { "NULL".to_owned() });
    let from: Vec<_> = staged.chain(kept).collect();
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} WHERE {}",
        target(stage.table),
        into.join(", "),
        from.join(", "),
        stage.relation,
        is_operation(stage, &operations)
    )
}

/// Rows that stay and get other values: updates, and updates that change the key.
struct Change {
    purpose: Purpose,
    /// How a staged row finds its target.
    has_key: String,
    /// By set, the columns that get values, as positions in the table's columns.
    columns_by_set: Vec<Vec<usize>>,
}

impl Change {
    fn update(stage: &Stage<'_>) -> Self {
        Self {
            purpose: Purpose::Update,
            has_key: has_key(stage, &[Operation::Update], |_, column| column.target_name.clone()),
            columns_by_set: changed(stage, |column, present| present && !column.key),
        }
    }

    fn key_move(stage: &Stage<'_>) -> Self {
        Self {
            purpose: Purpose::Move,
            has_key: has_key(stage, &[Operation::Move], |position, _| old_key_column(position)),
            columns_by_set: changed(stage, |column, present| present || column.key),
        }
    }
}

/// By set, the positions of the columns that `pick` takes.
fn changed(stage: &Stage<'_>, pick: impl Fn(&Column, bool) -> bool) -> Vec<Vec<usize>> {
    let columns = || stage.table.columns.iter().enumerate();
    let of_set = |set: &Vec<usize>| {
        let picked = columns().filter(|(position, column)| pick(column, set.contains(position)));
        picked.map(|(position, _)| position).collect()
    };
    stage.load.present_sets.iter().map(of_set).collect()
}

fn updates(out: &mut Statements, stage: &Stage<'_>, change: &Change) {
    // A set of nothing but the key changes nothing.
    let sets: Vec<_> =
        change.columns_by_set.iter().enumerate().filter(|(_, columns)| !columns.is_empty()).collect();
    if sets.len() <= UPDATES_A_LOAD {
        for (set, columns) in sets {
            let assign = |position: &usize| {
                let name = &stage.table.columns[*position].target_name;
                format!("{} = {}", ident(name), stage.column(name))
            };
            let assignments: Vec<_> = columns.iter().map(assign).collect();
            let in_set = format!(" AND {} = {set}", stage.column(PRESENT_SET_COLUMN));
            out.push(change.purpose, update(stage, change, &assignments, &in_set));
        }
        return;
    }
    let assignments: Vec<_> = stage
        .table
        .columns
        .iter()
        .enumerate()
        .filter_map(|(position, column)| {
            let holding: Vec<_> = sets.iter().filter(|(_, columns)| columns.contains(&position)).collect();
            let numbers: Vec<_> = holding.iter().map(|(set, _)| set.to_string()).collect();
            let name = &column.target_name;
            let staged = stage.column(name);
            match holding.len() {
                0 => None,
                all if all == change.columns_by_set.len() => Some(format!("{} = {staged}", ident(name))),
                _ => Some(format!(
                    "{} = CASE WHEN {} IN ({}) THEN {staged} ELSE {} END",
                    ident(name),
                    stage.column(PRESENT_SET_COLUMN),
                    numbers.join(", "),
                    target_column(stage, name)
                )),
            }
        })
        .collect();
    out.push(change.purpose, update(stage, change, &assignments, ""));
}

fn update(stage: &Stage<'_>, change: &Change, assignments: &[String], further: &str) -> String {
    format!(
        "UPDATE {} SET {} FROM {} WHERE {}{further}",
        target(stage.table),
        assignments.join(", "),
        stage.relation,
        change.has_key
    )
}

/// A column of the target, which statements call by its bare name.
pub(super) fn target_column(stage: &Stage<'_>, name: &str) -> String {
    format!("{}.{}", ident(&stage.table.target_name), ident(name))
}

/// The staged row is of these operations, and the target's key equals its columns that `staged` names.
fn has_key(
    stage: &Stage<'_>,
    operations: &[Operation],
    staged: impl Fn(usize, &Column) -> String + Copy,
) -> String {
    let of = is_operation(stage, operations);
    let conditions: Vec<_> = stage
        .key()
        .enumerate()
        .flat_map(|(position, column)| {
            let ours = target_column(stage, &column.target_name);
            equality::same_key_value(column.redshift_type, &ours, &stage.column(&staged(position, column)))
        })
        .chain([of.clone()])
        .collect();
    conditions.join(" AND ") + &key_range::within(stage, &of, staged)
}

/// The operations that occur.
fn present(counts: [(Operation, u64); 2]) -> Vec<Operation> {
    counts.into_iter().filter(|(_, rows)| *rows > 0).map(|(operation, _)| operation).collect()
}

fn is_operation(stage: &Stage<'_>, operations: &[Operation]) -> String {
    let column = stage.column(OPERATION_COLUMN);
    let codes: Vec<_> = operations.iter().map(|operation| literal(operation.code())).collect();
    match codes.as_slice() {
        [one] => format!("{column} = {one}"),
        several => format!("{column} IN ({})", several.join(", ")),
    }
}
