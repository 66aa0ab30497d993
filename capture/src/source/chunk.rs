//! Reading a range of keys: each in a short transaction of its own, which knows what it sees.

use tokio_postgres::error::SqlState;

use super::definition::FORMS;
use super::{Source, failure};
use crate::error::{Error, Result, Who};
use crate::resync::Visible;
use crate::sql::ident;

/// What finds a table's rows by their key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIndex {
    /// The key's columns, in the order of the index.
    pub columns: Vec<String>,
    /// The table is made of partitions.
    pub is_partitioned: bool,
}

impl Source {
    /// What such transactions need of the connection.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn prepare_for_chunks(&self) -> Result<()> {
        let sql = format!(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', \
             'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout'); \
             SET lock_timeout = '2s'; SET row_security = off; {FORMS}"
        );
        self.client.batch_execute(&sql).await.map_err(|error| failure("preparing to read", &error))
    }

    /// The index by which the table's replica identity, or under FULL its primary key, is found; none if there is none.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn key_index(&self, oid: u32) -> Result<Option<KeyIndex>> {
        let sql = "SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) \
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number \
                          WHERE k.place <= i.indnkeyatts ORDER BY k.place), c.relkind = 'p' \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indrelid = c.oid \
                   WHERE c.oid = $1 AND i.indisvalid AND i.indimmediate \
                   AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'f' THEN i.indisprimary \
                       WHEN 'i' THEN i.indisreplident ELSE false END";
        let row = self.client.query_opt(sql, &[&oid]).await;
        let row = row.map_err(|error| failure("looking a table's key up", &error))?;
        Ok(row.map(|row| KeyIndex { columns: row.get(0), is_partitioned: row.get(1) }))
    }

    /// Begins to read the table: locks it against changes of its definition, and only then decides what is seen. A change that
    /// came before the lock would have written rows that nobody sees else. False, and nothing begun, if somebody has a lock
    /// that excludes it, or if there is no such table.
    ///
    /// # Errors
    /// If the server can't be asked, or we may not read the table.
    pub async fn begin_chunk(&self, (schema, name): (&str, &str)) -> Result<bool> {
        let doing = "beginning to read";
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.client.batch_execute(begin).await.map_err(|error| failure(doing, &error))?;
        let lock = format!("LOCK TABLE {}.{} IN ACCESS SHARE MODE", ident(schema), ident(name));
        let Err(error) = self.client.batch_execute(&lock).await else { return Ok(true) };
        let is_passing = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
        ];
        if error.code().is_some_and(|code| is_passing.contains(code)) {
            self.end_chunk().await?;
            return Ok(false);
        }
        Err(failure(&format!("locking {schema}.{name}"), &error))
    }

    /// What the transaction sees; outside of one, what is seen now.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn visible(&self) -> Result<Visible> {
        let text: String = self.query_one("SELECT pg_current_snapshot()::text").await?.get(0);
        Visible::read(&text).ok_or_else(|| {
            let what = "pg_current_snapshot() has a form that is not known";
            Error::fatal(Who::Source, what, "report this with the server's version")
        })
    }

    /// A transaction's number that is given out for this, and so higher than that of any transaction which has one. What
    /// a snapshot calls its end would not do: it lies behind the last transaction that has ended.
    ///
    /// # Errors
    /// If the server can't be asked, or is a standby.
    pub async fn next_number(&self) -> Result<u64> {
        let text: String = self.query_one("SELECT pg_current_xact_id()::text").await?.get(0);
        text.parse().map_err(|_| {
            let what = "pg_current_xact_id() has a form that is not known";
            Error::fatal(Who::Source, what, "report this with the server's version")
        })
    }

    /// Ends what [`Self::begin_chunk`] began.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn end_chunk(&self) -> Result<()> {
        self.client.batch_execute("ROLLBACK").await.map_err(|error| failure("ending to read", &error))
    }
}
