//! A table that was read anew: its rows take the place of what Redshift has of it, in one transaction with what was skipped
//! behind them in the segment that began it, so that nobody sees the table go back.

use re_dms_shared::manifest::{Action, Load, OldValues, Step, Table};

use super::copy::{self, CopySettings};
use super::table_log::{self, Record};
use super::{Catalog, Plan, PlanError, Purpose, StagedSegment, Statements, Steps, TableLog, Target};
use super::{check, ledger, schema, staging, tables};

/// What [`replace`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct Replacement<'a> {
    /// The table.
    pub target: &'a Target,
    /// The segment that has its rows.
    pub rows: StagedSegment<'a>,
    /// The segment that began it, if it holds steps that come behind the rows, with the number of the log's row that says
    /// that they were skipped.
    pub begun: Option<(u64, StagedSegment<'a>)>,
    /// How COPY gets at the files.
    pub copy: &'a CopySettings,
    /// The table as it is in Redshift.
    pub catalog: &'a Catalog,
    /// The stream's table log as it was read.
    pub log: &'a TableLog,
}

/// Plans that a table's rows are replaced by those that were read anew.
///
/// # Errors
/// As [`super::plan`].
pub fn replace(stream: &str, input: &Replacement<'_>) -> Result<Plan, PlanError> {
    let plan = replace_staged(stream, input, false)?;
    // COPY does not go into a table that the same transaction has altered.
    let alters = plan.statements.iter().any(|statement| statement.sql.starts_with("ALTER TABLE"));
    let is_large = plan.bytes > staging::LARGE_BYTES;
    if is_large || alters { replace_staged(stream, input, true) } else { Ok(plan) }
}

fn replace_staged(stream: &str, input: &Replacement<'_>, private: bool) -> Result<Plan, PlanError> {
    let Replacement { target, rows, begun, log, .. } = *input;
    let mut statements = Statements::default();
    statements.push(Purpose::LockLedger, ledger::lock(stream));
    statements.push(Purpose::Guard, table_log::guard(stream, log.last_change()));
    let mut record = Record::after(log.last_change());
    let mut steps = Steps { catalog: input.catalog.clone(), copy: input.copy, loads: 1, private };
    let (step, load) = rows_of(&rows, target)?;
    check::step(0, step)?;
    check::copy(step, load)?;
    statements.about(steps.loads, rows.manifest.seq, step);
    empty(&mut statements, &mut steps.catalog, &step.table)?;
    let table = (steps.loads, &step.table);
    if private {
        let name = staging::name(&rows, step.number);
        let filled = copy::beside(&statements.of, rows.bucket, input.copy, (table, &name), load)?;
        statements.staging.push(filled);
        statements.push(Purpose::Insert, copy::from_beside(&step.table, &name));
    } else {
        statements.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
        copy::rows_into_table(&mut statements, rows.bucket, input.copy, table, load)?;
    }
    if let Some((change, segment)) = begun {
        // What is large is staged for the rows' sake alone.
        steps.private = false;
        for (before, step) in waiting_steps(&segment, target) {
            steps.add(&mut statements, &segment, before, step)?;
        }
        record.replayed(&segment, target, change);
    }
    record.replaced(target);
    statements.end_with(&record, stream);
    statements.refuse_too_long()?;
    Ok(statements.into_plan())
}

/// The segment's steps on the table that wait since it is read anew, or since ever, each with the number of the step before
/// it.
pub(super) fn waiting_steps<'a>(
    segment: &StagedSegment<'a>,
    target: &Target,
) -> impl Iterator<Item = (u32, &'a Step)> {
    let steps = &segment.manifest.steps;
    let of_target = |step: &&'a Step| Target::of(&step.table) == *target;
    let behind = behind_reading(segment, target);
    let from = steps.len() - behind.len();
    let before = from.checked_sub(1).map_or(0, |position| steps[position].number);
    let waiting: Vec<_> = behind.iter().filter(of_target).collect();
    waiting
        .into_iter()
        // Rows that were read anew come by themselves, and before all others.
        .filter(|step| !matches!(step.action, Action::Replace(_)))
        .map(move |step| (before, step))
}

/// The segment's steps from where the table is read anew, or all of them.
pub(super) fn behind_reading<'a>(segment: &StagedSegment<'a>, target: &Target) -> &'a [Step] {
    let steps = &segment.manifest.steps;
    let begins = |step: &Step| matches!(step.action, Action::Resync) && Target::of(&step.table) == *target;
    &steps[steps.iter().rposition(begins).map_or(0, |position| position + 1)..]
}

/// The step that has the table's rows.
fn rows_of<'a>(rows: &StagedSegment<'a>, target: &Target) -> Result<(&'a Step, &'a Load), PlanError> {
    let found = rows.manifest.steps.iter().rev().find_map(|step| match &step.action {
        Action::Replace(load) if Target::of(&step.table) == *target => Some((step, load)),
        _ => None,
    });
    found.ok_or_else(|| PlanError::Manifest {
        step: 0,
        table: target.to_string(),
        problem: "the segment does not hold the table's rows that were read anew".to_owned(),
    })
}

/// The table is there, with the columns that it is to have, and holds nothing. Its old values need not be converted.
fn empty(out: &mut Statements, catalog: &mut Catalog, table: &Table) -> Result<(), PlanError> {
    let mut others = Vec::new();
    if let Some(existing) = catalog.target(table) {
        for column in &table.columns {
            let name = column.target_name.to_ascii_lowercase();
            let found = existing.columns.get(&name);
            if found.is_some_and(|found| !found.ty.holds(column.redshift_type)) {
                others.push((name, column.redshift_type));
            }
        }
    }
    for (name, ty) in others {
        schema::convert(out, catalog, table, &name, ty, ty, OldValues::Unknown)?;
    }
    tables::prepare(out, catalog, table)?;
    // Also in a table that is made here: it may have been made by somebody else a moment ago.
    out.push(Purpose::Delete, tables::empty(table));
    Ok(())
}
