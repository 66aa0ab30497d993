//! Sessions that clients keep: one connection each, one statement at a time, rolled back and closed when nothing came for
//! the time that was asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::lock;
use super::warehouse::Connection;

/// Sessions that may be open at a time.
const MAX_SESSIONS: usize = 500;

/// A session between its statements.
struct Session {
    /// None while a statement has it.
    connection: Option<Connection>,
    busy: bool,
    keep_alive: Duration,
    /// Counts statements, so that an old timer does not close a session that was used again.
    uses: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    database: String,
}

/// Why a session can't be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionError {
    Unknown,
    Busy,
    TooMany,
}

/// What ListSessions tells of one.
pub(super) struct SessionInfo {
    pub(super) id: String,
    pub(super) busy: bool,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) keep_alive: Duration,
    pub(super) database: String,
}

/// All open sessions.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    open: Arc<Mutex<HashMap<String, Session>>>,
}

impl Sessions {
    /// Opens one for a first statement, which has it.
    pub(super) fn open(&self, keep_alive: Duration, database: &str) -> Result<String, SessionError> {
        let mut open = lock(&self.open);
        if open.len() >= MAX_SESSIONS {
            return Err(SessionError::TooMany);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let now = Timestamp::now();
        let session = Session {
            connection: None,
            busy: true,
            keep_alive,
            uses: 0,
            created_at: now,
            updated_at: now,
            database: database.to_owned(),
        };
        open.insert(id.clone(), session);
        Ok(id)
    }

    /// Reserves one for a further statement; returns its database.
    pub(super) fn reserve(&self, id: &str, keep_alive: Option<Duration>) -> Result<String, SessionError> {
        let mut open = lock(&self.open);
        let session = open.get_mut(id).ok_or(SessionError::Unknown)?;
        if session.busy {
            return Err(SessionError::Busy);
        }
        session.busy = true;
        session.uses += 1;
        session.keep_alive = keep_alive.unwrap_or(session.keep_alive);
        Ok(session.database.clone())
    }

    /// The connection of a reserved session; None if it has none yet.
    pub(super) fn take(&self, id: &str) -> Option<Connection> {
        lock(&self.open).get_mut(id)?.connection.take()
    }

    /// Gives a session back after its statement; without a connection it is closed.
    pub(super) fn give_back(&self, id: &str, connection: Option<Connection>) {
        let mut open = lock(&self.open);
        let Some(connection) = connection else {
            open.remove(id);
            return;
        };
        let Some(session) = open.get_mut(id) else { return };
        session.connection = Some(connection);
        session.busy = false;
        session.updated_at = Timestamp::now();
        let (uses, keep_alive) = (session.uses, session.keep_alive);
        let (sessions, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(keep_alive).await;
            sessions.expire(&id, uses);
        });
    }

    /// Dropping the connection rolls back what was open.
    fn expire(&self, id: &str, uses: u64) {
        let mut open = lock(&self.open);
        if open.get(id).is_some_and(|session| !session.busy && session.uses == uses) {
            open.remove(id);
        }
    }

    pub(super) fn list(&self) -> Vec<SessionInfo> {
        let info = |(id, session): (&String, &Session)| SessionInfo {
            id: id.clone(),
            busy: session.busy,
            created_at: session.created_at,
            updated_at: session.updated_at,
            keep_alive: session.keep_alive,
            database: session.database.clone(),
        };
        lock(&self.open).iter().map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_one_statement_at_a_time() {
        let sessions = Sessions::default();
        let id = sessions.open(Duration::from_secs(9), "d").unwrap();
        assert_eq!(sessions.reserve(&id, None), Err(SessionError::Busy));
        assert_eq!(sessions.reserve("other", None), Err(SessionError::Unknown));
        sessions.give_back(&id, None);
        assert_eq!(sessions.reserve(&id, None), Err(SessionError::Unknown), "closed with its connection");
    }
}
