//! What the configuration wants to become of a change: done, held for approval, or ignored; columns and tables that are
//! dropped kept. See `docs/schema-changes.md` and ADR 15.

use re_dms_shared::manifest::{Column, OldValues, SchemaChange, Table, TableChange};
use re_dms_shared::names::MAX_IDENTIFIER_BYTES;

use super::difference::Difference;
use super::known::{KnownTable, source_name};
use super::look::TableNow;
use super::{Relations, SchemaStep};
use crate::batch::{SourceColumn, TableShape};
use crate::config::{SchemaChanges, TableRules};
use crate::error::Result;

impl Relations {
    /// The table as Redshift is to have it: as described, or, where changes are ignored, as it is there already. The
    /// columns' attribute numbers tell which is which.
    pub(super) fn target_shape(
        &self,
        oid: u32,
        (schema, name): (&str, &str),
        columns: &[SourceColumn],
    ) -> Result<TableShape> {
        let known = self.known.tables.get(&oid).filter(|known| !known.gone);
        let rules = self.shaping.tables.of(schema, name);
        if let Some(known) = known.filter(|_| rules.schema_changes == SchemaChanges::Ignore)
            && let Some(shape) = self.as_known(oid, (schema, name), columns, &known.table)?
        {
            return Ok(shape);
        }
        let shape = self.shaping.shape(oid, (schema, name), columns.to_vec())?;
        let layout = shape.table().layout.clone();
        Ok(shape.with_target(layout, known.map_or_else(Vec::new, |known| known.table.kept.clone())))
    }

    /// Those of the columns that Redshift has, under the names that they have there. None if rows could not be told apart by
    /// them, or values would not fit: that can't be ignored.
    fn as_known(
        &self,
        oid: u32,
        source: (&str, &str),
        columns: &[SourceColumn],
        known: &Table,
    ) -> Result<Option<TableShape>> {
        let same = |column: &SourceColumn| {
            known.columns.iter().find(|old| match (old.attribute_number, column.attribute_number) {
                (Some(old), Some(new)) => old == new,
                _ => old.name == column.name,
            })
        };
        let found: Vec<(usize, &SourceColumn, &Column)> = columns
            .iter()
            .enumerate()
            .filter_map(|(position, column)| same(column).map(|old| (position, column, old)))
            .collect();
        let keys =
            |columns: &mut dyn Iterator<Item = &SourceColumn>| columns.filter(|column| column.key).count();
        if found.is_empty()
            || keys(&mut found.iter().map(|(_, column, _)| *column)) < keys(&mut columns.iter())
        {
            return Ok(None);
        }
        let kept = found.iter().map(|(_, column, _)| (*column).clone()).collect();
        let shape = self.shaping.shape(oid, source, kept)?;
        let fits = |(new, (_, _, old)): (&Column, &(usize, &SourceColumn, &Column))| {
            old.redshift_type.holds(new.redshift_type)
        };
        if !shape.columns().iter().zip(&found).all(fits) {
            return Ok(None);
        }
        let names = found.iter().map(|(_, _, old)| old.target_name.clone()).collect();
        let positions = (found.len() < columns.len()).then(|| found.iter().map(|(at, ..)| *at).collect());
        let target = (known.target_schema.clone(), known.target_name.clone());
        Ok(Some(
            shape.as_target(target, names, positions).with_target(known.layout.clone(), known.kept.clone()),
        ))
    }

    /// What the table's entry in the configuration says.
    pub(super) fn rules_of(&self, table: &Table) -> TableRules {
        self.shaping.tables.of(&table.schema, &table.name)
    }

    /// A table that nobody has on the source any more, and that stays in Redshift, makes room for another one of its name.
    pub(super) fn put_aside(&mut self, oid: u32) -> Option<SchemaStep> {
        self.is_news = true;
        let before = self.known.tables.remove(&oid)?.table;
        let mut table = before.clone();
        table.target_name = aside(&oid.to_string(), &before.target_name);
        tracing::warn!(
            table = source_name(&before),
            now = format!("{}.{}", table.target_schema, table.target_name),
            "another table takes its name: the one that was kept is renamed"
        );
        let changes = vec![TableChange::Move];
        let change = SchemaChange { before: Some(before), changes, unproven: Vec::new(), hold: false };
        Some(SchemaStep { table, change })
    }
}

/// Takes out of the difference what the rules don't want, and keeps what they want kept.
pub(super) fn bend(
    rules: &TableRules,
    now: Option<&TableNow>,
    known: &KnownTable,
    next: &mut KnownTable,
    found: &mut Difference,
) {
    next.table.kept.clone_from(&known.table.kept);
    let keeps = rules.keep_columns || rules.schema_changes == SchemaChanges::Ignore;
    if keeps {
        let dropped: Vec<String> = found
            .changes
            .extract_if(.., |change| matches!(change, TableChange::DropColumn { .. }))
            .filter_map(
                |change| if let TableChange::DropColumn { column } = change { Some(column) } else { None },
            )
            .collect();
        let kept = known.table.columns.iter().filter(|column| dropped.contains(&column.target_name));
        next.table.kept.extend(kept.map(|column| Column { key: false, ..column.clone() }));
    }
    if rules.schema_changes == SchemaChanges::Ignore {
        for change in found.changes.extract_if(.., |change| is_held_by_the_old_type(change)) {
            // What Redshift has stays known.
            if let TableChange::ChangeType { column, from, .. } = change
                && let Some(found) = next.table.columns.iter_mut().find(|found| found.target_name == column)
            {
                found.redshift_type = from;
            }
        }
    }
    let has = |columns: &[Column], number: i16| {
        columns.iter().any(|column| column.attribute_number == Some(number))
    };
    for column in &next.table.columns {
        let Some(number) = column.attribute_number.filter(|number| !has(&known.table.columns, *number))
        else {
            continue;
        };
        if known.left_out.contains(&number) {
            found
                .unproven
                .push(format!("the column {} was left out before: rows from then lack it", column.name));
        }
        let has_gone = now.is_some_and(|now| now.column(Some(number)).is_some_and(|now| now.name.is_none()));
        if keeps && has_gone {
            found.unproven.push(format!(
                "the column {} was dropped before it was looked at: rows from before may lack its default",
                column.name
            ));
        }
    }
    let ignored = now.filter(|_| rules.schema_changes == SchemaChanges::Ignore).map(TableNow::published);
    let ignored = ignored.iter().flatten().filter_map(|column| column.attribute_number);
    next.left_out = known.left_out.iter().copied().chain(ignored).collect();
    next.left_out.retain(|number| !has(&next.table.columns, *number));
    next.left_out.sort_unstable();
    next.left_out.dedup();
    let Table { kept, columns, .. } = &mut next.table;
    for (position, column) in kept.iter_mut().enumerate() {
        if columns.iter().any(|taken| taken.target_name == column.target_name) {
            let number =
                column.attribute_number.map_or_else(|| format!("x{position}"), |number| number.to_string());
            let to = aside(&number, &column.target_name);
            let from = std::mem::replace(&mut column.target_name, to.clone());
            found.changes.push(TableChange::RenameColumn { from, to });
        }
    }
}

/// A name that no column and no table of the source can have.
fn aside(number: &str, name: &str) -> String {
    let name = format!("re_dms_kept_{number}_{name}");
    name[..name.floor_char_boundary(MAX_IDENTIFIER_BYTES)].to_owned()
}

/// A change as steps: a table that is held takes its new name at once, since whoever takes the old one must find it free.
pub(super) fn steps(rules: &TableRules, after: &Table, mut change: SchemaChange) -> Vec<SchemaStep> {
    let holds = match rules.schema_changes {
        SchemaChanges::Apply => false,
        SchemaChanges::Hold => true,
        // Whatever could be ignored is no change any more.
        SchemaChanges::Ignore => change.changes.iter().any(is_about_columns),
    };
    let Some(before) = change.before.clone().filter(|_| holds) else {
        return vec![SchemaStep { table: after.clone(), change }];
    };
    let mut steps = Vec::new();
    if change.changes.contains(&TableChange::Move) {
        let mut moved = before.clone();
        moved.schema.clone_from(&after.schema);
        moved.name.clone_from(&after.name);
        moved.target_schema.clone_from(&after.target_schema);
        moved.target_name.clone_from(&after.target_name);
        let change = SchemaChange {
            before: change.before.replace(moved.clone()),
            changes: change.changes.extract_if(.., |change| *change == TableChange::Move).collect(),
            unproven: Vec::new(),
            hold: false,
        };
        steps.push(SchemaStep { table: moved, change });
    }
    if !change.changes.is_empty() || !change.unproven.is_empty() {
        change.hold = !change.changes.is_empty();
        steps.push(SchemaStep { table: after.clone(), change });
    }
    steps
}

fn is_held_by_the_old_type(change: &TableChange) -> bool {
    matches!(change, TableChange::ChangeType { from, to, values: OldValues::Converted, .. } if from.holds(*to))
}

fn is_about_columns(change: &TableChange) -> bool {
    matches!(
        change,
        TableChange::AddColumn { .. }
            | TableChange::DropColumn { .. }
            | TableChange::ChangeType { .. }
            | TableChange::ChangeKey
    )
}
