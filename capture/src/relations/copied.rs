//! A table as it is when its initial copy is taken: read from the catalog under the copy's snapshot, and not told by the
//! stream. It becomes what is known of the table, so that what the stream says later is compared with it.

use std::sync::Arc;

use re_dms_shared::columns::Columns;
use re_dms_shared::types::catalog;

use super::known::KnownTable;
use super::look::TableNow;
use super::shaping::Shaping;
use super::types::Types;
use crate::batch::TableShape;
use crate::config::{TableSettings, TargetNames};
use crate::error::{Error, Result, Who};

/// A table that is to be copied.
#[derive(Clone, Debug)]
pub struct Description {
    /// How its rows are written.
    pub shape: Arc<TableShape>,
    /// What Redshift has once the copy is loaded.
    pub(super) known: KnownTable,
}

/// Attribute numbers of what tells a table's rows apart.
#[derive(Clone, Debug, Default)]
pub struct KeyColumns {
    /// The replica identity, or, under FULL, the primary key.
    pub numbers: Vec<i16>,
    /// REPLICA IDENTITY FULL: a key that can't be one in Redshift is none.
    pub full: bool,
}

/// Describes a table by its catalog entry, with the types of its columns. None if no column of it is replicated.
///
/// # Errors
/// If it can't be held in Redshift.
pub fn describe(
    columns: &Columns,
    (names, tables): (&TargetNames, &TableSettings),
    types: &[catalog::Row],
    mut now: TableNow,
    key: &KeyColumns,
) -> Result<Option<Description>> {
    let rows = types.to_vec();
    let types = Types::new(Box::new(move |_| Ok(rows.clone())));
    let mut shaping =
        Shaping { columns: columns.clone(), names: names.clone(), tables: tables.clone(), types };
    shaping.cut(&mut now);
    let table = (now.schema.as_str(), now.name.as_str());
    shaping.refuse_own_schema(table.0, table.1)?;
    let mut published = now.published();
    if published.is_empty() {
        return Ok(None);
    }
    shaping.types.learn(table, published.iter().map(|column| column.type_oid))?;
    for column in &mut published {
        column.key = column.attribute_number.is_some_and(|number| key.numbers.contains(&number));
    }
    let keys = published.iter().filter(|column| column.key).count();
    if key.full {
        let can_be_key = published.iter().filter(|column| column.key).all(|column| {
            let ty = (column.type_oid, column.type_modifier);
            shaping.type_of(table, &column.name, ty, true).is_ok_and(|(mapping, _)| mapping.can_be_key())
        });
        if !can_be_key || keys < key.numbers.len() {
            published.iter_mut().for_each(|column| column.key = false);
        }
    } else if keys < key.numbers.len() {
        return Err(Error::fatal(
            Who::Stream,
            format!("table {}.{}: a column of its key is left out", table.0, table.1),
            "hash the column instead (source.hash_columns), or choose another REPLICA IDENTITY",
        ));
    }
    let shape = Arc::new(shaping.shape(now.oid, table, published)?);
    let known = KnownTable {
        table: shape.table().clone(),
        storage: Some(now.storage),
        highest: now.highest(),
        leaves: now.leaves(),
        needs_resync: Vec::new(),
        gone: false,
        left_out: Vec::new(),
    };
    Ok(Some(Description { shape, known }))
}
