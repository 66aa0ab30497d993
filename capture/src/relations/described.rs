//! A table as the stream describes it.

use std::sync::Arc;

use re_dms_shared::manifest::Table;

use super::matching::Before;
use crate::batch::{SourceColumn, TableShape};
use crate::pgoutput::Relation;

/// A table as a Relation message describes it.
pub(super) struct Described {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<SourceColumn>,
    pub(super) shape: Arc<TableShape>,
}

impl Described {
    pub(super) fn has_columns_of(&self, relation: &Relation<'_>) -> bool {
        let described = relation.columns.iter().map(|c| (c.name, c.type_oid, c.type_modifier));
        self.columns.iter().map(|c| (c.name.as_str(), c.type_oid, c.type_modifier)).eq(described)
    }

    /// Whether the known table has these names and types.
    pub(super) fn is_like(&self, known: &Table, is_key_certain: bool) -> bool {
        let now = self.shape.table();
        let key = |table: &Table| -> Vec<bool> { table.columns.iter().map(|column| column.key).collect() };
        if known.layout.primary_key && is_key_certain && key(now) != key(known) {
            return false;
        }
        let columns = |table: &Table| -> Vec<(String, u32, i32)> {
            table.columns.iter().map(|c| (c.name.clone(), c.type_oid, c.type_modifier)).collect()
        };
        (&now.schema, &now.name) == (&known.schema, &known.name)
            && (&now.target_schema, &now.target_name) == (&known.target_schema, &known.target_name)
            && columns(now) == columns(known)
    }
}

/// Where no attribute number is to be had: columns of the same name are the same.
pub(super) fn by_name(described: &[SourceColumn], before: Before<'_>) -> Vec<Option<i16>> {
    let number = |column: &SourceColumn| {
        let known = before.columns.iter().find(|known| known.name == column.name);
        known.and_then(|known| known.attribute_number)
    };
    described.iter().map(number).collect()
}
