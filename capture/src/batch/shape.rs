//! A table's shape: identity, columns, key and how each value is written, worked out once.

use std::collections::HashSet;

use re_dms_shared::manifest::{Column, Layout, Table, most_columns};
use re_dms_shared::names::target_column;
use re_dms_shared::types::{ColumnRules, OverrideError, TypeMapping, ValueClass, map_type};

/// A column as the source describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceColumn {
    /// Name on the source.
    pub name: String,
    /// `pg_attribute.attnum`, where it is known.
    pub attribute_number: Option<i16>,
    /// `pg_attribute.atttypid`
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`
    pub type_modifier: i32,
    /// Part of the key that changes are matched by.
    pub key: bool,
}

/// A table as it is between two changes of its definition. Shared by all its changes as an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    table: Table,
    key_positions: Vec<usize>,
    classes: Vec<ValueClass>,
    rules: Vec<ColumnRules>,
    /// Where its columns are in the source's rows, if these have more of them.
    positions: Option<Vec<usize>>,
}

/// The table can't be held in Redshift as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Two columns would get one name.
    #[error(
        "table {table}: column {column} gets the name {target_column:?} in Redshift, which another column has \
         (hint: names are folded to lower case; rename or exclude one of the two)"
    )]
    ColumnCollision {
        /// `schema.name` on the source.
        table: String,
        /// The later of the two on the source.
        column: String,
        /// The name in Redshift.
        target_column: String,
    },
    /// Different keys could become one.
    #[error(
        "table {table}: column {column} is part of its key, and values of its type that differ in PostgreSQL may be \
         equal in Redshift (hint: ALTER TABLE … REPLICA IDENTITY FULL, or an identity index on other columns, or \
         exclude the table)"
    )]
    InexactKey {
        /// `schema.name` on the source.
        table: String,
        /// Name on the source.
        column: String,
    },
    /// The configuration wants a type that can't hold the source's.
    #[error("table {table}, column {column}: {source}")]
    Override {
        /// `schema.name` on the source.
        table: String,
        /// Name on the source.
        column: String,
        /// Why.
        source: OverrideError,
    },
    /// Its staging table would have more columns than Redshift takes.
    #[error(
        "table {table}: it has {found} columns, and at most {most} fit beside what a load needs of its own in \
         Redshift's 1,600 (hint: exclude the table)"
    )]
    TooManyColumns {
        /// `schema.name` on the source.
        table: String,
        /// Its columns.
        found: usize,
        /// The most that it may have.
        most: usize,
    },
}

impl TableShape {
    /// Maps a source table's columns to Redshift's names and types, by what their OIDs tell alone.
    ///
    /// # Errors
    /// See [`ShapeError`].
    pub fn new(
        oid: u32,
        source: (&str, &str),
        target: (&str, &str),
        columns: Vec<SourceColumn>,
    ) -> Result<Self, ShapeError> {
        Self::with_types(oid, source, target, columns, |column| {
            Ok((map_type(column.type_oid, column.type_modifier), ColumnRules::default()))
        })
    }

    /// As [`TableShape::new`], with somebody who knows the columns' types and rules.
    ///
    /// # Errors
    /// See [`ShapeError`].
    pub fn with_types(
        oid: u32,
        (schema, name): (&str, &str),
        (target_schema, target_name): (&str, &str),
        columns: Vec<SourceColumn>,
        type_of: impl Fn(&SourceColumn) -> Result<(TypeMapping, ColumnRules), OverrideError>,
    ) -> Result<Self, ShapeError> {
        let mut taken = HashSet::new();
        let mut mapped = Vec::with_capacity(columns.len());
        let mut classes = Vec::with_capacity(columns.len());
        let mut rules = Vec::with_capacity(columns.len());
        for column in columns {
            let target_name = target_column(&column.name);
            if !taken.insert(target_name.clone()) {
                return Err(ShapeError::ColumnCollision {
                    table: format!("{schema}.{name}"),
                    column: column.name,
                    target_column: target_name,
                });
            }
            let (mapping, rule) = type_of(&column).map_err(|source| ShapeError::Override {
                table: format!("{schema}.{name}"),
                column: column.name.clone(),
                source,
            })?;
            if column.key && !mapping.can_be_key() {
                return Err(ShapeError::InexactKey {
                    table: format!("{schema}.{name}"),
                    column: column.name,
                });
            }
            classes.push(mapping.class);
            rules.push(rule);
            mapped.push(Column {
                name: column.name,
                attribute_number: column.attribute_number,
                type_oid: column.type_oid,
                type_modifier: column.type_modifier,
                target_name,
                redshift_type: mapping.redshift,
                key: column.key,
            });
        }
        let most = most_columns(&mapped);
        if mapped.len() > most {
            let table = format!("{schema}.{name}");
            return Err(ShapeError::TooManyColumns { table, found: mapped.len(), most });
        }
        let key_positions = (0..mapped.len()).filter(|&position| mapped[position].key).collect();
        let table = Table {
            schema: schema.to_owned(),
            name: name.to_owned(),
            oid,
            target_schema: target_schema.to_owned(),
            target_name: target_name.to_owned(),
            columns: mapped,
            kept: Vec::new(),
            layout: Layout::default(),
        };
        Ok(Self { table, key_positions, classes, rules, positions: None })
    }

    /// With how the table is to lie in Redshift, and the columns that stay there though the source has dropped them.
    #[must_use]
    pub fn with_target(mut self, layout: Layout, kept: Vec<Column>) -> Self {
        (self.table.layout, self.table.kept) = (layout, kept);
        self
    }

    /// Under other names in Redshift, and with some of the source's columns only: those at these positions.
    #[must_use]
    pub fn as_target(
        mut self,
        (schema, name): (String, String),
        columns: Vec<String>,
        positions: Option<Vec<usize>>,
    ) -> Self {
        (self.table.target_schema, self.table.target_name) = (schema, name);
        for (column, name) in self.table.columns.iter_mut().zip(columns) {
            column.target_name = name;
        }
        self.positions = positions;
        self
    }

    /// Where its columns are in the source's rows, if these have more of them.
    #[must_use]
    pub fn positions(&self) -> Option<&[usize]> {
        self.positions.as_deref()
    }

    /// Of a table that was mapped before, for steps that hold no rows.
    #[must_use]
    pub fn of_table(table: Table) -> Self {
        let key_positions =
            (0..table.columns.len()).filter(|&position| table.columns[position].key).collect();
        let class = |column: &Column| map_type(column.type_oid, column.type_modifier).class;
        let classes = table.columns.iter().map(class).collect();
        let rules = vec![ColumnRules::default(); table.columns.len()];
        Self { table, key_positions, classes, rules, positions: None }
    }

    /// The table as a manifest's step describes it.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The columns, in the source's order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.table.columns
    }

    /// The key columns' positions, ascending; none for a table without a key.
    #[must_use]
    pub fn key_positions(&self) -> &[usize] {
        &self.key_positions
    }

    /// How each column's values are written.
    #[must_use]
    pub fn classes(&self) -> &[ValueClass] {
        &self.classes
    }

    /// What the configuration says of each column.
    #[must_use]
    pub fn rules(&self) -> &[ColumnRules] {
        &self.rules
    }

    /// Whether rows have no key: they can be added, and found again only as a whole.
    #[must_use]
    pub fn is_keyless(&self) -> bool {
        self.key_positions.is_empty()
    }

    /// Whether Redshift has columns of the table that the source has dropped: what a row has in them follows the row, and
    /// only Redshift knows it.
    #[must_use]
    pub fn keeps_columns(&self) -> bool {
        !self.table.kept.is_empty()
    }

    /// `schema.name` on the source: for errors and logs.
    #[must_use]
    pub fn source_name(&self) -> String {
        format!("{}.{}", self.table.schema, self.table.name)
    }

    /// Whether both go into the same table in Redshift.
    #[must_use]
    pub fn same_target(&self, other: &TableShape) -> bool {
        self.table.target_schema == other.table.target_schema
            && self.table.target_name == other.table.target_name
    }
}
