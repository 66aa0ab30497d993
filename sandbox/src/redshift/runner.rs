//! The life of a statement after it was handed in: picked, started, ended. Runs in a task of its own, so it goes on though its
//! caller died.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::StandIn;
use super::catalog::Failure;
use super::execute::{Wrapping, execute};
use super::statements::{Statement, Status};
use super::transaction::{self, Phase};
use super::warehouse::Connection;

/// How a run ended.
enum End {
    Finished,
    Failed(String),
    Cancelled,
}

/// Runs a statement to its end.
pub(super) async fn run(stand_in: Arc<StandIn>, statement: Arc<Statement>) {
    let started = Instant::now();
    statement.update(|state| state.status = Status::Picked);
    let session = statement.request.session.as_deref();
    let kept = session.and_then(|id| stand_in.sessions.take(id));
    let connection = match kept {
        Some(connection) => Ok(connection),
        None => stand_in
            .warehouse
            .connect_with(stand_in.settings().isolation)
            .await
            .map_err(|error| Failure::from(error).message),
    };
    let end = match connection {
        Ok(mut connection) => {
            let pid = connection.pid;
            statement.update(|state| {
                state.status = Status::Started;
                state.pid = pid;
            });
            let end = run_on(&stand_in, &statement, &mut connection).await;
            if let Some(id) = session {
                // A cancelled statement may still be under way on its connection, which ends the session.
                let usable = !matches!(end, End::Cancelled) && !connection.client.is_closed();
                stand_in.sessions.give_back(id, usable.then_some(connection));
            }
            end
        }
        Err(error) => {
            if let Some(id) = session {
                stand_in.sessions.give_back(id, None);
            }
            End::Failed(error)
        }
    };
    finish(&statement, end, started);
}

fn finish(statement: &Statement, end: End, started: Instant) {
    let duration = started.elapsed();
    let (status, error) = match end {
        End::Finished => (Status::Finished, None),
        End::Failed(message) => (Status::Failed, Some(message)),
        End::Cancelled => (Status::Aborted, Some("ERROR: Query cancelled on user's request".to_owned())),
    };
    statement.update(|state| {
        state.status = status;
        state.error = error;
        state.duration = duration;
        // What was not reached.
        for sub in state.subs.iter_mut().filter(|sub| !sub.status.is_terminal()) {
            sub.status = Status::Aborted;
        }
    });
    let state = statement.snapshot();
    let (id, statements, duration_ms) = (&statement.id, state.subs.len(), duration.as_millis());
    tracing::info!(id, status = status.name(), statements, duration_ms, pid = state.pid, "statement ended");
}

async fn run_on(stand_in: &StandIn, statement: &Statement, connection: &mut Connection) -> End {
    let cancel = connection.cancel_token();
    let end = tokio::select! {
        end = run_all(stand_in, statement, connection) => return end,
        () = statement.cancelled.notified() => End::Cancelled,
    };
    // Without this the server would only notice once it has something to say.
    if let Err(error) = cancel.cancel_query(tokio_postgres::NoTls).await {
        tracing::warn!(%error, "a query could not be cancelled");
    }
    end
}

async fn run_all(stand_in: &StandIn, statement: &Statement, connection: &mut Connection) -> End {
    // COMMIT and ROLLBACK of a session are executions too.
    let fault = stand_in.faults.fail_execution();
    if let Some((error, false)) = &fault {
        return End::Failed(format!("ERROR: {error}"));
    }
    let end = if statement.request.transaction {
        run_transaction(stand_in, statement, connection).await
    } else {
        run_each(stand_in, statement, connection).await
    };
    match (end, fault) {
        (End::Finished, Some((error, true))) => End::Failed(format!("ERROR: {error}")),
        (end, _) => end,
    }
}

/// A batch as one transaction: the first failure rolls back all.
async fn run_transaction(stand_in: &StandIn, statement: &Statement, connection: &mut Connection) -> End {
    if connection.transaction.phase != Phase::None {
        return End::Failed(
            "ERROR: a TRANSACTION batch in a session's open transaction is not supported by the stand-in"
                .to_owned(),
        );
    }
    if let Err(failure) = transaction::begin(connection).await {
        return End::Failed(format!("ERROR: {}", failure.message));
    }
    for position in 0..statement.request.sqls.len() {
        if let Err(error) = run_one(stand_in, statement, position, connection, Wrapping::Batch).await {
            if let Err(failure) = transaction::roll_back(connection).await {
                tracing::warn!(failure.message, "a transaction could not be rolled back");
            }
            return End::Failed(error);
        }
    }
    match transaction::commit(stand_in, connection).await {
        Ok(()) => End::Finished,
        Err(failure) => End::Failed(format!("ERROR: {}", failure.message)),
    }
}

/// Every statement commits by itself, and a failure does not stop the rest.
async fn run_each(stand_in: &StandIn, statement: &Statement, connection: &mut Connection) -> End {
    let mut end = End::Finished;
    for position in 0..statement.request.sqls.len() {
        if let Err(error) = run_one(stand_in, statement, position, connection, Wrapping::None).await {
            end = End::Failed(error);
        }
    }
    end
}

async fn run_one(
    stand_in: &StandIn,
    statement: &Statement,
    position: usize,
    connection: &mut Connection,
    wrapping: Wrapping,
) -> Result<(), String> {
    let Some(sql) = statement.request.sqls.get(position) else { return Ok(()) };
    let query_id = stand_in.query_ids.fetch_add(1, Ordering::Relaxed);
    let started = Instant::now();
    statement.update_sub(position, |sub| {
        sub.status = Status::Started;
        sub.query_id = query_id;
    });
    tokio::time::sleep(stand_in.faults.latency()).await;
    let outcome = execute(stand_in, connection, sql, &statement.request.parameters, wrapping, query_id).await;
    let duration = started.elapsed();
    match outcome {
        Ok(outcome) => {
            statement.update_sub(position, |sub| {
                sub.status = Status::Finished;
                sub.rows = outcome.rows;
                sub.result = outcome.result.map(Arc::new);
                sub.duration = duration;
            });
            Ok(())
        }
        Err(failure) => {
            let message = format!("ERROR: {}", failure.message);
            statement.update_sub(position, |sub| {
                sub.status = Status::Failed;
                sub.error = Some(message.clone());
                sub.duration = duration;
            });
            Err(message)
        }
    }
}
