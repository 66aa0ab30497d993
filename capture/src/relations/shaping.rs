//! The one place where a table of the source becomes one of Redshift's: its name, and its columns' names and types.

use re_dms_shared::columns::Columns;
use re_dms_shared::manifest::Column;
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::types::{ColumnRules, HASHED, OverrideError, TypeMapping, map_column};

use super::layout::layout;
use super::look::TableNow;
use super::types::Types;
use crate::batch::{SourceColumn, TableShape};
use crate::config::{TableSettings, TargetNames};
use crate::error::{Error, Result, Who};
use crate::rows::{self, Constant};

/// What the configuration and the catalog say of names and types.
#[derive(Default)]
pub(super) struct Shaping {
    pub(super) columns: Columns,
    pub(super) names: TargetNames,
    pub(super) tables: TableSettings,
    pub(super) types: Types,
}

impl Shaping {
    /// Schema and name in Redshift.
    pub(super) fn target(&self, schema: &str, name: &str) -> (String, String) {
        self.names.table(schema, name)
    }

    /// The table as it is in Redshift. Its columns' types must have been [learnt](Types::learn).
    ///
    /// # Errors
    /// If it can't be held there.
    pub(super) fn shape(
        &self,
        oid: u32,
        (schema, name): (&str, &str),
        columns: Vec<SourceColumn>,
    ) -> Result<TableShape> {
        let target = self.target(schema, name);
        let shape = TableShape::with_types(oid, (schema, name), (&target.0, &target.1), columns, |column| {
            self.type_of((schema, name), &column.name, (column.type_oid, column.type_modifier), column.key)
        });
        let shape = shape.map_err(|error| Error::told(Who::Stream, false, &error))?;
        let (layout, _) = layout(&self.tables.of(schema, name), shape.columns());
        Ok(shape.with_target(layout, Vec::new()))
    }

    pub(super) fn type_of(
        &self,
        (schema, table): (&str, &str),
        column: &str,
        (oid, modifier): (u32, i32),
        key: bool,
    ) -> Result<(TypeMapping, ColumnRules), OverrideError> {
        let rules = self.columns.rules(schema, table, column);
        map_column(&self.types.of(oid), modifier, key, &rules).map(|mapping| (mapping, rules))
    }

    /// A value of the column as a data file would have it: see [`rows::constant`].
    pub(super) fn constant(&self, table: (&str, &str), column: &Column, value: &str) -> Option<Constant> {
        let ty = (column.type_oid, column.type_modifier);
        let (mapping, rules) = self.type_of(table, &column.name, ty, column.key).ok()?;
        rows::constant(column, &mapping.class, rules, value)
    }

    /// What the stream would say of the table: columns that are left out are not there, of hashed ones no value is known.
    pub(super) fn cut(&self, table: &mut TableNow) {
        let TableNow { schema, name: table_name, columns, .. } = table;
        for column in columns {
            let Some(name) = &column.name else { continue };
            if self.columns.is_excluded(schema, table_name, name) {
                column.published = false;
            } else if self.columns.is_hashed(schema, table_name, name) {
                (column.type_oid, column.modifier) = (HASHED, -1);
                column.value = None;
            }
        }
    }

    /// No table may take the place of a ledger.
    pub(super) fn refuse_own_schema(&self, schema: &str, name: &str) -> Result<()> {
        if self.target(schema, name).0 != OWN_SCHEMA {
            return Ok(());
        }
        Err(Error::fatal(
            Who::Stream,
            format!("the table {schema}.{name} would go into the schema that re_dms keeps its ledgers in"),
            "exclude it (source.exclude), rename its schema, or give it another one in Redshift (target.schemas)",
        ))
    }
}
