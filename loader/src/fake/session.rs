//! The one session that is open: its transaction has the ledger's lock, so others wait, until it ends or nobody talks to it any
//! more.

use super::World;
use crate::statements::Sql;

/// After so many calls of others Redshift ends the session, and its transaction with it.
const PATIENCE: u64 = 30;

pub(super) struct Open {
    pub(super) id: String,
    /// What the transaction sees. None once a statement has failed.
    world: Option<World>,
    /// The last call that was about it.
    pub(super) touched: u64,
}

impl Open {
    pub(super) fn begin(id: String, world: World, call: u64) -> Self {
        Self { id, world: Some(world), touched: call }
    }

    pub(super) fn is_forgotten(&self, call: u64) -> bool {
        self.touched + PATIENCE < call
    }

    /// For its next statement.
    pub(super) fn take(&mut self, call: u64) -> Result<World, String> {
        self.touched = call;
        self.world.take().ok_or_else(|| "ERROR: current transaction is aborted".to_owned())
    }

    pub(super) fn put(&mut self, world: World) {
        self.world = Some(world);
    }
}

/// Whether it needs the ledger's lock.
pub(super) fn begins(sql: &Sql) -> bool {
    matches!(sql, Sql::Batch(_) | Sql::OpenSession(..))
}
