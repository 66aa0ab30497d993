//! The PostgreSQL server that is drained: one database a workload, and slots that are copied for each contender, so that
//! all of them get the same changes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use re_dms_sandbox::error::Part;
use re_dms_sandbox::postgres::{PostgresBinaries, PostgresOptions, PostgresServer, Wanted};
use rustix::process::Signal;
use tokio_postgres::{Client, NoTls};

/// Every database's publication, of all its tables.
pub(crate) const PUBLICATION: &str = "bench";

/// WAL must stay in the page cache and no checkpoint may come between two contenders.
const SETTINGS: [(&str, &str); 9] = [
    ("wal_level", "logical"),
    ("shared_buffers", "1GB"),
    ("max_wal_size", "32GB"),
    ("checkpoint_timeout", "1d"),
    ("autovacuum", "off"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("max_connections", "30"),
    ("wal_sender_timeout", "5min"),
];

pub(crate) struct Server {
    binaries: PostgresBinaries,
    server: PostgresServer,
    _guard: re_dms_sandbox::processes::StopOnDrop,
}

impl Server {
    /// Starts a new server with its data in `folder`.
    pub(crate) async fn start(folder: &Path, pg_bin: Option<&Path>) -> Result<Self> {
        let venv = std::env::var_os("RE_DMS_VENV").map(PathBuf::from);
        let binaries = PostgresBinaries::find(Wanted::Source, pg_bin, venv.as_deref())?;
        let options = PostgresOptions {
            part: Part::Source,
            folder: folder.join("postgres"),
            port: None,
            database: "bench".into(),
            settings: SETTINGS.map(|(name, value)| (name.into(), value.into())).into(),
            log: folder.join("postgres.log"),
        };
        let server = PostgresServer::init_and_start(&binaries, &options).await?;
        let guard = server.process.stop_on_drop(Signal::INT);
        Ok(Self { binaries, server, _guard: guard })
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port())
    }

    pub(crate) async fn client(&self, database: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(crate) async fn version(&self) -> Result<String> {
        Ok(self.client("bench").await?.query_one("SHOW server_version", &[]).await?.get(0))
    }

    pub(crate) async fn create_database(&self, name: &str) -> Result<()> {
        self.client("bench").await?.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        Ok(())
    }

    /// The slot that the others are copied from, and its publication.
    pub(crate) async fn create_slot(&self, database: &str) -> Result<()> {
        let client = self.client(database).await?;
        client.batch_execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES")).await?;
        client.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&database]).await?;
        Ok(())
    }

    pub(crate) async fn copy_slot(&self, database: &str, copy: &str) -> Result<()> {
        let client = self.client(database).await?;
        client.execute("SELECT pg_copy_logical_replication_slot($1, $2)", &[&database, &copy]).await?;
        Ok(())
    }

    pub(crate) async fn drop_slot(&self, database: &str, slot: &str) -> Result<()> {
        let client = self.client(database).await?;
        // Its walsender may still be on its way out.
        for _ in 0..100 {
            let idle = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1 AND NOT active";
            if client.query_opt(idle, &[&slot]).await?.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        client.execute("SELECT pg_drop_replication_slot($1)", &[&slot]).await?;
        Ok(())
    }

    /// Where the WAL ends, with more behind it, so that a reader that has come so far hears of it. And how many bytes
    /// lie between the slot and there.
    pub(crate) async fn end_of_wal(&self, database: &str) -> Result<(String, f64)> {
        let client = self.client(database).await?;
        let sql = "SELECT end_lsn::text, (end_lsn - confirmed_flush_lsn)::float8 \
                   FROM pg_current_wal_insert_lsn() end_lsn, pg_replication_slots WHERE slot_name = $1";
        let row = client.query_one(sql, &[&database]).await?;
        client
            .batch_execute(
                "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'bench', 'end')",
            )
            .await?;
        client.batch_execute("CHECKPOINT").await?;
        Ok((row.get(0), row.get(1)))
    }

    /// The walsender that reads from the slot.
    pub(crate) async fn walsender(&self, client: &Client, slot: &str) -> Result<Option<u32>> {
        let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1";
        let row = client.query_opt(sql, &[&slot]).await.context("looking for the walsender")?;
        let pid: Option<i32> = row.and_then(|row| row.get(0));
        Ok(pid.and_then(|pid| u32::try_from(pid).ok()))
    }
}
