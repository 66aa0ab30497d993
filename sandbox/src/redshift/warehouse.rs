//! Connections to the PostgreSQL behind the stand-in.

use std::str::FromStr;

use tokio_postgres::{CancelToken, Client, Config, NoTls};

use super::copy::LoadErrorRow;
use super::settings::Isolation;
use super::transaction::Transaction;

/// Where statements run.
#[derive(Clone, Debug)]
pub(super) struct Warehouse {
    config: Config,
}

/// One connection: a statement's own, or a session's.
pub(super) struct Connection {
    pub(super) client: Client,
    /// The backend's process id.
    pub(super) pid: i32,
    pub(super) transaction: Transaction,
}

impl Connection {
    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }
}

/// Settings of every connection. Isolation is Redshift's SNAPSHOT; the own schema holds Redshift's functions.
const OPTIONS: &str = "-c search_path=\"$user\",public,re_dms_standin \
    -c default_transaction_isolation=repeatable\\ read -c standard_conforming_strings=on -c datestyle=ISO,YMD \
    -c timezone=UTC -c bytea_output=hex -c intervalstyle=postgres -c client_min_messages=warning";

impl Warehouse {
    /// Prepares the database: what Redshift has and PostgreSQL lacks.
    pub(super) async fn prepare(url: &str) -> anyhow::Result<Self> {
        let mut config = Config::from_str(url).map_err(|_| {
            anyhow::anyhow!("the warehouse's URL is malformed (hint: postgres://user@host:port/database)")
        })?;
        config.options(OPTIONS).application_name("re_dms sandbox redshift");
        let warehouse = Self { config };
        let connection = warehouse.connect().await?;
        connection.client.batch_execute(include_str!("warehouse.sql")).await?;
        Ok(warehouse)
    }

    /// The one database that there is.
    pub(super) fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or("postgres")
    }

    pub(super) async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        self.connect_with(Isolation::default()).await
    }

    /// With this isolation level, as far as it can be asked for.
    pub(super) async fn connect_with(
        &self,
        isolation: Isolation,
    ) -> Result<Connection, tokio_postgres::Error> {
        let level = match isolation {
            Isolation::Snapshot => "Snapshot Isolation",
            Isolation::Serializable => "Serializable",
        };
        let (client, connection) = self.config.connect(NoTls).await?;
        // Ends with the client; its error is the client's too.
        tokio::spawn(connection);
        let sql = "SELECT pg_catalog.pg_backend_pid(), \
                   pg_catalog.set_config('re_dms_standin.isolation', $1::text, false)";
        let row = client.query_one(sql, &[&level]).await?;
        Ok(Connection { pid: row.try_get(0)?, client, transaction: Transaction::default() })
    }

    /// Keeps a load error, apart from the transaction that it ended.
    pub(super) async fn keep_load_error(
        &self,
        query_id: i64,
        pid: i32,
        row: &LoadErrorRow,
    ) -> Result<(), tokio_postgres::Error> {
        const INSERT: &str = "INSERT INTO re_dms_standin_data.load_error VALUES
            ($1, $1, $2, $3, statement_timestamp() AT TIME ZONE 'UTC', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let connection = self.connect().await?;
        connection
            .client
            .execute(
                INSERT,
                &[
                    &query_id,
                    &pid,
                    &row.table,
                    &row.file,
                    &row.line,
                    &row.column_name,
                    &row.column_type,
                    &row.column_length,
                    &row.position,
                    &row.code,
                    &row.reason,
                    &row.raw_line,
                    &row.raw_field,
                ],
            )
            .await?;
        Ok(())
    }
}
