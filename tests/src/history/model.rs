//! What the histories need to know of the tables: which keys have a row, and who holds locks on them, so that no
//! statement waits for another session.
//!
//! Rows that a session has changed and not committed are locked by it, and nobody else touches them: so one set of keys
//! a table is what every session sees, of the rows that it may touch.

use std::collections::{BTreeMap, BTreeSet};

/// A session's number.
pub(super) type SessionId = usize;
/// A table's number: its position in the schema.
pub(super) type TableId = usize;

#[derive(Debug, Default)]
struct TableState {
    present: BTreeSet<u32>,
    /// By key, who has changed it since its transaction began.
    locks: BTreeMap<u32, SessionId>,
    /// Who has touched the table since its transaction began.
    users: BTreeSet<SessionId>,
    /// Whose TRUNCATE or ALTER TABLE is not committed.
    exclusive: Option<SessionId>,
    added_columns: u32,
}

#[derive(Clone, Debug)]
enum Undo {
    Inserted(TableId, u32),
    Removed(TableId, u32),
    Truncated(TableId, BTreeSet<u32>),
    AddedColumn(TableId),
}

/// Tables and open transactions.
#[derive(Debug)]
pub(super) struct Model {
    tables: Vec<TableState>,
    /// By session, what a rollback takes back; none outside of a transaction.
    open: Vec<Option<Vec<Undo>>>,
}

impl Model {
    pub(super) fn new(tables: usize, sessions: usize) -> Self {
        Self {
            tables: (0..tables).map(|_| TableState::default()).collect(),
            open: (0..sessions).map(|_| None).collect(),
        }
    }

    pub(super) fn begin(&mut self, session: SessionId) {
        assert!(self.open[session].is_none(), "session {session} is in a transaction");
        self.open[session] = Some(Vec::new());
    }

    pub(super) fn is_open(&self, session: SessionId) -> bool {
        self.open[session].is_some()
    }

    pub(super) fn commit(&mut self, session: SessionId) {
        self.open[session] = None;
        self.unlock(session);
    }

    pub(super) fn roll_back(&mut self, session: SessionId) {
        self.roll_back_to(session, 0);
        self.open[session] = None;
        self.unlock(session);
    }

    /// A place to roll back to.
    pub(super) fn savepoint(&self, session: SessionId) -> usize {
        self.open[session].as_ref().map_or(0, Vec::len)
    }

    /// Rows stay locked, as if PostgreSQL did not let go of them.
    pub(super) fn roll_back_to(&mut self, session: SessionId, savepoint: usize) {
        let Some(undo) = &mut self.open[session] else { return };
        for step in undo.split_off(savepoint).into_iter().rev() {
            match step {
                Undo::Inserted(table, key) => {
                    self.tables[table].present.remove(&key);
                }
                Undo::Removed(table, key) => {
                    self.tables[table].present.insert(key);
                }
                Undo::Truncated(table, keys) => self.tables[table].present = keys,
                Undo::AddedColumn(table) => self.tables[table].added_columns -= 1,
            }
        }
    }

    fn unlock(&mut self, session: SessionId) {
        for table in &mut self.tables {
            table.locks.retain(|_, holder| *holder != session);
            table.users.remove(&session);
            if table.exclusive == Some(session) {
                table.exclusive = None;
            }
        }
    }

    /// May the session touch the table at all?
    pub(super) fn may_use(&self, session: SessionId, table: TableId) -> bool {
        self.tables[table].exclusive.is_none_or(|holder| holder == session)
    }

    /// May the session lock the whole table?
    pub(super) fn may_lock_table(&self, session: SessionId, table: TableId) -> bool {
        self.may_use(session, table) && self.tables[table].users.iter().all(|&user| user == session)
    }

    /// Does the session hold a lock that keeps readers out?
    pub(super) fn keeps_readers_out(&self, session: SessionId) -> bool {
        self.tables.iter().any(|table| table.exclusive == Some(session))
    }

    pub(super) fn may_touch(&self, session: SessionId, table: TableId, key: u32) -> bool {
        self.tables[table].locks.get(&key).is_none_or(|&holder| holder == session)
    }

    pub(super) fn is_present(&self, table: TableId, key: u32) -> bool {
        self.tables[table].present.contains(&key)
    }

    /// The rows that the session may change, of the keys between these.
    pub(super) fn rows(&self, session: SessionId, table: TableId, from: u32, to: u32) -> Vec<u32> {
        let keys = self.tables[table].present.range(from..to).copied();
        keys.filter(|&key| self.may_touch(session, table, key)).collect()
    }

    /// Have all rows between these keys nobody else's lock?
    pub(super) fn may_touch_all(&self, session: SessionId, table: TableId, from: u32, to: u32) -> bool {
        self.tables[table].locks.range(from..to).all(|(_, &holder)| holder == session)
    }

    pub(super) fn insert(&mut self, session: SessionId, table: TableId, key: u32) {
        self.lock(session, table, key);
        if self.tables[table].present.insert(key)
            && let Some(undo) = &mut self.open[session]
        {
            undo.push(Undo::Inserted(table, key));
        }
    }

    pub(super) fn remove(&mut self, session: SessionId, table: TableId, key: u32) {
        self.lock(session, table, key);
        if self.tables[table].present.remove(&key)
            && let Some(undo) = &mut self.open[session]
        {
            undo.push(Undo::Removed(table, key));
        }
    }

    /// A row that is changed, or was going to be.
    pub(super) fn lock(&mut self, session: SessionId, table: TableId, key: u32) {
        self.tables[table].users.insert(session);
        self.tables[table].locks.insert(key, session);
    }

    pub(super) fn truncate(&mut self, session: SessionId, table: TableId) {
        let keys = std::mem::take(&mut self.tables[table].present);
        self.lock_table(session, table);
        if let Some(undo) = &mut self.open[session] {
            undo.push(Undo::Truncated(table, keys));
        }
    }

    pub(super) fn add_column(&mut self, session: SessionId, table: TableId) {
        self.lock_table(session, table);
        self.tables[table].added_columns += 1;
        if let Some(undo) = &mut self.open[session] {
            undo.push(Undo::AddedColumn(table));
        }
    }

    fn lock_table(&mut self, session: SessionId, table: TableId) {
        self.tables[table].users.insert(session);
        self.tables[table].exclusive = Some(session);
    }

    pub(super) fn added_columns(&self, table: TableId) -> u32 {
        self.tables[table].added_columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_takes_back_what_came_after_the_savepoint() {
        let mut model = Model::new(1, 2);
        model.begin(0);
        model.insert(0, 0, 1);
        model.insert(0, 0, 2);
        model.commit(0);
        model.begin(0);
        model.remove(0, 0, 1);
        let savepoint = model.savepoint(0);
        model.insert(0, 0, 3);
        model.truncate(0, 0);
        model.add_column(0, 0);
        assert!(!model.may_use(1, 0) && model.keeps_readers_out(0));
        model.roll_back_to(0, savepoint);
        assert_eq!((model.rows(0, 0, 0, 9), model.added_columns(0)), (vec![2], 0));
        model.roll_back(0);
        assert_eq!(model.rows(1, 0, 0, 9), [1, 2]);
        assert!(model.may_lock_table(1, 0));
    }

    #[test]
    fn rows_that_others_have_changed_are_not_touched() {
        let mut model = Model::new(1, 2);
        model.begin(0);
        model.insert(0, 0, 1);
        model.commit(0);
        model.begin(0);
        model.begin(1);
        model.lock(0, 0, 1);
        model.remove(0, 0, 2);
        assert_eq!(model.rows(1, 0, 0, 9), [] as [u32; 0]);
        assert!(!model.may_touch(1, 0, 2), "a key whose removal may be rolled back");
        assert!(!model.may_lock_table(1, 0) && !model.may_touch_all(1, 0, 0, 9));
        model.roll_back(0);
        assert_eq!(model.rows(1, 0, 0, 9), [1]);
    }
}
