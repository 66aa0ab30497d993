//! A change of a table's definition, as a step between loads.

use serde::{Deserialize, Serialize};

use super::Table;
use crate::types::RedshiftType;

/// From the shape before to the step's table. Columns are called by their names in Redshift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// The table before; none if it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Table>,
    /// What differs, all at once: drops and renames are about the table before, types and new columns about the one after.
    pub changes: Vec<TableChange>,
    /// Why rows from before can't be right without being read again; empty if they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unproven: Vec<String>,
    /// Nothing of the table goes on before somebody approves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum TableChange {
    /// The table is new.
    Create,
    /// The table is gone, with its rows.
    Drop,
    /// It has another name, another schema, or both.
    Move,
    /// A column that the table before lacks.
    AddColumn {
        /// After.
        column: String,
        /// What rows from before have in it.
        fill: Fill,
    },
    /// A column that is gone.
    DropColumn {
        /// Before.
        column: String,
    },
    /// The same column under another name.
    RenameColumn {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// The same column with another type.
    ChangeType {
        /// After.
        column: String,
        /// In Redshift, before.
        from: RedshiftType,
        /// In Redshift, after.
        to: RedshiftType,
        /// What becomes of values from before.
        values: OldValues,
    },
    /// Other columns are the key's, of a table whose key is declared in Redshift.
    ChangeKey,
}

/// What rows from before have in a new column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// NULL.
    Null,
    /// The text that a data file would have for it.
    Value(String),
}

/// What becomes of values when their column gets another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldValues {
    /// They are converted in Redshift.
    Converted,
    /// Nothing in Redshift tells them: they become NULL.
    Unknown,
}
