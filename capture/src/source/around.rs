//! What is asked of the catalog now and then, about all tables at once and without a lock.

use re_dms_shared::Lsn;
use tokio_postgres::SimpleQueryMessage;

use super::{Source, failure};
use crate::error::{Error, Result, Who};
use crate::relations::{LOOKED, NamedTable};
use crate::sql::ident;

/// A table, and a mark that changes with its definition.
#[derive(Clone, Debug)]
pub struct TableAround {
    /// `pg_class.oid`
    pub oid: u32,
    /// Whether the publication has it.
    pub published: bool,
    /// The transactions that changed it, and its schema's name.
    pub mark: String,
}

impl Source {
    /// Where the server's WAL is; none on a standby.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn insert_position(&self) -> Result<Option<Lsn>> {
        let sql = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END";
        let text: Option<String> = self.query_one(sql).await?.get(0);
        let parsed = text.map(|text| text.parse()).transpose();
        parsed.map_err(|error| {
            Error::fatal(Who::Source, format!("the server's position: {error}"), "report this")
        })
    }

    /// All tables of the database.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn around(&self, publication: &str) -> Result<Vec<TableAround>> {
        let is_published = self.is_published("$1::text::name").await?;
        let sql = format!(
            "SELECT c.oid, {is_published}, md5(n.nspname || ' ' || c.xmin::text || ' ' || COALESCE(( \
                SELECT string_agg(a.xmin::text, ' ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a \
                WHERE a.attrelid = c.oid AND a.attnum > 0), '') || CASE WHEN c.relkind = 'p' THEN COALESCE(( \
                WITH RECURSIVE tree AS (SELECT c.oid UNION ALL \
                    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid) \
                SELECT string_agg(p.oid || ':' || p.relfilenode, ' ' ORDER BY p.oid) \
                FROM tree JOIN pg_catalog.pg_class AS p ON p.oid = tree.oid), '') ELSE '' END) \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384"
        );
        let rows = self.client.query(&sql, &[&publication]).await;
        let rows = rows.map_err(|error| failure("looking at the tables", &error))?;
        let table = |row: &tokio_postgres::Row| TableAround {
            oid: row.get(0),
            published: row.get(1),
            mark: row.get(2),
        };
        Ok(rows.iter().map(table).collect())
    }

    /// Whether the table holds rows; none if that can't be said without waiting, or without a right that we don't have.
    pub async fn holds_rows(&self, table: &NamedTable) -> Option<bool> {
        let name = format!("{}.{}", ident(&table.schema), ident(&table.name));
        let sql = format!("SET lock_timeout = '100ms'; SELECT 1 FROM {name} LIMIT 1");
        let answer = self.client.simple_query(&sql).await.ok()?;
        Some(answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))))
    }

    /// Writes into the stream that what was found before belongs there.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn tell_of_look(&self, id: &str) -> Result<()> {
        let sql = "SELECT pg_logical_emit_message(true, $1, $2::text)::text";
        let told = self.client.query_one(sql, &[&LOOKED, &id]).await;
        told.map(drop).map_err(|error| failure("writing a message into the stream", &error))
    }
}
