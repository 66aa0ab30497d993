//! One statement on one connection: translated, run, its failure said in Redshift's words.

use tokio_postgres::SimpleQueryMessage;

use super::StandIn;
use super::catalog;
use super::copy::{CopyError, copy};
use super::results::{self, ResultSet};
use super::sql::{self, ColumnType, Command, SqlError};
use super::warehouse::Connection;

/// What a statement did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Returned or changed; -1 for none.
    pub(super) rows: i64,
    pub(super) result: Option<ResultSet>,
}

const NOTHING: Outcome = Outcome { rows: -1, result: None };

/// Whether the statement is part of a batch that is one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// It commits by itself, unless the client said BEGIN.
    None,
    /// The batch's transaction must not be ended by its statements.
    Batch,
}

/// Runs one statement. The error is the client's message, without `ERROR: `.
pub(super) async fn execute(
    stand_in: &StandIn,
    connection: &mut Connection,
    sql: &str,
    parameters: &[(String, String)],
    wrapping: Wrapping,
    query_id: i64,
) -> Result<Outcome, String> {
    let command = translate(sql, parameters, query_id).map_err(|error| error.to_string())?;
    match command {
        Command::Query(sql) => {
            let result = results::query(&connection.client, &sql).await.map_err(|e| catalog::message(&e))?;
            Ok(Outcome { rows: count(result.records.len()), result: Some(result) })
        }
        Command::Change { sql, table } => {
            let changed =
                run(connection, &sql).await.map_err(|error| catalog::message_for(&error, &table))?;
            Ok(Outcome { rows: changed, result: None })
        }
        Command::Utility(sql) => {
            run(connection, &sql).await.map_err(|error| catalog::message(&error))?;
            Ok(NOTHING)
        }
        Command::Begin | Command::Commit | Command::Rollback if wrapping == Wrapping::Batch => {
            Err("transaction control in a TRANSACTION batch is not supported by the stand-in".to_owned())
        }
        Command::Begin => transaction(connection, "BEGIN", true).await,
        Command::Commit => transaction(connection, "COMMIT", false).await,
        Command::Rollback => transaction(connection, "ROLLBACK", false).await,
        Command::Truncate(table) => {
            // TRUNCATE commits what was before it, and itself.
            if connection.in_transaction {
                transaction(connection, "COMMIT", false).await?;
            }
            let truncated = run(connection, &format!("TRUNCATE TABLE {table}")).await;
            if wrapping == Wrapping::Batch {
                transaction(connection, "BEGIN", true).await?;
            }
            truncated.map(|_| NOTHING).map_err(|error| catalog::message(&error))
        }
        Command::Vacuum if connection.in_transaction => {
            Err("VACUUM cannot run inside a transaction block".to_owned())
        }
        Command::Vacuum | Command::Nothing => Ok(NOTHING),
        Command::AlterLayout(change) => alter_layout(connection, &change).await,
        Command::DropColumn(removal) => drop_column(connection, &removal).await,
        Command::Widen(widening) => widen(connection, &widening).await,
        Command::Copy(statement) => load(stand_in, connection, &statement, query_id).await,
    }
}

fn translate(sql: &str, parameters: &[(String, String)], query_id: i64) -> Result<Command, SqlError> {
    let mut tokens = sql::tokens(sql)?;
    sql::bind(&mut tokens, parameters);
    sql::parse(&tokens, &format!("q{query_id}"))
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Runs PostgreSQL's SQL; returns the number of rows that were changed.
async fn run(connection: &Connection, sql: &str) -> Result<i64, tokio_postgres::Error> {
    let mut changed = 0;
    for message in connection.client.simple_query(sql).await? {
        if let SimpleQueryMessage::CommandComplete(rows) = message {
            changed = i64::try_from(rows).unwrap_or(i64::MAX);
        }
    }
    Ok(changed)
}

async fn transaction(connection: &mut Connection, word: &str, open: bool) -> Result<Outcome, String> {
    // COMMIT of a failed transaction is answered by ROLLBACK, so it is over either way.
    connection.in_transaction = open;
    run(connection, word).await.map_err(|error| catalog::message(&error))?;
    Ok(NOTHING)
}

/// `ALTER COLUMN … TYPE VARCHAR(n)` with Redshift's conditions (`redshift.md`, 3.2).
async fn widen(connection: &Connection, widening: &sql::Widening) -> Result<Outcome, String> {
    if connection.in_transaction {
        return Err("ALTER TABLE ALTER COLUMN cannot run inside a transaction block".to_owned());
    }
    let (table, name) = (&widening.table, &widening.column);
    let database = |error: tokio_postgres::Error| catalog::message(&error);
    let columns = catalog::columns(&connection.client, table).await.map_err(database)?;
    let columns = columns.ok_or_else(|| format!("relation \"{}\" does not exist", table.name))?;
    let column = columns.into_iter().find(|column| column.name == *name);
    let Some(column) = column else {
        return Err(format!("column \"{name}\" of relation \"{}\" does not exist", table.name));
    };
    let refused = |reason: &str| {
        Err(format!("cannot alter column \"{name}\" of relation \"{}\", {reason}", table.name))
    };
    match column.column_type {
        Some(ColumnType::Varchar(bytes)) if bytes == widening.bytes => {
            return refused("target column size should be different");
        }
        Some(ColumnType::Varchar(_)) => {}
        _ => return refused("column type is not VARCHAR"),
    }
    if column.declared_key {
        return refused("column is part of a PRIMARY KEY or UNIQUE constraint");
    }
    if column.is_rigid {
        return refused("column's encoding does not allow it");
    }
    if column.has_default {
        return refused("column has a default expression");
    }
    let quoted = sql::quoted(name);
    let longest = format!("SELECT COALESCE(MAX(octet_length({quoted})), 0)::bigint FROM {table}");
    let longest = connection.client.query_one(&longest, &[]).await.map_err(database)?;
    if longest.try_get::<_, i64>(0).map_err(database)? > i64::from(widening.bytes) {
        return refused("target column size should be greater or equal to current maximum column size");
    }
    let new_type = ColumnType::Varchar(widening.bytes);
    let mut changes: Vec<String> =
        column.length_checks.iter().map(|check| format!("DROP CONSTRAINT {}", sql::quoted(check))).collect();
    changes.push(format!("ALTER COLUMN {quoted} TYPE {}", new_type.postgres()));
    changes.extend(new_type.length_check(name, &widening.tag).map(|check| format!("ADD {check}")));
    run(connection, &format!("ALTER TABLE {table} {}", changes.join(", "))).await.map_err(database)?;
    Ok(NOTHING)
}

/// `ALTER DISTSTYLE`, `ALTER SORTKEY`: what is remembered of the table's columns goes.
async fn alter_layout(connection: &Connection, change: &sql::LayoutChange) -> Result<Outcome, String> {
    if connection.in_transaction {
        return Err(
            "ALTER TABLE ALTER DISTSTYLE or SORTKEY inside a transaction block is not documented".to_owned()
        );
    }
    let database = |error: tokio_postgres::Error| catalog::message(&error);
    let columns = catalog::columns(&connection.client, &change.table).await.map_err(database)?;
    let columns = columns.ok_or_else(|| format!("relation \"{}\" does not exist", change.table.name))?;
    let remembered = columns.iter().flat_map(|column| match change.forgotten {
        Some(sql::Forgotten::DistKey) => column.distkey.as_slice(),
        Some(sql::Forgotten::SortKey) => column.sortkey.as_slice(),
        None => &[],
    });
    for name in remembered {
        if name.starts_with("interleaved_") {
            return Err("interleaved sort keys can't be altered".to_owned());
        }
        let sql = format!("ALTER TABLE {} DROP CONSTRAINT {}", change.table, sql::quoted(name));
        run(connection, &sql).await.map_err(database)?;
    }
    Ok(NOTHING)
}

/// A table keeps at least one column, and those that it is distributed or sorted by.
async fn drop_column(connection: &Connection, removal: &sql::Removal) -> Result<Outcome, String> {
    let (table, name) = (&removal.table, &removal.column);
    let database = |error: tokio_postgres::Error| catalog::message(&error);
    let columns = catalog::columns(&connection.client, table).await.map_err(database)?;
    let columns = columns.unwrap_or_default();
    if let [only] = columns.as_slice()
        && only.name == *name
    {
        return Err(format!("cannot drop column \"{name}\" of table \"{}\", its only one", table.name));
    }
    if let Some(column) = columns.iter().find(|column| column.name == *name) {
        if !column.distkey.is_empty() {
            return Err(format!("cannot drop distkey column \"{name}\""));
        }
        if !column.sortkey.is_empty() {
            return Err(format!("cannot drop sortkey column \"{name}\""));
        }
        if column.declared_key && !removal.cascade {
            return Err(format!(
                "cannot drop table {} column {name} because other objects depend on it",
                table.name
            ));
        }
    }
    let behaviour = if removal.cascade { " CASCADE" } else { "" };
    let sql = format!("ALTER TABLE {table} DROP COLUMN {}{behaviour}", sql::quoted(name));
    run(connection, &sql).await.map_err(database)?;
    Ok(NOTHING)
}

async fn load(
    stand_in: &StandIn,
    connection: &Connection,
    statement: &sql::CopyStatement,
    query_id: i64,
) -> Result<Outcome, String> {
    let failure = match copy(&connection.client, &stand_in.objects, statement).await {
        Ok(rows) => {
            let rows = i64::try_from(rows).unwrap_or(i64::MAX);
            let remember = format!("SELECT set_config('re_dms_standin.last_copy_count', '{rows}', false)");
            run(connection, &remember).await.map_err(|error| catalog::message(&error))?;
            return Ok(Outcome { rows, result: None });
        }
        Err(failure) => failure,
    };
    let table = &statement.table.name;
    match failure {
        CopyError::Refused(message) => Err(message),
        CopyError::Database(error) => Err(catalog::message_for(&error, table)),
        CopyError::Load(row) => {
            tracing::info!(query_id, code = row.code, line = row.line, file = row.file, "load failed");
            if let Err(error) = stand_in.warehouse.keep_load_error(query_id, connection.pid, &row).await {
                tracing::error!(%error, "a load error could not be kept");
            }
            Err(format!(
                "Load into table '{table}' failed. Check 'sys_load_error_detail' system table for details."
            ))
        }
    }
}
