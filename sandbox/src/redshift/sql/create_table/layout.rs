//! What may follow a table's columns: `BACKUP`, `DISTSTYLE`, `DISTKEY`, `SORTKEY`, `ENCODE AUTO` (`redshift.md`, 3.1).

use super::super::SqlError;
use super::super::cursor::Cursor;
use super::super::types::ColumnType;
use super::{Column, remembering};

const MOST_SORT_COLUMNS: usize = 400;
const MOST_INTERLEAVED_COLUMNS: usize = 8;

/// How a table is distributed and sorted.
#[derive(Default)]
pub(super) struct Layout {
    style: Option<String>,
    distkey: Option<String>,
    sort_key: Vec<String>,
    interleaved: bool,
}

/// Reads the attributes.
pub(super) fn table_attributes(cursor: &mut Cursor<'_>) -> Result<Layout, SqlError> {
    let mut layout = Layout::default();
    loop {
        if cursor.eat(&["backup"]) {
            if !cursor.eat(&["yes"]) {
                cursor.expect(&["no"])?;
            }
        } else if cursor.eat(&["diststyle"]) {
            let style = cursor.word()?;
            if !["auto", "even", "key", "all"].contains(&style) {
                return Err(SqlError::Syntax(style.to_owned()));
            }
            layout.style = Some(style.to_owned());
        } else if cursor.eat(&["distkey"]) {
            let columns = cursor.column_list()?;
            let [column] = columns.as_slice() else { return Err(cursor.syntax_error()) };
            layout.set_distkey(column)?;
        } else if cursor.eat(&["sortkey", "auto"]) || cursor.eat(&["encode", "auto"]) {
        } else if cursor.eat(&["interleaved", "sortkey"]) {
            layout.interleaved = true;
            layout.sort_key = cursor.column_list()?;
        } else if cursor.eat(&["compound", "sortkey"]) || cursor.eat(&["sortkey"]) {
            layout.sort_key = cursor.column_list()?;
        } else if cursor.sees(&["partition"]) || cursor.sees(&["inherits"]) || cursor.sees(&["tablespace"]) {
            return Err(cursor.syntax_error());
        } else {
            return Ok(layout);
        }
    }
}

impl Layout {
    fn set_distkey(&mut self, column: &str) -> Result<(), SqlError> {
        if self.distkey.replace(column.to_owned()).is_some() {
            return Err(SqlError::Refused(
                "cannot specify more than one column as distribution key".to_owned(),
            ));
        }
        Ok(())
    }

    /// Takes what the columns themselves say, and refuses what can't be.
    pub(super) fn complete(&mut self, columns: &[Column]) -> Result<(), SqlError> {
        for column in columns {
            if column.is_distkey {
                self.set_distkey(&column.name)?;
            }
            if column.is_sortkey {
                self.sort_key.push(column.name.clone());
            }
        }
        match (self.style.as_deref(), &self.distkey) {
            (Some("key"), None) => {
                return refused("DISTSTYLE KEY must be used with a DISTKEY column".to_owned());
            }
            (Some("even" | "all" | "auto"), Some(_)) => {
                return refused("DISTSTYLE must be KEY to specify a DISTKEY column".to_owned());
            }
            _ => {}
        }
        let most = if self.interleaved { MOST_INTERLEAVED_COLUMNS } else { MOST_SORT_COLUMNS };
        if self.sort_key.len() > most {
            return refused(format!("Maximum number of sort columns is {most}"));
        }
        for (position, name) in self.sort_key.iter().enumerate() {
            if self.sort_key[..position].contains(name) {
                return refused(format!("Duplicate column \"{name}\" in sort key"));
            }
        }
        let keys = self.distkey.iter().map(|name| (name, "DISTKEY"));
        for (name, key) in keys.chain(self.sort_key.iter().map(|name| (name, "SORTKEY"))) {
            let Some(column) = columns.iter().find(|column| column.name == *name) else {
                return refused(format!("column \"{name}\" named in key does not exist"));
            };
            let ty = column.column_type;
            if matches!(ty, ColumnType::Super | ColumnType::Varbyte(_)) {
                return refused(format!("column \"{name}\" of type {ty} can't be a {key}"));
            }
        }
        Ok(())
    }

    pub(super) fn has_keys(&self) -> bool {
        self.distkey.is_some() || !self.sort_key.is_empty()
    }

    /// What remembers it.
    pub(super) fn constraints(&self, tag: &str) -> Vec<String> {
        let distkey = self
            .distkey
            .iter()
            .map(|column| remembering(&format!("distkey_{tag}"), std::slice::from_ref(column)));
        let interleaved = if self.interleaved { "interleaved" } else { "sortkey" };
        let sort = self.sort_key.iter().enumerate();
        let sort = sort.map(|(position, column)| {
            remembering(&format!("{interleaved}_{}_{tag}", position + 1), std::slice::from_ref(column))
        });
        distkey.chain(sort).collect()
    }
}

fn refused<T>(what: String) -> Result<T, SqlError> {
    Err(SqlError::Refused(what))
}
