//! Transactions on a connection: begin, commit, roll back, and what a statement must have before it touches a table: a
//! snapshot, table locks that are held to the end, and nobody in conflict (`redshift.md`, 4.3).

use super::StandIn;
use super::catalog::{self, Failure};
use super::isolation::Footprint;
use super::lock;
use super::settings::Isolation;
use super::sql::{Touched, Write};
use super::warehouse::Connection;

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Outside of a transaction.
    #[default]
    None,
    Open,
    /// A statement failed: nothing but its end is taken.
    Failed,
}

/// A connection's transaction.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) phase: Phase,
    footprint: Footprint,
}

impl Transaction {
    /// Whether it altered the table.
    pub(super) fn defines(&self, table: u32) -> bool {
        self.footprint.defines(table)
    }

    /// A statement failed: one that is open takes nothing but its end from now on.
    pub(super) fn fail(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Failed;
        }
    }
}

/// Opens one, unless one is open.
pub(super) async fn begin(connection: &mut Connection) -> Result<(), Failure> {
    if connection.transaction.phase == Phase::None {
        connection.client.batch_execute("BEGIN").await?;
        connection.transaction = Transaction { phase: Phase::Open, footprint: Footprint::default() };
    }
    Ok(())
}

/// Commits what is open. A conflict rolls it back, and so does a failure before.
pub(super) async fn commit(stand_in: &StandIn, connection: &mut Connection) -> Result<(), Failure> {
    let phase = connection.transaction.phase;
    if phase != Phase::Open {
        return roll_back(connection).await;
    }
    tokio::time::sleep(stand_in.faults.commit_latency()).await;
    if stand_in.faults.conflict_on_commit() {
        roll_back(connection).await?;
        return Err(conflict("a table in Redshift"));
    }
    // Snapshots and commits have one order, here and in PostgreSQL.
    let _order = stand_in.commit_order.lock().await;
    let footprint = connection.transaction.footprint.clone();
    let found = lock(&stand_in.history).conflict(&footprint, stand_in.settings().isolation);
    if let Some(table) = found {
        let table = catalog::table_of(&connection.client, table).await;
        roll_back(connection).await?;
        return Err(conflict(&table));
    }
    connection.transaction = Transaction::default();
    connection.client.batch_execute("COMMIT").await?;
    lock(&stand_in.history).commit(footprint);
    Ok(())
}

/// Undoes what is open.
pub(super) async fn roll_back(connection: &mut Connection) -> Result<(), Failure> {
    if connection.transaction.phase != Phase::None {
        connection.transaction = Transaction::default();
        connection.client.batch_execute("ROLLBACK").await?;
    }
    Ok(())
}

/// Takes the snapshot if there is none yet.
pub(super) async fn take_snapshot(stand_in: &StandIn, connection: &mut Connection) -> Result<(), Failure> {
    if connection.transaction.footprint.snapshot.is_some() {
        return Ok(());
    }
    let _order = stand_in.commit_order.lock().await;
    connection.client.batch_execute("SELECT 1").await?;
    connection.transaction.footprint.snapshot = Some(lock(&stand_in.history).now());
    Ok(())
}

/// Readies the transaction for a statement that touches these tables.
pub(super) async fn touch(
    stand_in: &StandIn,
    connection: &mut Connection,
    touched: &Touched,
) -> Result<(), Failure> {
    let isolation = stand_in.settings().isolation;
    for (table, write) in touched.all() {
        let Some(found) = catalog::find(&connection.client, table).await? else { continue };
        if !found.in_snapshot {
            return Err("1018 DETAIL: Relation does not exist.".into());
        }
        if found.private {
            continue;
        }
        let alone = match write {
            Some(Write::Append) => isolation == Isolation::Serializable,
            Some(Write::Change) => true,
            // PostgreSQL's own lock keeps readers out too.
            Some(Write::Define) | None => false,
        };
        if alone && !found.is_view {
            let sql = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
            connection.client.batch_execute(&sql).await?;
        }
        connection.transaction.footprint.touch(found.oid, write);
    }
    let footprint = &connection.transaction.footprint;
    let found = lock(&stand_in.history).conflict(footprint, isolation);
    match found {
        Some(table) => Err(conflict(&catalog::table_of(&connection.client, table).await)),
        None => Ok(()),
    }
}

/// Redshift's words for it.
fn conflict(table: &str) -> Failure {
    format!("1023 DETAIL: Serializable isolation violation on table - {table}").into()
}
