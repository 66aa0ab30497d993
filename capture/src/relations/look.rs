//! A table as PostgreSQL's catalog has it: asked for, or told by the event trigger in the same form.

use serde::Deserialize;

use crate::batch::SourceColumn;
use crate::error::{Error, Result, Who};

/// What `definition.sql` gives for a table.
#[derive(Clone, Debug, Deserialize)]
pub struct TableNow {
    /// `pg_class.oid`
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What its rows are stored in, as one number.
    pub storage: i64,
    /// Every attribute number that was ever given out, ascending.
    pub columns: Vec<ColumnNow>,
    /// What holds a partitioned table's rows; none for another one, and if that is not told.
    #[serde(default)]
    pub leaves: Option<Vec<LeafNow>>,
}

/// A partition that holds rows.
#[derive(Clone, Debug, Deserialize)]
pub struct LeafNow {
    /// `pg_class.oid`
    pub oid: u32,
    /// What its rows are stored in.
    pub storage: i64,
    /// It, or what it belongs to, was attached, and not made as a partition.
    pub joined: bool,
}

/// An attribute number and what it stands for.
#[derive(Clone, Debug, Deserialize)]
pub struct ColumnNow {
    /// `pg_attribute.attnum`
    pub number: i16,
    /// None for a column that was dropped.
    pub name: Option<String>,
    /// `pg_attribute.atttypid`
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`
    pub modifier: i32,
    /// Whether the publication has it.
    pub published: bool,
    /// Whether it has a default, or is an identity column.
    pub default: bool,
    /// Whether rows from before the column are known to have [`Self::value`].
    pub missing: bool,
    /// `pg_attribute.attmissingval`
    pub value: Option<String>,
    /// Part of the replica identity; none if that is not told, as by an event trigger that an older version installed.
    #[serde(default)]
    pub key: Option<bool>,
    /// The transaction that changed the catalog's row last.
    pub xid: u32,
}

/// Asks the source for a table by its OID; none if it is gone.
pub type Look = Box<dyn FnMut(u32) -> Result<Option<TableNow>> + Send>;

impl TableNow {
    /// Reads what `definition.sql` gives.
    ///
    /// # Errors
    /// If it is not of that form.
    pub fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            let what = format!("looking a table up: the answer can't be read: {error}");
            Error::fatal(Who::Source, what, "report this")
        })
    }

    /// The columns that are published, in order. No key is known here.
    pub(super) fn published(&self) -> Vec<SourceColumn> {
        let columns = self.columns.iter().filter(|column| column.published);
        let column = |column: &ColumnNow| {
            Some(SourceColumn {
                name: column.name.clone()?,
                attribute_number: Some(column.number),
                type_oid: column.type_oid,
                type_modifier: column.modifier,
                key: column.key.unwrap_or(false),
            })
        };
        columns.filter_map(column).collect()
    }

    pub(super) fn column(&self, number: Option<i16>) -> Option<&ColumnNow> {
        self.columns.iter().find(|column| Some(column.number) == number)
    }

    pub(super) fn highest(&self) -> Option<i16> {
        self.columns.iter().map(|column| column.number).max()
    }
}
