//! What comes with a description of a table.

use re_dms_shared::manifest::Table;

/// What is known of a description beside the table.
pub(super) struct Told {
    /// If rows were written anew, then without USING.
    pub(super) plain: bool,
    /// Which columns are the key's.
    pub(super) key: bool,
    /// About changes, if there are any.
    pub(super) doubts: Vec<String>,
}

/// The key's columns are those that were, as far as they are there.
pub(super) fn keep_key(after: &mut Table, known: &Table) {
    for column in &mut after.columns {
        let same = known.columns.iter().find(|old| match (old.attribute_number, column.attribute_number) {
            (Some(old), Some(new)) => old == new,
            _ => old.name == column.name,
        });
        column.key = same.is_some_and(|old| old.key);
    }
}
