//! PostgreSQL over ordinary SQL: what the replication stream itself can't tell or do.

mod around;
mod chunk;
mod ddl_trigger;
mod definition;
mod preflight;
mod removal;
mod requests;
mod snapshot;
mod verify;

use re_dms_shared::{Lsn, types};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Connection, NoTls};

use crate::batch::SourceColumn;
use crate::config::SourceConfig;
use crate::credentials;
use crate::error::{Error, Result, Who};
use crate::relations::{CatalogTable, PrimaryKey};
use crate::replication::ReplicationError;
use crate::sql;
use crate::start::PublishedTable;
use crate::tls::TlsError;
pub use chunk::KeyIndex;
pub(crate) use ddl_trigger::sql as ddl_trigger_sql;
pub use preflight::{PublicationFacts, ServerFacts, SlotFacts, TableFacts};
pub use requests::FoundTable;
pub(crate) use snapshot::copy_failure;
pub use snapshot::{CopyTraits, Leaf, Locked, StreamTable};

/// The oldest PostgreSQL that sends logical messages and in-progress transactions.
const OLDEST_VERSION: i32 = 140_000;

/// A connection for SQL.
pub struct Source {
    client: Client,
}

/// A replication slot, as `pg_replication_slots` shows it.
#[derive(Clone, Debug)]
pub struct SlotState {
    /// Its output plugin; none for a physical slot.
    pub plugin: Option<String>,
    /// The database that it belongs to.
    pub database: Option<String>,
    /// How far it was confirmed.
    pub confirmed_flush: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Standbys keep a copy of it.
    pub failover: bool,
}

impl Source {
    /// Connects.
    ///
    /// # Errors
    /// If PostgreSQL can't be reached or does not let us in.
    pub async fn connect(config: &SourceConfig) -> Result<Self> {
        let told = |error: ReplicationError| Error::told(Who::Source, error.is_transient(), &error);
        let params = credentials::connect_params(config).await.map_err(told)?;
        let connector = params.tls().connector().map_err(|error| told(error.into()))?;
        let client = match connector {
            None => drive(params.sql().connect(NoTls).await),
            Some(connector) => drive(params.sql().connect(connector).await),
        };
        Ok(Self { client: client.map_err(|error| connect_failure(&error))? })
    }

    /// Can this server be a source at all?
    ///
    /// # Errors
    /// If it is too old, its `wal_level` too low, or the database has no encoding.
    pub async fn check_server(&self) -> Result<()> {
        let row = self
            .query_one(
                "SELECT current_setting('server_version_num')::int, current_setting('wal_level'), \
                 current_setting('server_encoding')",
            )
            .await?;
        let version: i32 = row.get(0);
        if version < OLDEST_VERSION {
            let found = version / 10_000;
            return Err(Error::fatal(
                Who::Source,
                format!("the server is PostgreSQL {found}, and re_dms needs 14 or newer"),
                "upgrade the source",
            ));
        }
        let wal_level: String = row.get(1);
        if wal_level != "logical" {
            return Err(Error::fatal(
                Who::Source,
                format!("wal_level is {wal_level}, and logical decoding needs logical"),
                "set wal_level = logical in postgresql.conf and restart the server (on RDS: rds.logical_replication = 1)",
            ));
        }
        // From any other one PostgreSQL converts; here it hands out whatever bytes somebody put in.
        if row.get::<_, &str>(2) == "SQL_ASCII" {
            return Err(Error::fatal(
                Who::Source,
                "the database has the encoding SQL_ASCII: its texts may be any bytes, and Redshift takes UTF-8 alone",
                "move it into a database with an encoding (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, then dump \
                 and restore with the encoding that the bytes are in)",
            ));
        }
        Ok(())
    }

    /// The database that we are connected to.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn database(&self) -> Result<String> {
        Ok(self.query_one("SELECT current_database()::text").await?.get(0))
    }

    /// Is this connection encrypted?
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn is_encrypted(&self) -> Result<bool> {
        let sql = "SELECT COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";
        Ok(self.query_one(sql).await?.get(0))
    }

    /// A slot, if there is one of this name.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn slot(&self, name: &str) -> Result<Option<SlotState>> {
        // The column `failover` came with 17.
        let sql = "SELECT plugin::text, database::text, confirmed_flush_lsn::text, wal_status::text, \
                   COALESCE((to_jsonb(s) ->> 'failover')::boolean, false) \
                   FROM pg_replication_slots s WHERE slot_name = $1::text::name";
        let row = self
            .client
            .query_opt(sql, &[&name])
            .await
            .map_err(|error| failure("reading the slots", &error))?;
        Ok(row.map(|row| SlotState {
            plugin: row.get(0),
            database: row.get(1),
            confirmed_flush: row.get::<_, Option<&str>>(2).and_then(|text| text.parse().ok()),
            wal_status: row.get(3),
            failover: row.get(4),
        }))
    }

    /// Is the server a standby that has not been promoted?
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn is_standby(&self) -> Result<bool> {
        Ok(self.query_one("SELECT pg_is_in_recovery()").await?.get(0))
    }

    /// Makes sure that the publication is there; true if it was made just now.
    ///
    /// A publication of all tables needs a superuser; anybody else gets one of the tables that are there and picked.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn ensure_publication(&self, config: &SourceConfig) -> Result<bool> {
        let name = &config.publication;
        let sql = "SELECT pubviaroot FROM pg_publication WHERE pubname = $1::text::name";
        let found = self
            .client
            .query_opt(sql, &[name])
            .await
            .map_err(|error| failure("reading publications", &error))?;
        if let Some(row) = found {
            if !row.get::<_, bool>(0) {
                tracing::warn!(
                    publication = %name,
                    "the publication lacks publish_via_partition_root: partitions arrive as tables of their own"
                );
            }
            return Ok(false);
        }
        let superuser: bool = self.query_one("SELECT current_setting('is_superuser') = 'on'").await?.get(0);
        let tables = if superuser && config.tables.picks_all() {
            "ALL TABLES".to_owned()
        } else {
            let tables = self.tables(config).await?;
            if tables.is_empty() {
                return Err(Error::fatal(
                    Who::Source,
                    "source.include and source.exclude pick no table that is there",
                    "correct the patterns, create the tables first, or connect as a superuser to publish all tables",
                ));
            }
            format!("TABLE {}", tables.join(", "))
        };
        let sql = format!(
            "CREATE PUBLICATION {} FOR {tables} WITH (publish_via_partition_root = true)",
            sql::ident(name)
        );
        match self.client.batch_execute(&sql).await {
            Ok(()) => Ok(true),
            Err(error) => Err(Error::fatal(
                Who::Source,
                format!("the publication {name} can't be created: {}", server_text(&error)),
                "let a superuser create it, or give the role CREATE on the database and ownership of the tables",
            )),
        }
    }

    /// Tables that are picked and hold rows already: without an initial copy these rows do not arrive.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn tables_with_rows(&self, config: &SourceConfig) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for table in self.tables(config).await? {
            let row = self.client.query_one(&format!("SELECT EXISTS (SELECT FROM {table})"), &[]).await;
            // a table that we may not read, or that just went, is not worth stopping for
            if row.is_ok_and(|row| row.get(0)) {
                found.push(table);
            }
        }
        Ok(found)
    }

    /// A table as the catalog has it now; none if it is gone.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn catalog_table(&self, table_oid: u32) -> Result<Option<CatalogTable>> {
        // The position is read while the query runs, so after its snapshot was taken. INCLUDE's columns are no part of a
        // key.
        let sql = "SELECT c.relkind = 'p', \
                   ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
                         AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum), \
                   i.indexrelid, \
                   ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid \
                         AND array_position(i.indkey::int2[], a.attnum) < i.indnkeyatts ORDER BY a.attnum), \
                   (CASE WHEN pg_is_in_recovery() \
                         THEN COALESCE(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
                         ELSE pg_current_wal_insert_lsn() END)::text, \
                   EXISTS (WITH RECURSIVE tree AS ( \
                               SELECT c.oid WHERE c.relkind = 'p' UNION ALL \
                               SELECT h.inhrelid FROM pg_inherits h JOIN tree ON h.inhparent = tree.oid) \
                           SELECT FROM tree JOIN pg_class p ON p.oid = tree.oid AND p.relkind <> 'p' \
                           JOIN pg_index x ON x.indrelid = p.oid WHERE CASE p.relreplident \
                           WHEN 'd' THEN x.indisprimary AND i.indexrelid IS NULL \
                           WHEN 'i' THEN x.indisreplident AND (i.indexrelid IS NULL OR NOT x.indisprimary) \
                           ELSE false END) \
                   FROM pg_class c LEFT JOIN pg_index i \
                   ON i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid WHERE c.oid = $1";
        let row = self.client.query_opt(sql, &[&table_oid]).await;
        let row = row.map_err(|error| failure("reading a table's definition", &error))?;
        let Some(row) = row else { return Ok(None) };
        let position: String = row.get(4);
        let seen_at = position.parse().map_err(|error| {
            Error::fatal(Who::Source, format!("the server's position: {error}"), "report this")
        })?;
        let index: Option<u32> = row.get(2);
        Ok(Some(CatalogTable {
            partitioned: row.get(0),
            partitions_differ: row.get(5),
            columns: row.get(1),
            primary_key: index.map(|index| PrimaryKey { index, columns: row.get(3) }),
            seen_at,
        }))
    }

    /// Types by OIDs, with all that they are made of; those that are gone are missing.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn catalog_types(&self, oids: &[u32]) -> Result<Vec<types::catalog::Row>> {
        let rows = self.client.query(types::catalog::QUERY, &[&oids]).await;
        let rows = rows.map_err(|error| failure("reading types", &error))?;
        let row = |row: &tokio_postgres::Row| types::catalog::Row {
            oid: row.get(0),
            name: row.get(1),
            kind: row.get(2),
            of: row.get(3),
            modifier: row.get(4),
            delimiter: row.get(5),
            field_names: row.get(6),
            field_types: row.get(7),
        };
        Ok(rows.iter().map(row).collect())
    }

    /// The tables that the publication has, with their columns.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn published_tables(&self, publication: &str) -> Result<Vec<PublishedTable>> {
        let is_published = self.is_published("$1::text::name").await?;
        let sql = format!(
            "SELECT n.nspname::text, c.relname::text, \
                   array_agg(a.attname::text ORDER BY a.attnum), array_agg(a.atttypid ORDER BY a.attnum), \
                   array_agg(a.atttypmod ORDER BY a.attnum), \
                   array_agg(EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY(i.indkey) \
                       AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident \
                       ELSE false END) ORDER BY a.attnum) \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                   AND a.attgenerated = '' WHERE {is_published} GROUP BY n.nspname, c.relname \
                   ORDER BY n.nspname, c.relname"
        );
        let rows = self.client.query(&sql, &[&publication]).await;
        let rows = rows.map_err(|error| failure("reading the publication's tables", &error))?;
        let table = |row: &tokio_postgres::Row| {
            let names: Vec<String> = row.get(2);
            let (types, modifiers): (Vec<u32>, Vec<i32>) = (row.get(3), row.get(4));
            let keys: Vec<bool> = row.get(5);
            let columns = names.into_iter().zip(types).zip(modifiers).zip(keys);
            PublishedTable {
                schema: row.get(0),
                name: row.get(1),
                columns: columns
                    .map(|(((name, type_oid), type_modifier), key)| SourceColumn {
                        name,
                        attribute_number: None,
                        type_oid,
                        type_modifier,
                        key,
                    })
                    .collect(),
            }
        };
        Ok(rows.iter().map(table).collect())
    }

    /// SQL's condition for a row `c` of `pg_class`: it is a table of the publication with this name, which is SQL, too.
    ///
    /// `pg_publication_tables` would say so as well, but it locks every table of the publication, and so waits for
    /// whoever is changing one.
    async fn is_published(&self, name: &str) -> Result<String> {
        let version: i32 = self.query_one("SELECT current_setting('server_version_num')::int").await?.get(0);
        Ok(is_published(version, name))
    }

    /// Quoted names of the user's tables (ordinary ones and roots of partitions) that the patterns pick.
    pub(crate) async fn tables(&self, config: &SourceConfig) -> Result<Vec<String>> {
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' \
                   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2";
        let rows =
            self.client.query(sql, &[]).await.map_err(|error| failure("reading the tables", &error))?;
        let names = rows.iter().map(|row| (row.get::<_, &str>(0), row.get::<_, &str>(1)));
        let picked = names.filter(|(schema, table)| config.tables.picks(schema, table));
        Ok(picked.map(|(schema, table)| format!("{}.{}", sql::ident(schema), sql::ident(table))).collect())
    }

    async fn query_one(&self, sql: &str) -> Result<tokio_postgres::Row> {
        self.client.query_one(sql, &[]).await.map_err(|error| failure("asking the server", &error))
    }
}

/// See [`Source::is_published`].
fn is_published(version: i32, name: &str) -> String {
    // Schemas in publications came with 15.
    let by_schema = if version >= 150_000 {
        " OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace AS s \
         WHERE s.pnpubid = m.oid AND s.pnnspid = c.relnamespace)"
    } else {
        ""
    };
    // OIDs below are the system's.
    format!(
        "c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' AND c.oid >= 16384 AND EXISTS \
         (SELECT FROM pg_catalog.pg_publication AS m WHERE m.pubname = {name} AND (m.puballtables OR EXISTS \
         (SELECT FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = m.oid AND r.prrelid = c.oid){by_schema}))"
    )
}

/// Lets a connection do its work beside its client's.
fn drive<S, T>(
    connected: Result<(Client, Connection<S, T>), tokio_postgres::Error>,
) -> Result<Client, tokio_postgres::Error>
where
    Connection<S, T>: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
{
    let (client, connection) = connected?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection for SQL ended");
        }
    });
    Ok(client)
}

/// The server's own words, which hold no row values for the statements that are sent here.
fn server_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

fn failure(doing: &str, error: &tokio_postgres::Error) -> Error {
    let what = format!("{doing} failed: {}", server_text(error));
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            Error::fatal(Who::Source, what, "give the role the right that the server names")
        }
        _ => Error::passing(Who::Source, what, "check that the server is up; it is tried again"),
    }
}

fn connect_failure(error: &tokio_postgres::Error) -> Error {
    let Some(code) = error.code() else {
        // tokio-postgres's text for I/O errors names the cause only in its source
        let source = std::error::Error::source(error);
        if let Some(error) = source.and_then(|source| source.downcast_ref::<TlsError>()) {
            return Error::told(Who::Source, error.is_transient(), error);
        }
        let cause = source.map(ToString::to_string).unwrap_or_default();
        if cause == "server does not support TLS" {
            let error = TlsError::Refused { address: "the host that source.url names".to_owned() };
            return Error::told(Who::Source, false, &error);
        }
        let what = format!("PostgreSQL can't be reached: {error}: {cause}");
        return Error::passing(
            Who::Source,
            what,
            "check host and port in source.url, and that the server is up",
        );
    };
    let what = format!("PostgreSQL refused the connection: {}", server_text(error));
    match code.code() {
        "28P01" | "28000" => {
            Error::fatal(Who::Source, what, "check user and password in source.url, and pg_hba.conf")
        }
        "3D000" => Error::fatal(Who::Source, what, "check the database's name in source.url"),
        _ => Error::passing(Who::Source, what, "it is tried again"),
    }
}
