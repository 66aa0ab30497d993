//! Taking away what a stream made on the source.

use super::{Source, failure};
use crate::error::Result;
use crate::sql;

impl Source {
    /// Drops a slot; one that is gone is no error.
    ///
    /// # Errors
    /// If somebody reads it, or the server refuses.
    pub async fn drop_slot(&self, name: &str) -> Result<()> {
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1::text::name";
        let dropped = self.client.query(sql, &[&name]).await;
        dropped.map(drop).map_err(|error| failure("dropping the slot", &error))
    }

    /// Drops the publication.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn drop_publication(&self, name: &str) -> Result<()> {
        let sql = format!("DROP PUBLICATION IF EXISTS {}", sql::ident(name));
        self.client.batch_execute(&sql).await.map_err(|error| failure("dropping the publication", &error))
    }
}
