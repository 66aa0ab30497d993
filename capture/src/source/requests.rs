//! Requests for tables: written into the stream, and what the catalog must say for them.

use re_dms_shared::Lsn;

use super::{Source, failure};
use crate::config::SourceConfig;
use crate::error::{Error, Result, Who};
use crate::relations::NamedTable;
use crate::resync::{Message, REQUESTS};
use crate::sql::ident;

/// A table that somebody named.
#[derive(Clone, Debug)]
pub struct FoundTable {
    /// Which.
    pub table: NamedTable,
    /// Whether the stream has it, by this name.
    pub in_stream: bool,
}

impl Source {
    /// Writes a request into the stream, and says where the server's WAL is behind it.
    ///
    /// # Errors
    /// If the server refuses, or is a standby.
    pub async fn request(&self, message: &Message) -> Result<Lsn> {
        let json = message.to_json()?;
        let sql = "SELECT pg_logical_emit_message(true, $1, $2::text)::text";
        let told = self.client.query_one(sql, &[&REQUESTS, &json]).await;
        told.map_err(|error| failure("writing a request into the stream", &error))?;
        let position = self.insert_position().await?;
        position.ok_or_else(|| {
            Error::fatal(
                Who::Source,
                "the server is a standby: nothing can be asked for through its WAL",
                "let source.url lead to the primary",
            )
        })
    }

    /// A table by its name; none if there is none.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn find_table(
        &self,
        (schema, name): (&str, &str),
        config: &SourceConfig,
    ) -> Result<Option<FoundTable>> {
        let sql = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1::text::name AND c.relname = $2::text::name AND c.relkind IN ('r', 'p')";
        let row = self.client.query_opt(sql, &[&schema, &name]).await;
        let row = row.map_err(|error| failure("looking a table up", &error))?;
        let Some(row) = row else { return Ok(None) };
        let oid = row.get(0);
        let in_stream = self.is_in_stream(oid, config).await?;
        let table = NamedTable { oid, schema: schema.to_owned(), name: name.to_owned() };
        Ok(Some(FoundTable { table, in_stream }))
    }

    /// Whether the stream has the table, by its own name and not as a partition.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn is_in_stream(&self, oid: u32, config: &SourceConfig) -> Result<bool> {
        Ok(self.stream_tables(config).await?.iter().any(|table| table.oid == oid))
    }

    /// Whether the publication has all tables, and all that will come; none if it is not there.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn publishes_all(&self, publication: &str) -> Result<Option<bool>> {
        let sql = "SELECT puballtables FROM pg_publication WHERE pubname = $1::text::name";
        let row = self.client.query_opt(sql, &[&publication]).await;
        Ok(row.map_err(|error| failure("reading publications", &error))?.map(|row| row.get(0)))
    }

    /// Puts tables into the publication, or takes them out of it, and writes the request into the stream, in one
    /// transaction.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn publish(
        &self,
        publication: &str,
        adds: bool,
        tables: &[NamedTable],
        message: &Message,
    ) -> Result<()> {
        let names: Vec<_> =
            tables.iter().map(|table| format!("{}.{}", ident(&table.schema), ident(&table.name))).collect();
        let verb = if adds { "ADD" } else { "DROP" };
        let alter = format!("ALTER PUBLICATION {} {verb} TABLE {}", ident(publication), names.join(", "));
        let emit = format!(
            "SELECT pg_logical_emit_message(true, {}, {})",
            crate::sql::literal(REQUESTS),
            crate::sql::literal(&message.to_json()?)
        );
        let done = self.client.batch_execute(&format!("BEGIN; {alter}; {emit}; COMMIT")).await;
        if let Err(error) = done {
            let _ = self.client.batch_execute("ROLLBACK").await;
            let error = failure("changing the publication", &error);
            return Err(Error {
                hint: "changing it takes its owner, who owns the tables, too: let that one do it".into(),
                ..error
            });
        }
        Ok(())
    }

    /// We may read the table.
    ///
    /// # Errors
    /// If not, or the server can't be asked.
    pub async fn check_readable(&self, oid: u32, label: &str) -> Result<()> {
        let sql = "SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE') \
                   FROM pg_catalog.pg_class c WHERE c.oid = $1";
        let row = self.client.query_opt(sql, &[&oid]).await;
        let row = row.map_err(|error| failure("looking a table up", &error))?;
        if row.is_none_or(|row| row.get(0)) {
            return Ok(());
        }
        Err(Error::fatal(
            Who::Source,
            format!("the role may not read {label}, which is to be read anew"),
            "GRANT SELECT on it (and USAGE on its schema), or exclude it (source.exclude)",
        ))
    }
}
