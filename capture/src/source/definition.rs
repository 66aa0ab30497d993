//! A table's definition from the catalog.

use super::{Source, failure};
use crate::error::Result;
use crate::relations::TableNow;

/// Values are to be printed as the replication stream prints them.
pub(super) const FORMS: &str = "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; \
                     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'";

impl Source {
    /// A table as the catalog has it now; none if it is gone.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn definition(&self, table_oid: u32, publication: &str) -> Result<Option<TableNow>> {
        self.definition_text(table_oid, publication).await?.as_deref().map(TableNow::read).transpose()
    }

    /// The same as the server's text, which is another one if anything of the table's definition is.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn definition_text(&self, table_oid: u32, publication: &str) -> Result<Option<String>> {
        let doing = "looking a table up";
        self.client.batch_execute(FORMS).await.map_err(|error| failure(doing, &error))?;
        let row = self
            .client
            .query_opt(include_str!("definition.sql"), &[&i64::from(table_oid), &publication])
            .await
            .map_err(|error| failure(doing, &error))?;
        Ok(row.map(|row| row.get(0)))
    }
}
