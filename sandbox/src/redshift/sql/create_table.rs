//! `CREATE TABLE`. Distribution, sort keys, encodings and keys change nothing here; but which columns they name is
//! remembered, by constraints that are always true, for what Redshift refuses to do with such columns later.

use super::command::Command;
use super::cursor::Cursor;
use super::lexer::{Kind, Token};
use super::names::TableName;
use super::query;
use super::touched::Touched;
use super::types::ColumnType;
use super::{SqlError, quoted};

mod layout;

use layout::{Layout, table_attributes};

const MAX_COLUMNS: usize = 1600;

/// Column compression encodings.
const ENCODINGS: [&str; 12] = [
    "az64",
    "bytedict",
    "delta",
    "delta32k",
    "lzo",
    "mostly8",
    "mostly16",
    "mostly32",
    "raw",
    "runlength",
    "text255",
    "text32k",
];

/// Reads on after `CREATE [TEMP] TABLE`.
pub(super) fn parse(cursor: &mut Cursor<'_>, temporary: bool, tag: &str) -> Result<Command, SqlError> {
    let if_not_exists = cursor.eat(&["if", "not", "exists"]);
    let name = cursor.table()?;
    let temporary = temporary || name.name.starts_with('#');
    if temporary && name.schema.is_some() {
        return Err(SqlError::Refused("cannot create temporary relation in non-temporary schema".to_owned()));
    }
    let head = format!(
        "CREATE {}TABLE {}{name}",
        if temporary { "TEMPORARY " } else { "" },
        if if_not_exists { "IF NOT EXISTS " } else { "" }
    );
    if !cursor.sees_symbol("(") || selects(cursor.rest()) {
        return create_as(cursor, &head);
    }
    cursor.expect_symbol("(")?;
    let mut table = Table::default();
    loop {
        table.element(cursor, tag)?;
        if !cursor.eat_symbol(",") {
            break;
        }
    }
    cursor.expect_symbol(")")?;
    if table.columns.len() > MAX_COLUMNS {
        return Err(SqlError::Refused(format!("tables can have at most {MAX_COLUMNS} columns")));
    }
    let mut layout = table_attributes(cursor)?;
    cursor.expect_end()?;
    if table.like.is_empty() {
        layout.complete(&table.columns)?;
    } else if layout.has_keys() {
        return Err(SqlError::Unsupported("a distribution or sort key beside LIKE".to_owned()));
    }
    let sql = format!("{head} ({})", table.definition(&layout, tag));
    Ok(Command::Utility { sql, touched: Touched::reads(table.parents) })
}

/// A constraint that is always true: it remembers which columns were declared as a key.
fn declared_key(columns: &[String], tag: &str) -> String {
    remembering(&format!("declared_key_{tag}"), columns)
}

fn remembering(name: &str, columns: &[String]) -> String {
    let always: Vec<String> =
        columns.iter().map(|column| format!("({} IS NULL) IS NOT NULL", quoted(column))).collect();
    format!("CONSTRAINT {} CHECK ({})", quoted(name), always.join(" AND "))
}

fn selects(tokens: &[Token]) -> bool {
    tokens
        .iter()
        .find(|token| token.kind != Kind::Symbol("("))
        .is_some_and(|token| matches!(&token.kind, Kind::Word(word) if word == "select" || word == "with"))
}

/// `[BACKUP …] [DISTSTYLE …] … AS query`
fn create_as(cursor: &mut Cursor<'_>, head: &str) -> Result<Command, SqlError> {
    table_attributes(cursor)?;
    cursor.expect(&["as"])?;
    let (query, reads) = query::translate_query(cursor.rest())?;
    Ok(Command::Utility { sql: format!("{head} AS {query}"), touched: Touched::reads(reads) })
}

#[derive(Default)]
struct Table {
    columns: Vec<Column>,
    /// LIKE clauses, in PostgreSQL's words.
    like: Vec<String>,
    /// Their tables.
    parents: Vec<TableName>,
    primary_key: Vec<String>,
    /// The primary key's, if it has one.
    key_name: Option<String>,
    unique: Vec<String>,
}

impl Table {
    /// What stands between the parentheses, in PostgreSQL's words.
    fn definition(&self, layout: &Layout, tag: &str) -> String {
        let mut parts = self.like.clone();
        for column in &self.columns {
            // A primary key's columns are not nullable, whether they say so or not.
            let implied = self.primary_key.contains(&column.name) && !column.not_null;
            parts.push(format!("{}{}", column.definition, if implied { " NOT NULL" } else { "" }));
        }
        let encodings = self.columns.iter().enumerate();
        parts.extend(
            encodings
                .filter_map(|(position, column)| column.remembered_encoding(&format!("{position}_{tag}"))),
        );
        parts.extend(layout.constraints(tag));
        if let Some(name) = &self.key_name {
            parts.push(remembering(&format!("named_key_{name}"), &self.primary_key));
            return parts.join(", ");
        }
        let key: Vec<String> = self.primary_key.iter().chain(&self.unique).cloned().collect();
        if !key.is_empty() {
            parts.push(declared_key(&key, tag));
        }
        parts.join(", ")
    }

    fn element(&mut self, cursor: &mut Cursor<'_>, tag: &str) -> Result<(), SqlError> {
        if cursor.eat(&["like"]) {
            return self.like(cursor);
        }
        let name = if cursor.eat(&["constraint"]) { Some(cursor.identifier()?) } else { None };
        if cursor.eat(&["primary", "key"]) {
            self.primary_key.extend(cursor.column_list()?);
            self.key_name = name;
            return Ok(());
        }
        if cursor.eat(&["unique"]) {
            self.unique.extend(cursor.column_list()?);
            return Ok(());
        }
        if cursor.sees(&["check"]) || cursor.sees(&["exclude"]) {
            return Err(SqlError::Refused("CHECK constraints are not supported.".to_owned()));
        }
        if cursor.sees(&["foreign"]) {
            return Err(SqlError::Unsupported("FOREIGN KEY".to_owned()));
        }
        let tag = format!("{tag}_{}", self.columns.len() + 1);
        let column = Column::parse(cursor, &tag)?;
        if column.primary_key {
            self.primary_key.push(column.name.clone());
        }
        if column.unique {
            self.unique.push(column.name.clone());
        }
        self.columns.push(column);
        Ok(())
    }

    fn like(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let parent = cursor.table()?;
        let defaults = cursor.eat(&["including", "defaults"]);
        if !defaults {
            cursor.eat(&["excluding", "defaults"]);
        }
        let defaults = if defaults { " INCLUDING DEFAULTS" } else { "" };
        self.like.push(format!("LIKE {parent} INCLUDING CONSTRAINTS{defaults}"));
        self.parents.push(parent);
        Ok(())
    }
}

/// One column, as `CREATE TABLE` and `ADD COLUMN` have it.
pub(super) struct Column {
    pub(super) name: String,
    /// In PostgreSQL's words.
    pub(super) definition: String,
    pub(super) not_null: bool,
    pub(super) default: Option<String>,
    primary_key: bool,
    unique: bool,
    /// An attribute that only `CREATE TABLE` takes: DISTKEY, SORTKEY, REFERENCES…
    pub(super) table_only: Option<&'static str>,
    column_type: ColumnType,
    is_distkey: bool,
    is_sortkey: bool,
    /// One that keeps it from being widened.
    encoding: Option<&'static str>,
}

impl Column {
    /// What remembers its encoding, if that keeps it from being widened.
    pub(super) fn remembered_encoding(&self, tag: &str) -> Option<String> {
        let encoding = self.encoding?;
        Some(remembering(&format!("encode_{encoding}_{tag}"), std::slice::from_ref(&self.name)))
    }

    pub(super) fn parse(cursor: &mut Cursor<'_>, tag: &str) -> Result<Self, SqlError> {
        let name = cursor.new_column()?;
        let column_type = ColumnType::parse(cursor)?;
        let mut column = Self {
            name,
            definition: String::new(),
            not_null: false,
            default: None,
            primary_key: false,
            unique: false,
            table_only: None,
            column_type,
            is_distkey: false,
            is_sortkey: false,
            encoding: None,
        };
        while column.attribute(cursor)? {}
        let mut definition = format!("{} {}", quoted(&column.name), column_type.postgres());
        if let Some(default) = &column.default {
            definition.push_str(" DEFAULT ");
            definition.push_str(default);
        }
        if column.not_null {
            definition.push_str(" NOT NULL");
        }
        if let Some(check) = column_type.length_check(&column.name, tag) {
            definition.push(' ');
            definition.push_str(&check);
        }
        column.definition = definition;
        Ok(column)
    }

    /// Reads one attribute; false if there is none.
    fn attribute(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, SqlError> {
        if cursor.eat(&["default"]) {
            let expression = cursor.take_until(ends_default)?;
            self.default = Some(query::translate_expression(expression)?);
        } else if cursor.eat(&["not", "null"]) {
            self.not_null = true;
        } else if cursor.eat(&["null"]) {
        } else if cursor.eat(&["encode"]) {
            let encoding = cursor.word()?;
            if encoding != "zstd" && !ENCODINGS.contains(&encoding) {
                return Err(SqlError::Syntax(encoding.to_owned()));
            }
            let rigid = ["bytedict", "runlength", "text255", "text32k"];
            self.encoding = rigid.into_iter().find(|rigid| *rigid == encoding);
        } else if cursor.eat(&["distkey"]) {
            self.table_only = Some("DISTKEY");
            self.is_distkey = true;
        } else if cursor.eat(&["sortkey"]) {
            self.table_only = Some("SORTKEY");
            self.is_sortkey = true;
        } else if cursor.eat(&["primary", "key"]) {
            self.primary_key = true;
            self.table_only = Some("PRIMARY KEY");
        } else if cursor.eat(&["unique"]) {
            self.unique = true;
            self.table_only = Some("UNIQUE");
        } else if cursor.sees(&["identity"]) || cursor.sees(&["generated"]) {
            return Err(SqlError::Unsupported("IDENTITY".to_owned()));
        } else if cursor.sees(&["references"]) {
            return Err(SqlError::Unsupported("REFERENCES".to_owned()));
        } else if cursor.sees(&["collate"]) {
            return Err(SqlError::Unsupported("COLLATE".to_owned()));
        } else if cursor.sees(&["check"]) {
            return Err(SqlError::Refused("CHECK constraints are not supported.".to_owned()));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

fn ends_default(token: &Token) -> bool {
    match &token.kind {
        Kind::Symbol(symbol) => *symbol == ",",
        Kind::Word(word) => {
            ["not", "encode", "distkey", "sortkey", "primary", "unique", "references", "identity"]
                .contains(&word.as_str())
        }
        _ => false,
    }
}

/// What a table's name may be for messages.
pub(super) fn shown(name: &TableName) -> String {
    name.name.clone()
}
