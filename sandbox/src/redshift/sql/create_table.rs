//! `CREATE TABLE`. Distribution, sort keys and encodings are read, checked against Redshift's grammar and dropped; keys are
//! remembered but, as in Redshift, not enforced.

use super::command::Command;
use super::cursor::Cursor;
use super::lexer::{Kind, Token};
use super::names::TableName;
use super::query;
use super::touched::Touched;
use super::types::ColumnType;
use super::{SqlError, quoted};

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
    let keys = table_attributes(cursor)?;
    cursor.expect_end()?;
    table.mark(&keys)?;
    let sql = format!("{head} ({})", table.definition(tag));
    Ok(Command::Utility { sql, touched: Touched::reads(table.parents) })
}

/// A constraint that is always true: it remembers which columns were declared as a key.
fn declared_key(columns: &[String], tag: &str) -> String {
    let always: Vec<String> =
        columns.iter().map(|column| format!("({} IS NULL) IS NOT NULL", quoted(column))).collect();
    format!("CONSTRAINT \"declared_key_{tag}\" CHECK ({})", always.join(" AND "))
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
    unique: Vec<String>,
}

impl Table {
    /// What stands between the parentheses, in PostgreSQL's words.
    fn definition(&self, tag: &str) -> String {
        let mut parts = self.like.clone();
        for column in &self.columns {
            // A primary key's columns are not nullable, whether they say so or not.
            let implied = self.primary_key.contains(&column.name) && !column.not_null;
            parts.push(format!(
                "{}{}{}",
                column.definition,
                if implied { " NOT NULL" } else { "" },
                column.mark_constraints()
            ));
        }
        let key: Vec<String> = self.primary_key.iter().chain(&self.unique).cloned().collect();
        if !key.is_empty() {
            parts.push(declared_key(&key, tag));
        }
        parts.join(", ")
    }

    /// Remembers the keys that stand behind the columns.
    fn mark(&mut self, keys: &Keys) -> Result<(), SqlError> {
        for (mark, name) in keys {
            let column = self.columns.iter_mut().find(|column| column.name == *name);
            let Some(column) = column else {
                // Another table's, by LIKE: PostgreSQL has the last word.
                if self.like.is_empty() {
                    return Err(SqlError::Refused(format!("column \"{name}\" named in key does not exist")));
                }
                return Err(SqlError::Unsupported("a key on columns of LIKE".to_owned()));
            };
            column.check_key(mark)?;
            if !column.marks.contains(mark) {
                column.marks.push(mark);
            }
        }
        Ok(())
    }

    fn element(&mut self, cursor: &mut Cursor<'_>, tag: &str) -> Result<(), SqlError> {
        if cursor.eat(&["like"]) {
            return self.like(cursor);
        }
        if cursor.eat(&["constraint"]) {
            cursor.identifier()?;
        }
        if cursor.eat(&["primary", "key"]) {
            self.primary_key.extend(cursor.column_list()?);
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
    /// What later changes of the column are refused for: see [`MARKS`].
    marks: Vec<&'static str>,
    column_type: ColumnType,
    /// Makes the names of its constraints unique.
    tag: String,
}

/// Names of constraints that are always true and only remember something about a column: an encoding that keeps its length
/// fixed, and that it is part of a distribution or sort key.
pub(crate) const MARKS: [&str; 3] = ["encoded", "distkey", "sortkey"];

/// The encodings with which a column's length can't be changed.
const FIXED_LENGTH_ENCODINGS: [&str; 4] = ["bytedict", "runlength", "text255", "text32k"];

impl Column {
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
            marks: Vec::new(),
            column_type,
            tag: tag.to_owned(),
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
        for mark in column.marks.clone() {
            column.check_key(mark)?;
        }
        Ok(column)
    }

    /// Constraints that remember its marks.
    pub(super) fn mark_constraints(&self) -> String {
        let name = quoted(&self.name);
        let constraint =
            |mark: &&str| format!(" CONSTRAINT \"{mark}_{}\" CHECK (({name} IS NULL) IS NOT NULL)", self.tag);
        self.marks.iter().map(constraint).collect()
    }

    /// What has no order and no hash is no key.
    fn check_key(&self, mark: &str) -> Result<(), SqlError> {
        let keyless = matches!(self.column_type, ColumnType::Super | ColumnType::Varbyte(_));
        if keyless && mark != "encoded" {
            return Err(SqlError::Refused(format!(
                "column \"{}\" of type {} can't be a {}",
                self.name,
                self.column_type,
                mark.to_uppercase()
            )));
        }
        Ok(())
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
            if FIXED_LENGTH_ENCODINGS.contains(&encoding) {
                self.marks.push("encoded");
            }
        } else if cursor.eat(&["distkey"]) {
            self.table_only = Some("DISTKEY");
            self.marks.push("distkey");
        } else if cursor.eat(&["sortkey"]) {
            self.table_only = Some("SORTKEY");
            self.marks.push("sortkey");
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

/// Columns of distribution and sort keys, each with its mark.
type Keys = Vec<(&'static str, String)>;

/// What may follow the columns: `BACKUP`, `DISTSTYLE`, `DISTKEY`, `SORTKEY`, `ENCODE AUTO`.
fn table_attributes(cursor: &mut Cursor<'_>) -> Result<Keys, SqlError> {
    let mut keys = Keys::new();
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
        } else if cursor.eat(&["distkey"]) {
            let columns = cursor.column_list()?;
            if columns.len() != 1 {
                return Err(cursor.syntax_error());
            }
            keys.extend(columns.into_iter().map(|column| ("distkey", column)));
        } else if cursor.eat(&["sortkey", "auto"]) || cursor.eat(&["encode", "auto"]) {
        } else if cursor.eat(&["compound", "sortkey"])
            || cursor.eat(&["interleaved", "sortkey"])
            || cursor.eat(&["sortkey"])
        {
            keys.extend(cursor.column_list()?.into_iter().map(|column| ("sortkey", column)));
        } else if cursor.sees(&["partition"]) || cursor.sees(&["inherits"]) || cursor.sees(&["tablespace"]) {
            return Err(cursor.syntax_error());
        } else {
            return Ok(keys);
        }
    }
}

/// What a table's name may be for messages.
pub(super) fn shown(name: &TableName) -> String {
    name.name.clone()
}
