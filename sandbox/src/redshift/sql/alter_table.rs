//! `ALTER TABLE`: one change a statement, and few kinds of it (`redshift.md`, 3.2).

use super::command::Command;
use super::create_table::{Column, shown};
use super::cursor::Cursor;
use super::names::TableName;
use super::touched::Touched;
use super::types::ColumnType;
use super::{SqlError, quoted};

/// `ALTER COLUMN … TYPE VARCHAR(n)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Widening {
    pub(crate) table: TableName,
    pub(crate) column: String,
    /// New length in bytes.
    pub(crate) bytes: u16,
    /// Tells names that the change makes from those of others.
    pub(crate) tag: String,
}

/// `DROP COLUMN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) table: TableName,
    pub(crate) column: String,
    /// Views that read it go too.
    pub(crate) cascade: bool,
}

/// `ALTER DISTSTYLE`, `ALTER SORTKEY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayoutChange {
    pub(crate) table: TableName,
    /// What is forgotten; none for AUTO, which keeps what there is.
    pub(crate) forgotten: Option<Forgotten>,
}

/// What a table's rows are not ordered by any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    DistKey,
    SortKey,
}

/// Reads a whole `ALTER TABLE`.
pub(super) fn parse(cursor: &mut Cursor<'_>, tag: &str) -> Result<Command, SqlError> {
    cursor.expect(&["alter", "table"])?;
    let table = cursor.table()?;
    let command = if cursor.eat(&["add"]) {
        add(cursor, &table, tag)?
    } else if cursor.eat(&["drop"]) {
        remove(cursor, table)?
    } else if cursor.eat(&["rename"]) {
        rename(cursor, &table)?
    } else if cursor.eat(&["alter"]) {
        alter(cursor, table, tag)?
    } else if cursor.eat(&["append", "from"]) {
        cursor.table()?;
        let _ = cursor.eat(&["ignoreextra"]) || cursor.eat(&["filltarget"]);
        Command::Append
    } else {
        return Err(cursor.syntax_error());
    };
    // A second clause after a comma is a syntax error too.
    cursor.expect_end()?;
    Ok(command)
}

fn add(cursor: &mut Cursor<'_>, table: &TableName, tag: &str) -> Result<Command, SqlError> {
    if !cursor.eat(&["column"]) && (cursor.sees(&["constraint"]) || cursor.sees(&["primary"])) {
        return Err(SqlError::Unsupported("ALTER TABLE ADD CONSTRAINT".to_owned()));
    }
    if cursor.sees(&["if"]) {
        return Err(cursor.syntax_error());
    }
    let tables_only = ["references", "identity", "generated"];
    if let Some(attribute) = tables_only.iter().find(|word| cursor.holds(word)) {
        return Err(SqlError::Refused(format!(
            "ALTER TABLE ADD COLUMN does not support columns with {}",
            if *attribute == "references" { "REFERENCES" } else { "IDENTITY" }
        )));
    }
    let column = Column::parse(cursor, tag)?;
    if let Some(attribute) = column.table_only {
        return Err(SqlError::Refused(format!(
            "ALTER TABLE ADD COLUMN does not support columns with {attribute}"
        )));
    }
    let null_default = column.default.as_deref().is_none_or(|default| default.eq_ignore_ascii_case("null"));
    if column.not_null && null_default {
        return Err(SqlError::Refused(
            "ALTER TABLE ADD COLUMN defined as NOT NULL must have a non-null default expression".to_owned(),
        ));
    }
    let encoding = column.remembered_encoding(tag).map(|encoding| format!(" {encoding}")).unwrap_or_default();
    let sql = format!("ALTER TABLE {table} ADD COLUMN {}{encoding}", column.definition);
    Ok(Command::Utility { sql, touched: Touched::defines([table.clone()]) })
}

fn remove(cursor: &mut Cursor<'_>, table: TableName) -> Result<Command, SqlError> {
    if cursor.eat(&["constraint"]) {
        let name = cursor.identifier()?;
        cursor.eat(&["restrict"]);
        // Those without a name of their own go by the stand-in's.
        let name = if name.starts_with("declared_key_") { name } else { format!("named_key_{name}") };
        let sql = format!("ALTER TABLE {table} DROP CONSTRAINT {}", quoted(&name));
        return Ok(Command::Utility { sql, touched: Touched::defines([table]) });
    }
    cursor.eat(&["column"]);
    if cursor.sees(&["if"]) {
        return Err(cursor.syntax_error());
    }
    let column = cursor.identifier()?;
    let cascade = cursor.eat(&["cascade"]);
    if !cascade {
        cursor.eat(&["restrict"]);
    }
    Ok(Command::DropColumn(Removal { table, column, cascade }))
}

fn rename(cursor: &mut Cursor<'_>, table: &TableName) -> Result<Command, SqlError> {
    if cursor.eat(&["to"]) {
        let name = cursor.identifier()?;
        if name.starts_with('#') && !shown(table).starts_with('#') {
            return Err(SqlError::Refused("cannot rename a permanent table to a temporary one".to_owned()));
        }
        let sql = format!("ALTER TABLE {table} RENAME TO {}", quoted(&name));
        return Ok(Command::Utility { sql, touched: Touched::defines([table.clone()]) });
    }
    cursor.eat(&["column"]);
    let from = quoted(&cursor.identifier()?);
    cursor.expect(&["to"])?;
    let to = quoted(&cursor.new_column()?);
    let sql = format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}");
    Ok(Command::Utility { sql, touched: Touched::defines([table.clone()]) })
}

/// Distribution and sorting, as far as they are not by a column.
fn layout(cursor: &mut Cursor<'_>) -> Result<Option<Option<Forgotten>>, SqlError> {
    if cursor.eat(&["diststyle"]) {
        return match cursor.word()? {
            "even" | "all" => Ok(Some(Some(Forgotten::DistKey))),
            "auto" => Ok(Some(None)),
            "key" => Err(SqlError::Unsupported("ALTER TABLE ALTER DISTSTYLE KEY".to_owned())),
            other => Err(SqlError::Syntax(other.to_owned())),
        };
    }
    if cursor.eat(&["sortkey", "none"]) {
        return Ok(Some(Some(Forgotten::SortKey)));
    }
    Ok(if cursor.eat(&["sortkey", "auto"]) { Some(None) } else { None })
}

fn alter(cursor: &mut Cursor<'_>, table: TableName, tag: &str) -> Result<Command, SqlError> {
    if let Some(forgotten) = layout(cursor)? {
        return Ok(Command::AlterLayout(LayoutChange { table, forgotten }));
    }
    for attribute in ["distkey", "diststyle", "sortkey", "compound", "interleaved", "encode"] {
        if cursor.sees(&[attribute]) {
            return Err(SqlError::Unsupported(format!("ALTER TABLE ALTER {}", attribute.to_uppercase())));
        }
    }
    cursor.eat(&["column"]);
    let column = cursor.identifier()?;
    if cursor.sees(&["encode"]) {
        return Err(SqlError::Unsupported("ALTER COLUMN ENCODE".to_owned()));
    }
    // SET and DROP of DEFAULT or NOT NULL are not in the grammar.
    cursor.expect(&["type"])?;
    match ColumnType::parse(cursor)? {
        ColumnType::Varchar(bytes) => {
            Ok(Command::Widen(Widening { table, column, bytes, tag: tag.to_owned() }))
        }
        _ => Err(SqlError::Refused(format!(
            "cannot alter column \"{column}\" of relation \"{}\", target column type is not supported",
            shown(&table)
        ))),
    }
}
