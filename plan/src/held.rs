//! Changes of tables' definitions that wait for somebody's approval, and changes as SQL for people.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Action, Fill, Manifest, SchemaChange, Step, Table, TableChange};

use super::{Blame, Catalog, PlanError, Statements, TableLog, Target, schema};

/// The tables that a segment holds at a change, and that are not quarantined yet.
#[must_use]
pub fn held(manifest: &Manifest, catalog: &Catalog, log: &TableLog) -> BTreeMap<Target, Blame> {
    let mut found = BTreeMap::new();
    let mut catalog = catalog.clone();
    for step in &manifest.steps {
        let Action::Schema(change) = &step.action else { continue };
        let target = Target::of(&step.table);
        // Those before a change that is held are part of what it is planned on.
        let sql = change_sql(&mut catalog, &step.table, &without_constants(change));
        if change.hold && !log.is_quarantined(&target) {
            found.entry(target.clone()).or_insert_with(|| blame(&target, sql));
        }
    }
    found
}

fn blame(target: &Target, sql: Result<Vec<String>, PlanError>) -> Blame {
    let sql = sql.map_or_else(|error| error.to_string(), |sql| sql.join("; "));
    Blame {
        reason: format!("a change of its definition waits for approval (schema_changes): {sql}"),
        hint: format!("`re_dms plan` shows all of it, `re_dms tables approve {target}` lets it be done"),
        held: true,
    }
}

/// A default's constant is a value: it has no place in logs.
fn without_constants(change: &SchemaChange) -> SchemaChange {
    let mut change = change.clone();
    for change in &mut change.changes {
        if let TableChange::AddColumn { fill, .. } = change {
            *fill = Fill::Null;
        }
    }
    change
}

/// Whether the step waits for approval.
pub(super) fn is_held(step: &Step) -> bool {
    matches!(&step.action, Action::Schema(change) if change.hold)
}

/// What a change comes to in SQL, without the transaction around it. The catalog is as after it then.
///
/// # Errors
/// If it can't be done.
pub fn change_sql(
    catalog: &mut Catalog,
    table: &Table,
    change: &SchemaChange,
) -> Result<Vec<String>, PlanError> {
    let mut statements = Statements::default();
    schema::statements(&mut statements, catalog, table, change)?;
    Ok(statements.before.into_iter().chain(statements.list).map(|statement| statement.sql).collect())
}
