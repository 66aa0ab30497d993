//! What a manifest must keep to before any SQL is made from it: a contradiction here would load wrong data.

use std::collections::BTreeSet;

use re_dms_shared::manifest::{Action, Load, SchemaChange, Step, Table, TableChange, can_be_tagged};
use re_dms_shared::names::MAX_IDENTIFIER_BYTES;

use super::{PlanError, table_label};

/// Checks a step that comes after the step with the number `before` (0 for none).
pub(super) fn step(before: u32, step: &Step) -> Result<(), PlanError> {
    let problem = number(before, step).or_else(|| names(&step.table)).or_else(|| match &step.action {
        Action::Load(load) | Action::Replace(load) => {
            rows(&step.table, load).or_else(|| sets(&step.table, load)).or_else(|| tags(&step.table, load))
        }
        Action::Chunk(chunk) => {
            let load = || rows(&step.table, &chunk.load).or_else(|| tags(&step.table, &chunk.load));
            chunk.problem(&step.table).or_else(load)
        }
        Action::Truncate | Action::Resync => None,
        Action::Schema(change) => schema(&step.table, change),
    });
    match problem {
        None => Ok(()),
        Some(problem) => {
            Err(PlanError::Manifest { step: step.number, table: table_label(&step.table), problem })
        }
    }
}

/// Numbers ascend; there are gaps where an initial copy holds a step already.
fn number(before: u32, step: &Step) -> Option<String> {
    (step.number <= before).then(|| format!("it comes after step {before}"))
}

/// A copy's rows go straight into the table, so that each can only be an insert.
pub(super) fn copy(step: &Step, load: &Load) -> Result<(), PlanError> {
    if load.rows.inserts == load.rows.total() {
        return Ok(());
    }
    let problem = "it is a table's copy and holds more than inserts".into();
    Err(PlanError::Manifest { step: step.number, table: table_label(&step.table), problem })
}

/// Every change must be about a column that is there.
fn schema(after: &Table, change: &SchemaChange) -> Option<String> {
    let SchemaChange { before, changes, .. } = change;
    if let Some(problem) = before.as_ref().and_then(names) {
        return Some(problem);
    }
    let has = |table: &Table, name: &str| {
        table.columns.iter().chain(&table.kept).any(|column| column.target_name == name)
    };
    let had = |name: &str| before.as_ref().is_some_and(|before| has(before, name));
    let fits = |change: &TableChange| match change {
        TableChange::Create => before.is_none(),
        TableChange::Drop | TableChange::Move | TableChange::ChangeKey => before.is_some(),
        TableChange::AddColumn { column, .. } => has(after, column),
        TableChange::DropColumn { column } => had(column),
        TableChange::RenameColumn { from, to } => had(from) && has(after, to),
        TableChange::ChangeType { column, to, .. } => {
            after.columns.iter().any(|found| found.target_name == *column && found.redshift_type == *to)
        }
    };
    (!changes.iter().all(fits)).then(|| "it changes what neither shape of the table has".into())
}

fn names(table: &Table) -> Option<String> {
    if table.columns.is_empty() {
        return Some("the table has no columns".into());
    }
    let columns = table.columns.iter().chain(&table.kept).map(|column| column.target_name.as_str());
    let all = [table.target_schema.as_str(), &table.target_name].into_iter().chain(columns.clone());
    for name in all {
        if name.is_empty() || name.len() > MAX_IDENTIFIER_BYTES || name.chars().any(char::is_control) {
            return Some(format!("{name:?} can't be a name in Redshift"));
        }
    }
    let mut seen = BTreeSet::new();
    let twice = columns.into_iter().find(|name| !seen.insert(name.to_ascii_lowercase()));
    twice.map(|name| format!("two columns have the name {name} in Redshift"))
}

fn rows(table: &Table, load: &Load) -> Option<String> {
    let rows = load.rows;
    let in_files: u64 = load.files.iter().map(|file| file.rows).sum();
    if rows.total() != in_files {
        return Some(format!("its files hold {in_files} rows, and its operations are {}", rows.total()));
    }
    let has_key = table.columns.iter().any(|column| column.key);
    if rows.total() > rows.inserts + rows.removes && !has_key {
        return Some("it changes rows of a table without a key".into());
    }
    if rows.removes > 0 && has_key {
        return Some("it removes whole rows of a table with a key".into());
    }
    if rows.moves > 0 && rows.moves < rows.total() {
        return Some("it has moves beside other operations".into());
    }
    None
}

fn tags(table: &Table, load: &Load) -> Option<String> {
    let mut key = table.columns.iter().filter(|column| column.key).peekable();
    let can_be = key.peek().is_some() && key.all(|column| can_be_tagged(column.redshift_type));
    (load.tagged_keys && !can_be).then(|| "it has tagged keys, which its key can't be".into())
}

fn sets(table: &Table, load: &Load) -> Option<String> {
    let rows = load.rows;
    if load.present_sets.is_empty() && rows.updates + rows.moves > 0 {
        return Some("it has updates and no sets of present columns".into());
    }
    let ascending = |set: &[usize]| set.windows(2).all(|pair| pair[0] < pair[1]);
    let valid =
        |set: &Vec<usize>| ascending(set) && set.iter().all(|&position| position < table.columns.len());
    (!load.present_sets.iter().all(valid)).then(|| "a set of present columns has wrong positions".into())
}
