//! Reading tables as they were at an exported snapshot.

use tokio_postgres::CopyOutStream;
use tokio_postgres::error::SqlState;

use super::definition::FORMS;
use super::{Source, failure};
use crate::config::SourceConfig;
use crate::error::{Error, Result, Who};
use crate::relations::KeyColumns;
use crate::sql::{ident, literal};

/// A table of the stream, as it is now.
#[derive(Clone, Debug)]
pub struct StreamTable {
    /// `pg_class.oid`
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether we may read it.
    pub readable: bool,
}

/// What the copy of a table needs to know beside its definition.
#[derive(Clone, Debug, Default)]
pub struct CopyTraits {
    /// What tells its rows apart.
    pub key: KeyColumns,
    /// The publication's condition for rows, if it has one.
    pub filter: Option<String>,
    /// What it takes on the disk, about.
    pub bytes: u64,
}

/// What holds rows: a table, or a partition of one.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Schema and name, quoted.
    pub name: String,
    /// Its blocks.
    pub blocks: u64,
    /// Whether it can be read in ranges of blocks.
    pub is_heap: bool,
}

/// What became of a wish for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// We have it.
    Yes,
    /// Somebody has one that excludes it.
    Busy,
    /// There is no table of this name any more.
    Gone,
}

impl Source {
    /// The tables that the stream has, by the names that it calls them by: of partitioned tables the roots, or the
    /// partitions where the publication says so.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn stream_tables(&self, config: &SourceConfig) -> Result<Vec<StreamTable>> {
        let version = self.version().await?;
        let by_schema = if version >= 150_000 {
            " OR EXISTS (SELECT FROM pg_publication_namespace s JOIN pg_class sc ON sc.relnamespace = s.pnnspid \
             WHERE s.pnpubid = p.oid AND sc.oid = m.oid)"
        } else {
            ""
        };
        let member = format!(
            "(p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = m.oid)\
             {by_schema})"
        );
        let sql = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, \
                    has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') \
             FROM pg_publication p, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE p.pubname = $1::text::name AND c.relpersistence = 'p' AND c.oid >= 16384 \
             AND CASE WHEN p.pubviaroot THEN c.relkind IN ('r', 'p') \
                 AND EXISTS (SELECT FROM (SELECT c.oid) AS m(oid) WHERE {member}) \
                 AND NOT EXISTS (SELECT FROM pg_partition_ancestors(c.oid) AS a(id) \
                                 JOIN pg_class m ON m.oid = a.id WHERE m.oid <> c.oid AND {member}) \
             ELSE c.relkind = 'r' \
                 AND EXISTS (SELECT FROM (SELECT c.oid UNION SELECT a.id::oid FROM pg_partition_ancestors(c.oid) AS a(id)) \
                             AS m(oid) WHERE {member}) END \
             ORDER BY 2, 3"
        );
        let rows = self.client.query(&sql, &[&config.publication]).await;
        let rows = rows.map_err(|error| failure("reading the publication's tables", &error))?;
        let table = |row: &tokio_postgres::Row| StreamTable {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            readable: row.get(3),
        };
        let picked = |table: &StreamTable| config.tables.picks(&table.schema, &table.name);
        Ok(rows.iter().map(table).filter(picked).collect())
    }

    async fn version(&self) -> Result<i32> {
        Ok(self.query_one("SELECT current_setting('server_version_num')::int").await?.get(0))
    }

    /// Begins a transaction that sees what the snapshot sees, until the connection ends.
    ///
    /// # Errors
    /// If the snapshot is gone, or the server can't be asked.
    pub async fn begin_at(&self, snapshot: &str) -> Result<()> {
        // A copy takes as long as it takes, and a policy must not hide rows from it.
        let sql = format!(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', \
             'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout'); \
             SET lock_timeout = '2s'; SET row_security = off; SET synchronize_seqscans = off; {FORMS}"
        );
        self.execute("preparing to read", &sql).await?;
        // Apart: what comes before a BEGIN in one request becomes part of its transaction.
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(snapshot)
        );
        self.execute("taking the snapshot", &sql).await
    }

    /// What the copy of a table needs to know beside its definition.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn copy_traits(&self, table_oid: u32, publication: &str) -> Result<CopyTraits> {
        let filter = if self.version().await? >= 150_000 {
            "(SELECT pg_get_expr(r.prqual, r.prrelid) FROM pg_publication_rel r JOIN pg_publication p \
             ON p.oid = r.prpubid WHERE r.prrelid = c.oid AND p.pubname = $2::text::name)"
        } else {
            "CASE WHEN $2::text = '' THEN '' END"
        };
        // A deferrable key does not identify rows.
        let sql = format!(
            "WITH RECURSIVE tree AS (SELECT $1::oid AS oid UNION ALL \
                 SELECT h.inhrelid FROM pg_inherits h JOIN tree ON h.inhparent = tree.oid \
                 JOIN pg_class p ON p.oid = tree.oid AND p.relkind = 'p') \
             SELECT c.relreplident = 'f', \
                    ARRAY(SELECT a.attnum FROM pg_attribute a JOIN pg_index i ON i.indrelid = a.attrelid \
                          WHERE a.attrelid = c.oid AND i.indisvalid AND i.indimmediate \
                          AND array_position(i.indkey::int2[], a.attnum) < i.indnkeyatts \
                          AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'f' THEN i.indisprimary \
                              WHEN 'i' THEN i.indisreplident ELSE false END ORDER BY a.attnum), \
                    {filter}, \
                    COALESCE((SELECT sum(GREATEST(l.relpages, 0)::bigint + COALESCE(GREATEST(t.relpages, 0), 0)) \
                              * current_setting('block_size')::bigint FROM tree JOIN pg_class l ON l.oid = tree.oid \
                              LEFT JOIN pg_class t ON t.oid = l.reltoastrelid), 0)::bigint \
             FROM pg_class c WHERE c.oid = $1"
        );
        let row = self.client.query_opt(&sql, &[&table_oid, &publication]).await;
        let row = row.map_err(|error| failure("looking a table up", &error))?;
        let Some(row) = row else { return Ok(CopyTraits::default()) };
        let bytes: i64 = row.get(3);
        Ok(CopyTraits {
            key: KeyColumns { full: row.get(0), numbers: row.get(1) },
            filter: row.get(2),
            bytes: u64::try_from(bytes).unwrap_or(0),
        })
    }

    /// Locks the table against changes of its definition, partitions included, until [`Self::release`]. Waits for at most
    /// two seconds, or not at all: whoever waits for a lock holds up everybody who comes after.
    ///
    /// # Errors
    /// If the server can't be asked, or we may not read the table.
    pub async fn lock(&self, (schema, name): (&str, &str), wait: bool) -> Result<Locked> {
        let nowait = if wait { "" } else { " NOWAIT" };
        let table = format!("{}.{}", ident(schema), ident(name));
        let sql = format!("SAVEPOINT re_dms_table; LOCK TABLE {table} IN ACCESS SHARE MODE{nowait}");
        let Err(error) = self.client.batch_execute(&sql).await else { return Ok(Locked::Yes) };
        let locked = match error.code() {
            Some(code) if [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) => {
                Locked::Busy
            }
            Some(code)
                if [
                    SqlState::UNDEFINED_TABLE,
                    SqlState::INVALID_SCHEMA_NAME,
                    SqlState::WRONG_OBJECT_TYPE,
                ]
                .contains(code) =>
            {
                Locked::Gone
            }
            _ => return Err(failure(&format!("locking {schema}.{name}"), &error)),
        };
        self.release().await?;
        Ok(locked)
    }

    /// Gives the lock back. The transaction and its snapshot stay.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn release(&self) -> Result<()> {
        let sql = "ROLLBACK TO SAVEPOINT re_dms_table; RELEASE SAVEPOINT re_dms_table";
        self.execute("releasing a lock", sql).await
    }

    /// What holds the table's rows.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn leaves(&self, table_oid: u32) -> Result<Vec<Leaf>> {
        let sql = "WITH RECURSIVE tree AS (SELECT $1::oid AS oid UNION ALL \
                       SELECT h.inhrelid FROM pg_inherits h JOIN tree ON h.inhparent = tree.oid \
                       JOIN pg_class p ON p.oid = tree.oid AND p.relkind = 'p') \
                   SELECT n.nspname::text, c.relname::text, \
                          pg_relation_size(c.oid) / current_setting('block_size')::bigint, a.amname = 'heap' \
                   FROM tree JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'r' \
                   JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am a ON a.oid = c.relam ORDER BY 1, 2";
        let rows = self.client.query(sql, &[&table_oid]).await;
        let rows = rows.map_err(|error| failure("looking a table's partitions up", &error))?;
        let leaf = |row: &tokio_postgres::Row| Leaf {
            name: format!("{}.{}", ident(row.get(0)), ident(row.get(1))),
            blocks: u64::try_from(row.get::<_, i64>(2)).unwrap_or(0),
            is_heap: row.get(3),
        };
        Ok(rows.iter().map(leaf).collect())
    }

    /// The rows of a query, as COPY writes them.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn copy_out(&self, query: &str) -> Result<CopyOutStream> {
        let sql = format!("COPY ({query}) TO STDOUT");
        self.client.copy_out(&sql).await.map_err(|error| copy_failure(&error))
    }

    async fn execute(&self, doing: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|error| failure(doing, &error))
    }
}

/// A table could not be read (on).
pub(crate) fn copy_failure(error: &tokio_postgres::Error) -> Error {
    let error = failure("copying a table", error);
    match error.retry {
        true => error,
        // Row-level security, most likely: the server's words say which table.
        false => Error::fatal(
            Who::Source,
            error.what,
            "give the role SELECT on the table, and BYPASSRLS if the table has row-level security; or exclude the table",
        ),
    }
}
