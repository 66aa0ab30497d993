//! A part of a table that was read anew: the rows of ranges of keys, which take the place of all rows of these ranges.

use serde::{Deserialize, Serialize};

use super::{Action, Load, Table};

/// Keys between two others, in the order of their values, column by column. Values are PostgreSQL's texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// Where it begins; none for the first key there can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<KeyBound>,
    /// The last key of it; none if nothing ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
}

/// Where a range begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyBound {
    /// A key: a value a column.
    pub key: Vec<String>,
    /// Whether the range has this key itself.
    #[serde(default)]
    pub included: bool,
}

/// What a [chunk](super::Action::Chunk) holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Names in Redshift of the key's columns, in the order in which the ranges compare them.
    pub key: Vec<String>,
    /// Which rows go: those of any of these.
    pub ranges: Vec<KeyRange>,
    /// What comes for them: replaces alone. Without rows it has no files.
    #[serde(flatten)]
    pub load: Load,
}

impl Action {
    /// The rows in files, if it has some.
    #[must_use]
    pub fn load(&self) -> Option<&Load> {
        match self {
            Action::Load(load) | Action::Replace(load) => Some(load),
            Action::Chunk(chunk) => Some(&chunk.load),
            Action::Truncate | Action::Schema(_) | Action::Resync => None,
        }
    }
}

impl KeyRange {
    /// One key.
    #[must_use]
    pub fn of_key(key: Vec<String>) -> Self {
        Self { from: Some(KeyBound { key: key.clone(), included: true }), to: Some(key) }
    }

    /// Whether it is one key alone.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.included && Some(&from.key) == self.to.as_ref())
    }

    /// Every key.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

impl Chunk {
    /// What contradicts itself in it, if something does.
    #[must_use]
    pub fn problem(&self, table: &Table) -> Option<String> {
        let mut key: Vec<_> = self.key.iter().collect();
        let mut of_table: Vec<_> =
            table.columns.iter().filter(|column| column.key).map(|column| &column.target_name).collect();
        key.sort();
        of_table.sort();
        if key != of_table || key.is_empty() {
            return Some("its key is not the table's".to_owned());
        }
        let bounds = |range: &KeyRange| -> Vec<usize> {
            range.from.iter().map(|from| &from.key).chain(&range.to).map(Vec::len).collect()
        };
        if self.ranges.is_empty() || self.ranges.iter().flat_map(bounds).any(|bound| bound != self.key.len())
        {
            return Some("its ranges are not those of its key".to_owned());
        }
        let rows = self.load.rows;
        (rows.replaces != rows.total()).then(|| "it is a chunk and holds more than replaces".to_owned())
    }
}
