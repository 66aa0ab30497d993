//! Changes in words, for the log: without values.

use re_dms_shared::manifest::TableChange;

use super::SchemaStep;
use super::known::source_name;

/// Says what will be done in Redshift, and what can't be.
pub(super) fn tell(steps: &[SchemaStep]) {
    for SchemaStep { table, change } in steps {
        let table = source_name(table);
        let changes: Vec<String> = change.changes.iter().map(in_words).collect();
        let held = if change.hold { ": held until `re_dms tables approve`" } else { "" };
        tracing::info!(table, changes = changes.join(", "), "the table's definition changed{held}");
        for reason in &change.unproven {
            tracing::warn!(
                table,
                "the table needs a resync: {reason} (hint: it is read anew by itself, or by \
                 `re_dms tables resync`; rows that change arrive exact)"
            );
        }
    }
}

/// A change in words, without values.
pub(super) fn in_words(change: &TableChange) -> String {
    match change {
        TableChange::Create => "created".to_owned(),
        TableChange::Drop => "dropped".to_owned(),
        TableChange::Move => "renamed or moved".to_owned(),
        TableChange::AddColumn { column, .. } => format!("column {column} added"),
        TableChange::DropColumn { column } => format!("column {column} dropped"),
        TableChange::RenameColumn { from, to } => format!("column {from} renamed to {to}"),
        TableChange::ChangeType { column, from, to, .. } => format!("column {column} from {from} to {to}"),
        TableChange::ChangeKey => "another key".to_owned(),
    }
}
