//! A table's definition from the catalog.

use super::{Source, failure};
use crate::error::{Error, Result, Who};
use crate::relations::TableNow;

/// Values are to be printed as the replication stream prints them.
const FORMS: &str = "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; \
                     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'";

impl Source {
    /// A table as the catalog has it now; none if it is gone.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn definition(&self, table_oid: u32, publication: &str) -> Result<Option<TableNow>> {
        let doing = "looking a table up";
        self.client.batch_execute(FORMS).await.map_err(|error| failure(doing, &error))?;
        let row = self
            .client
            .query_opt(include_str!("definition.sql"), &[&i64::from(table_oid), &publication])
            .await
            .map_err(|error| failure(doing, &error))?;
        let Some(row) = row else { return Ok(None) };
        serde_json::from_str(row.get(0)).map(Some).map_err(|error| {
            Error::fatal(Who::Source, format!("{doing}: the answer can't be read: {error}"), "report this")
        })
    }
}
