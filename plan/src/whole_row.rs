//! Tables without a key: rows go by what they hold. Redshift has nothing that tells one of several equal rows from the
//! others, so they all go, and as many as should be left come back. That more than one is there is the exception.

use re_dms_shared::manifest::{COPIES_COLUMN, OPERATION_COLUMN, Operation, REMOVAL_COLUMN};
use re_dms_shared::sql::{ident, literal};

use super::copy::Stage;
use super::equality;
use super::merge::target_column;
use super::tables::target;
use super::{Purpose, Statements};

/// The table of a step that names a removal once for each copy that stays.
pub(super) fn kept_name(step: u32) -> String {
    format!("re_dms_kept_{step:04}")
}

/// Takes the staged removals' rows away.
pub(super) fn statements(out: &mut Statements, stage: &Stage<'_>) {
    out.push(Purpose::Keep, keep(stage));
    out.push(Purpose::Remove, remove(stage));
    out.push(Purpose::Restore, restore(stage));
}

/// Numbers the copies of each row that goes; those beyond the number that goes stay.
///
/// Removals that differ on the source may be equal in Redshift (a policy cut both): they count together, under the first
/// one's number. Only numbers are carried along, for the sake of wide rows.
fn keep(stage: &Stage<'_>) -> String {
    let table = stage.table;
    let classes: Vec<_> = table
        .columns
        .iter()
        .flat_map(|column| equality::group(column.redshift_type, &ident(&column.target_name)))
        .collect();
    let (number, copies) = (ident(REMOVAL_COLUMN), ident(COPIES_COLUMN));
    let gone = format!(
        "(SELECT MIN({number}) AS {number}, SUM({copies}) AS {copies} FROM {} WHERE {} = {} GROUP BY {}) AS \"re_dms_gone\"",
        stage.relation,
        ident(OPERATION_COLUMN),
        literal(Operation::Remove.code()),
        classes.join(", ")
    );
    let staged_number = stage.column(REMOVAL_COLUMN);
    format!(
        "CREATE TEMP TABLE {} AS SELECT \"m\".{number} FROM (SELECT {staged_number}, \"re_dms_gone\".{copies}, \
         ROW_NUMBER() OVER (PARTITION BY {staged_number}) AS \"n\" FROM {}, {}, {gone} \
         WHERE {staged_number} = \"re_dms_gone\".{number} AND {}) AS \"m\" WHERE \"m\".\"n\" > \"m\".{copies}",
        ident(&kept_name(stage.step)),
        target(table),
        stage.relation,
        same_row(stage)
    )
}

fn remove(stage: &Stage<'_>) -> String {
    format!(
        "DELETE FROM {} USING {} WHERE {} = {} AND {}",
        target(stage.table),
        stage.relation,
        stage.column(OPERATION_COLUMN),
        literal(Operation::Remove.code()),
        same_row(stage)
    )
}

fn restore(stage: &Stage<'_>) -> String {
    let kept = ident(&kept_name(stage.step));
    let names = stage.table.columns.iter().chain(stage.kept.iter().copied());
    let names: Vec<_> = names.map(|column| ident(&column.target_name)).collect();
    let staged = stage.table.columns.iter().map(|column| stage.column(&column.target_name));
    let staged: Vec<_> = staged.chain(stage.kept.iter().map(|_| "NULL".to_owned())).collect();
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM {kept}, {} WHERE {kept}.{} = {}",
        target(stage.table),
        names.join(", "),
        staged.join(", "),
        stage.relation,
        ident(REMOVAL_COLUMN),
        stage.column(REMOVAL_COLUMN)
    )
}

/// The target's row equals the staged one in every column.
fn same_row(stage: &Stage<'_>) -> String {
    let columns = stage.table.columns.iter();
    let conditions: Vec<_> = columns
        .flat_map(|column| {
            let ours = target_column(stage, &column.target_name);
            equality::same_value(column.redshift_type, &ours, &stage.column(&column.target_name))
        })
        .collect();
    conditions.join(" AND ")
}
