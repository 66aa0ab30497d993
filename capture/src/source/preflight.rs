//! What `re_dms check` asks the source: facts, which [`crate::check`] judges.

use jiff::Timestamp;

use super::{Source, failure};
use crate::config::SourceConfig;
use crate::error::Result;

/// The server's settings, and what the role may do.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// As `server_version` has it.
    pub version: String,
    /// The role that we logged in as.
    pub role: String,
    /// A superuser, or what a managed service calls one.
    pub superuser: bool,
    /// May read slots.
    pub may_replicate: bool,
    /// Row-level security does not hold for it.
    pub bypasses_rls: bool,
    /// May make a publication.
    pub may_create: bool,
    /// `max_replication_slots`, and how many there are.
    pub slots: (i64, i64),
    /// `max_wal_senders`, and how many are at work.
    pub senders: (i64, i64),
    /// `max_slot_wal_keep_size` in megabytes; -1 for no limit.
    pub slot_keeps_megabytes: i64,
    /// `wal_sender_timeout` in milliseconds; 0 for never.
    pub sender_timeout_ms: i64,
    /// Has not been promoted.
    pub standby: bool,
    /// The server's clock.
    pub clock: Timestamp,
}

/// A publication.
#[derive(Clone, Debug)]
pub struct PublicationFacts {
    /// It has every table that there is and will be.
    pub all_tables: bool,
    /// Partitions arrive as their root.
    pub via_root: bool,
    /// Inserts, updates, deletes and truncates, all of them, are sent.
    pub all_changes: bool,
}

/// What is of interest of a slot beside [`super::SlotState`].
#[derive(Clone, Debug)]
pub struct SlotFacts {
    /// Somebody reads it at the moment.
    pub active: bool,
    /// WAL that it retains.
    pub retained_bytes: i64,
}

/// A table of the publication.
#[derive(Clone, Debug)]
pub struct TableFacts {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Updates and deletes name the row that they mean.
    pub has_identity: bool,
    /// The role may read it.
    pub may_select: bool,
    /// Row-level security hides rows from who does not bypass it.
    pub has_rls: bool,
}

impl Source {
    /// The server and the role.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn server_facts(&self) -> Result<ServerFacts> {
        let sql = "SELECT current_setting('server_version'), current_user::text, r.rolsuper, \
                   r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_roles m WHERE m.rolname = 'rds_replication' \
                       AND pg_has_role(m.oid, 'member')), \
                   r.rolsuper OR r.rolbypassrls, has_database_privilege(current_database(), 'CREATE'), \
                   current_setting('max_replication_slots')::bigint, (SELECT count(*) FROM pg_replication_slots), \
                   current_setting('max_wal_senders')::bigint, (SELECT count(*) FROM pg_stat_replication), \
                   (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
                   (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'), \
                   pg_is_in_recovery(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
                   FROM pg_roles r WHERE r.rolname = current_user";
        let row = self.query_one(sql).await?;
        Ok(ServerFacts {
            version: row.get(0),
            role: row.get(1),
            superuser: row.get(2),
            may_replicate: row.get(3),
            bypasses_rls: row.get(4),
            may_create: row.get(5),
            slots: (row.get(6), row.get(7)),
            senders: (row.get(8), row.get(9)),
            slot_keeps_megabytes: row.get(10),
            sender_timeout_ms: row.get(11),
            standby: row.get(12),
            clock: Timestamp::from_millisecond(row.get(13)).unwrap_or_default(),
        })
    }

    /// A publication, if it is there.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn publication_facts(&self, name: &str) -> Result<Option<PublicationFacts>> {
        let sql = "SELECT puballtables, pubviaroot, pubinsert AND pubupdate AND pubdelete AND pubtruncate \
                   FROM pg_publication WHERE pubname = $1::text::name";
        let row = self.client.query_opt(sql, &[&name]).await;
        let row = row.map_err(|error| failure("reading publications", &error))?;
        Ok(row.map(|row| PublicationFacts {
            all_tables: row.get(0),
            via_root: row.get(1),
            all_changes: row.get(2),
        }))
    }

    /// More of a slot.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn slot_facts(&self, name: &str) -> Result<Option<SlotFacts>> {
        let sql = "SELECT active, COALESCE(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                   ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint \
                   FROM pg_replication_slots WHERE slot_name = $1::text::name";
        let row = self.client.query_opt(sql, &[&name]).await;
        let row = row.map_err(|error| failure("reading the slots", &error))?;
        Ok(row.map(|row| SlotFacts { active: row.get(0), retained_bytes: row.get(1) }))
    }

    /// The picked tables of the publication.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn table_facts(&self, config: &SourceConfig) -> Result<Vec<TableFacts>> {
        let is_published = self.is_published("$1::text::name").await?;
        let sql = format!(
            "SELECT n.nspname::text, c.relname::text, \
             c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND \
                 CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident \
                 ELSE false END), \
             has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), \
             c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {is_published} ORDER BY 1, 2"
        );
        let rows = self.client.query(&sql, &[&config.publication]).await;
        let rows = rows.map_err(|error| failure("reading the publication's tables", &error))?;
        let table = |row: &tokio_postgres::Row| TableFacts {
            schema: row.get(0),
            name: row.get(1),
            has_identity: row.get(2),
            may_select: row.get(3),
            has_rls: row.get(4),
        };
        let picked = |table: &TableFacts| config.tables.picks(&table.schema, &table.name);
        Ok(rows.iter().map(table).filter(picked).collect())
    }
}
