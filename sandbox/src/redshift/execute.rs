//! One statement on one connection: translated, run in its transaction or in one of its own, its failure said in Redshift's
//! words.

use tokio_postgres::SimpleQueryMessage;

use super::StandIn;
use super::alter;
use super::catalog::{self, Failure};
use super::copy::{CopyError, copy};
use super::results::{self, ResultSet};
use super::sql::{self, Command, SqlError, Touched, Write};
use super::transaction::{self, Phase};
use super::warehouse::Connection;

/// What a statement did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Returned or changed; -1 for none.
    pub(super) rows: i64,
    pub(super) result: Option<ResultSet>,
}

pub(super) const NOTHING: Outcome = Outcome { rows: -1, result: None };

/// Whether the statement is part of a batch that is one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// It commits by itself, unless the client said BEGIN.
    None,
    /// The batch's transaction must not be ended by its statements.
    Batch,
}

/// Runs one statement.
pub(super) async fn execute(
    stand_in: &StandIn,
    connection: &mut Connection,
    sql: &str,
    parameters: &[(String, String)],
    wrapping: Wrapping,
    query_id: i64,
) -> Result<Outcome, Failure> {
    let command = translate(stand_in, sql, parameters, query_id).map_err(Failure::from);
    run_command(stand_in, connection, command, wrapping, query_id).await
}

/// Runs what was translated, or fails as the translation did.
pub(super) async fn run_command(
    stand_in: &StandIn,
    connection: &mut Connection,
    command: Result<Command, Failure>,
    wrapping: Wrapping,
    query_id: i64,
) -> Result<Outcome, Failure> {
    let ends = matches!(command, Ok(Command::Commit | Command::Rollback));
    if connection.transaction.phase == Phase::Failed && !ends {
        return Err(Failure {
            code: "25P02".to_owned(),
            message: "current transaction is aborted, commands ignored until end of transaction block"
                .to_owned(),
        });
    }
    let ran = match command {
        Ok(command) => dispatch(stand_in, connection, command, wrapping, query_id).await,
        Err(failure) => Err(failure),
    };
    // Also if it did not get as far as the database.
    if ran.is_err() {
        connection.transaction.fail();
    }
    ran
}

async fn dispatch(
    stand_in: &StandIn,
    connection: &mut Connection,
    command: Command,
    wrapping: Wrapping,
    query_id: i64,
) -> Result<Outcome, Failure> {
    let open = connection.transaction.phase == Phase::Open;
    stand_in.faults.refusal(changes(&command))?;
    match command {
        Command::Begin | Command::Commit | Command::Rollback if wrapping == Wrapping::Batch => {
            end_batch(stand_in, connection, &command).await
        }
        Command::Begin => transaction::begin(connection).await.map(|()| NOTHING),
        Command::Commit => transaction::commit(stand_in, connection).await.map(|()| NOTHING),
        Command::Rollback => transaction::roll_back(connection).await.map(|()| NOTHING),
        Command::Truncate(table) => {
            // TRUNCATE commits what was before it, and itself.
            transaction::commit(stand_in, connection).await?;
            let sql = format!("TRUNCATE TABLE {table}");
            let touched = Touched::writes(table, Write::Change, Vec::new());
            let command = Command::Utility { sql, touched };
            let truncated = in_own_transaction(stand_in, connection, command, query_id).await;
            if wrapping == Wrapping::Batch {
                transaction::begin(connection).await?;
            }
            truncated
        }
        Command::Vacuum if open => Err("VACUUM cannot run inside a transaction block".into()),
        Command::Append if open => Err("ALTER TABLE APPEND cannot run inside a transaction block".into()),
        Command::Append => Err("ALTER TABLE APPEND is not supported by the stand-in".into()),
        Command::Vacuum | Command::Nothing => Ok(NOTHING),
        Command::Widen(_) if open => {
            Err("ALTER TABLE ALTER COLUMN cannot run inside a transaction block".into())
        }
        Command::AlterLayout(_) if open => {
            Err("ALTER TABLE ALTER DISTSTYLE or SORTKEY inside a transaction block is not documented".into())
        }
        Command::Lock(sql) | Command::Set(sql) => {
            run(connection, &sql).await?;
            Ok(NOTHING)
        }
        command if open => in_transaction(stand_in, connection, command, query_id).await,
        command => in_own_transaction(stand_in, connection, command, query_id).await,
    }
}

/// Transaction control within a batch that is one transaction.
async fn end_batch(
    stand_in: &StandIn,
    connection: &mut Connection,
    command: &Command,
) -> Result<Outcome, Failure> {
    if !stand_in.settings().open_points.batches_may_commit {
        return Err("transaction control in a TRANSACTION batch is not supported by the stand-in".into());
    }
    match command {
        Command::Commit => transaction::commit(stand_in, connection).await?,
        Command::Rollback => transaction::roll_back(connection).await?,
        _ => {}
    }
    transaction::begin(connection).await?;
    Ok(NOTHING)
}

async fn in_own_transaction(
    stand_in: &StandIn,
    connection: &mut Connection,
    command: Command,
    query_id: i64,
) -> Result<Outcome, Failure> {
    transaction::begin(connection).await?;
    let ran = in_transaction(stand_in, connection, command, query_id).await;
    match ran {
        Ok(outcome) => transaction::commit(stand_in, connection).await.map(|()| outcome),
        Err(failure) => {
            if !connection.client.is_closed() {
                transaction::roll_back(connection).await?;
            }
            Err(failure)
        }
    }
}

async fn in_transaction(
    stand_in: &StandIn,
    connection: &mut Connection,
    command: Command,
    query_id: i64,
) -> Result<Outcome, Failure> {
    transaction::take_snapshot(stand_in, connection).await?;
    let may_follow_alter = stand_in.settings().open_points.copies_may_follow_alter;
    if let (Command::Copy(statement), false) = (&command, may_follow_alter)
        && let Some(table) = catalog::find(&connection.client, &statement.table).await?
        && connection.transaction.defines(table.oid)
    {
        return Err("COPY into a table that the transaction altered is not supported by the stand-in".into());
    }
    transaction::touch(stand_in, connection, &touched(&command)).await?;
    match command {
        Command::Query { sql, .. } => {
            let result = results::query(&connection.client, &sql).await?;
            Ok(Outcome { rows: count(result.rows.len()), result: Some(result) })
        }
        Command::Change { sql, table, .. } => {
            let changed = run(connection, &sql).await.map_err(|error| Failure::of(&error, &table))?;
            Ok(Outcome { rows: changed, result: None })
        }
        Command::Utility { sql, .. } => {
            run(connection, &sql).await?;
            Ok(NOTHING)
        }
        Command::DropColumn(removal) => alter::drop_column(connection, &removal).await,
        Command::Widen(widening) => alter::widen(connection, &widening).await,
        Command::AlterLayout(change) => alter::alter_layout(connection, &change).await,
        Command::Copy(statement) => load(stand_in, connection, &statement, query_id).await,
        _ => Ok(NOTHING),
    }
}

/// Checks a statement and says it in PostgreSQL's words.
pub(super) fn translate(
    stand_in: &StandIn,
    sql: &str,
    parameters: &[(String, String)],
    query_id: i64,
) -> Result<Command, SqlError> {
    let strings = stand_in.copy_strings();
    let mut tokens = sql::tokens_with(sql, strings)?;
    sql::bind(&mut tokens, parameters);
    sql::parse(&tokens, &format!("q{query_id}"))
}

fn touched(command: &Command) -> Touched {
    match command {
        Command::Query { touched, .. }
        | Command::Change { touched, .. }
        | Command::Utility { touched, .. } => touched.clone(),
        Command::Copy(copy) => Touched::writes(copy.table.clone(), Write::Append, Vec::new()),
        Command::DropColumn(removal) => Touched::defines([removal.table.clone()]),
        Command::Widen(widening) => Touched::defines([widening.table.clone()]),
        Command::AlterLayout(change) => Touched::defines([change.table.clone()]),
        _ => Touched::default(),
    }
}

/// Whether the statement takes room or changes something.
fn changes(command: &Command) -> bool {
    match command {
        Command::Change { .. } | Command::Copy(_) | Command::Utility { .. } | Command::Truncate(_) => true,
        Command::DropColumn(_)
        | Command::Widen(_)
        | Command::AlterLayout(_)
        | Command::Vacuum
        | Command::Append => true,
        Command::Query { .. } | Command::Lock(_) | Command::Set(_) | Command::Nothing => false,
        Command::Begin | Command::Commit | Command::Rollback => false,
    }
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Runs PostgreSQL's SQL; returns the number of rows that were changed.
pub(super) async fn run(connection: &Connection, sql: &str) -> Result<i64, tokio_postgres::Error> {
    let mut changed = 0;
    for message in connection.client.simple_query(sql).await? {
        if let SimpleQueryMessage::CommandComplete(rows) = message {
            changed = i64::try_from(rows).unwrap_or(i64::MAX);
        }
    }
    Ok(changed)
}

async fn load(
    stand_in: &StandIn,
    connection: &Connection,
    statement: &sql::CopyStatement,
    query_id: i64,
) -> Result<Outcome, Failure> {
    stand_in.faults.fail_copy()?;
    let open_points = stand_in.settings().open_points;
    let failure = match copy(&connection.client, &stand_in.objects, statement, open_points).await {
        Ok(rows) => {
            let rows = i64::try_from(rows).unwrap_or(i64::MAX);
            let remember = format!("SELECT set_config('re_dms_standin.last_copy_count', '{rows}', false)");
            run(connection, &remember).await?;
            return Ok(Outcome {
                rows: if open_points.copies_report_rows { rows } else { -1 },
                result: None,
            });
        }
        Err(failure) => failure,
    };
    let table = &statement.table.name;
    match failure {
        CopyError::Refused(message) => Err(message.into()),
        CopyError::Database(error) => Err(Failure::of(&error, table)),
        CopyError::Load(row) => {
            tracing::info!(query_id, code = row.code, line = row.line, file = row.file, "load failed");
            if let Err(error) = stand_in.warehouse.keep_load_error(query_id, connection.pid, &row).await {
                tracing::error!(%error, "a load error could not be kept");
            }
            Err(format!(
                "Load into table '{table}' failed. Check 'sys_load_error_detail' system table for details."
            )
            .into())
        }
    }
}
