//! What a statement asks for, and which parser reads it.

use super::alter_table::{self, LayoutChange, Removal, Widening};
use super::copy_statement::CopyStatement;
use super::create_table;
use super::cursor::Cursor;
use super::lexer::{Kind, Token};
use super::names::TableName;
use super::query;
use super::touched::Touched;
use super::{SqlError, literal, quoted};

/// A statement, checked; SQL text inside is PostgreSQL's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Returns rows.
    Query {
        sql: String,
        touched: Touched,
    },
    /// Changes rows; their number is the result.
    Change {
        sql: String,
        /// The table that is changed, for messages.
        table: String,
        touched: Touched,
    },
    /// Anything else that PostgreSQL does in one statement.
    Utility {
        sql: String,
        touched: Touched,
    },
    /// `LOCK`, which takes no snapshot.
    Lock(String),
    /// `SET`, which takes none either.
    Set(String),
    /// `ALTER TABLE … ALTER COLUMN … TYPE`: needs a look at the catalog, and never runs in a transaction.
    Widen(Widening),
    DropColumn(Removal),
    /// Taken outside of transactions only: the documentation does not say more.
    AlterLayout(LayoutChange),
    /// `BEGIN` and its synonyms.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// Commits the running transaction.
    Truncate(TableName),
    /// Never runs in a transaction; there is nothing to do.
    Vacuum,
    /// `ALTER TABLE … APPEND`: never runs in a transaction, and is not done outside of one either.
    Append,
    /// `COPY … FROM 's3://…'`
    Copy(CopyStatement),
    /// A setting without a meaning here.
    Nothing,
}

/// Reads one statement. `tag` makes names unique that the translation needs; it is of lower-case letters and digits.
pub(crate) fn parse(tokens: &[Token], tag: &str) -> Result<Command, SqlError> {
    if tokens.iter().any(|token| token.kind == Kind::Symbol(";")) {
        return Err(SqlError::Refused(
            "cannot insert multiple commands into a prepared statement".to_owned(),
        ));
    }
    let mut cursor = Cursor::new(tokens);
    let first = match cursor.rest().first() {
        Some(Token { kind: Kind::Word(word), .. }) => word.as_str(),
        Some(Token { kind: Kind::Symbol("("), .. }) => "select",
        _ => return Err(cursor.syntax_error()),
    };
    match first {
        "select" | "with" => query::select(tokens),
        "insert" => query::insert(tokens),
        "update" => query::update(tokens),
        "delete" => query::delete(tokens),
        "merge" => query::merge(tokens),
        "copy" => CopyStatement::parse(&mut cursor).map(Command::Copy),
        "lock" => lock(&mut cursor),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" => transaction(&mut cursor),
        "create" => create(&mut cursor, tag),
        "alter" if cursor.sees(&["alter", "table"]) => alter_table::parse(&mut cursor, tag),
        "drop" => drop(&mut cursor),
        "truncate" => truncate(&mut cursor),
        "vacuum" => Ok(Command::Vacuum),
        "analyze" => analyze(&mut cursor),
        "set" => set(&mut cursor),
        "savepoint" | "release" => {
            Err(SqlError::Refused(format!("SQL command \"{}\" not supported.", first.to_uppercase())))
        }
        "alter" | "call" | "cancel" | "close" | "comment" | "deallocate" | "declare" | "desc" | "execute"
        | "explain" | "fetch" | "grant" | "prepare" | "refresh" | "reset" | "revoke" | "show" | "unload"
        | "use" => Err(SqlError::Unsupported(first.to_uppercase())),
        other => Err(SqlError::Syntax(other.to_owned())),
    }
}

/// `LOCK [TABLE] t, …`: Redshift knows one mode only.
fn lock(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    cursor.expect(&["lock"])?;
    cursor.eat(&["table"]);
    let tables = tables(cursor)?;
    cursor.expect_end()?;
    Ok(Command::Lock(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names(&tables))))
}

fn transaction(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    let command = match cursor.word()? {
        "begin" => Command::Begin,
        "start" => {
            if !cursor.sees(&["transaction"]) {
                return Err(cursor.syntax_error());
            }
            Command::Begin
        }
        "commit" | "end" => Command::Commit,
        _ => Command::Rollback,
    };
    let _ = cursor.eat(&["work"]) || cursor.eat(&["transaction"]);
    if command == Command::Rollback && cursor.sees(&["to"]) {
        return Err(SqlError::Refused("SQL command \"ROLLBACK TO SAVEPOINT\" not supported.".to_owned()));
    }
    if command == Command::Begin {
        // Every level maps to the database's own.
        if cursor.eat(&["isolation", "level"]) {
            let known = cursor.eat(&["serializable"])
                || cursor.eat(&["snapshot"])
                || cursor.eat(&["repeatable", "read"])
                || cursor.eat(&["read", "committed"])
                || cursor.eat(&["read", "uncommitted"]);
            if !known {
                return Err(cursor.syntax_error());
            }
        }
        cursor.eat(&["read", "write"]);
    }
    cursor.expect_end()?;
    Ok(command)
}

fn create(cursor: &mut Cursor<'_>, tag: &str) -> Result<Command, SqlError> {
    let all = cursor.rest();
    cursor.expect(&["create"])?;
    if cursor.eat(&["schema"]) {
        return create_schema(cursor);
    }
    if cursor.sees(&["view"]) || cursor.sees(&["or", "replace", "view"]) {
        return query::create_view(cursor);
    }
    let local = cursor.eat(&["local"]);
    let temporary = cursor.eat(&["temp"]) || cursor.eat(&["temporary"]);
    if local && !temporary {
        return Err(cursor.syntax_error());
    }
    if cursor.eat(&["table"]) {
        return create_table::parse(cursor, temporary, tag);
    }
    let what = cursor.word()?;
    match what {
        "unique" | "index" | "sequence" | "trigger" | "type" | "extension" | "rule" | "domain"
        | "operator" => {
            let shown: Vec<String> = all.iter().take(3).map(Token::shown).collect();
            Err(SqlError::Refused(format!(
                "SQL command \"{}\" not supported on Redshift tables.",
                shown.join(" ").to_uppercase()
            )))
        }
        other => Err(SqlError::Unsupported(format!("CREATE {}", other.to_uppercase()))),
    }
}

fn create_schema(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    let if_not_exists = cursor.eat(&["if", "not", "exists"]);
    let name = TableName::new(Some(cursor.identifier()?), String::new())?.schema.unwrap_or_default();
    if name.starts_with("pg_") {
        return Err(SqlError::Refused(format!("unacceptable schema name \"{name}\"")));
    }
    if cursor.sees(&["authorization"]) || cursor.sees(&["quota"]) {
        return Err(SqlError::Unsupported("CREATE SCHEMA with AUTHORIZATION or QUOTA".to_owned()));
    }
    cursor.expect_end()?;
    let condition = if if_not_exists { "IF NOT EXISTS " } else { "" };
    let sql = format!("CREATE SCHEMA {condition}{}", quoted(&name));
    Ok(Command::Utility { sql, touched: Touched::default() })
}

fn drop(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    cursor.expect(&["drop"])?;
    let kind = cursor.word()?;
    let kind = match kind {
        "table" | "schema" | "view" => kind.to_uppercase(),
        other => return Err(SqlError::Unsupported(format!("DROP {}", other.to_uppercase()))),
    };
    let condition = if cursor.eat(&["if", "exists"]) { "IF EXISTS " } else { "" };
    let tables = tables(cursor)?;
    let behaviour = if cursor.eat(&["cascade"]) { " CASCADE" } else { "" };
    if behaviour.is_empty() {
        cursor.eat(&["restrict"]);
    }
    cursor.expect_end()?;
    let sql = format!("DROP {kind} {condition}{}{behaviour}", names(&tables));
    let touched = if kind == "TABLE" { Touched::defines(tables) } else { Touched::default() };
    Ok(Command::Utility { sql, touched })
}

fn truncate(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    cursor.expect(&["truncate"])?;
    cursor.eat(&["table"]);
    let table = cursor.table()?;
    cursor.expect_end()?;
    Ok(Command::Truncate(table))
}

fn analyze(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    cursor.expect(&["analyze"])?;
    if cursor.is_at_end() {
        return Ok(Command::Nothing);
    }
    let table = cursor.table()?;
    if !cursor.is_at_end() {
        return Err(SqlError::Unsupported("ANALYZE with options".to_owned()));
    }
    Ok(Command::Set(format!("ANALYZE {table}")))
}

fn set(cursor: &mut Cursor<'_>) -> Result<Command, SqlError> {
    cursor.expect(&["set"])?;
    cursor.eat(&["session"]);
    let name = cursor.word()?;
    if !cursor.eat(&["to"]) {
        cursor.expect_symbol("=")?;
    }
    match name {
        "query_group" => {
            let _: Option<&Token> = cursor.next();
            cursor.expect_end()?;
            Ok(Command::Nothing)
        }
        "statement_timeout" => {
            let milliseconds = cursor.integer()?;
            cursor.expect_end()?;
            Ok(Command::Set(format!("SET statement_timeout TO {milliseconds}")))
        }
        "search_path" => {
            let mut schemas = vec![cursor.identifier()?];
            while cursor.eat_symbol(",") {
                schemas.push(cursor.identifier()?);
            }
            cursor.expect_end()?;
            // Redshift's own functions and views stay reachable.
            schemas.push(super::names::OWN_SCHEMA_PREFIX.to_owned());
            let schemas: Vec<String> = schemas.iter().map(|schema| quoted(schema)).collect();
            Ok(Command::Set(format!("SET search_path TO {}", schemas.join(", "))))
        }
        "timezone" => {
            let zone = literal(cursor.string()?);
            cursor.expect_end()?;
            Ok(Command::Set(format!("SET timezone TO {zone}")))
        }
        other => Err(SqlError::Unsupported(format!("SET {other}"))),
    }
}

fn tables(cursor: &mut Cursor<'_>) -> Result<Vec<TableName>, SqlError> {
    let mut tables = vec![cursor.table()?];
    while cursor.eat_symbol(",") {
        tables.push(cursor.table()?);
    }
    Ok(tables)
}

fn names(tables: &[TableName]) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
