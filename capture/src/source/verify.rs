//! What the source is asked to verify a table.

use re_dms_shared::verify::Group;

use super::definition::FORMS;
use super::{Source, failure};
use crate::error::{Error, Result, Who};
use crate::sql::ident;
use crate::verify::{Message, RUNS};

/// Rows that a table's ranges are found by, about.
const SAMPLED_ROWS: f64 = 30_000.0;

impl Source {
    /// Groups of rows, each with the number of rows that may be too wide for Redshift: what a question gives. `shows`: it asks
    /// for keys' values.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn groups(&self, label: &str, sql: &str, shows: bool) -> Result<Vec<(Group, u64)>> {
        let rows = self.client.query(sql, &[]).await.map_err(|error| {
            // The server's words may hold values.
            let code = error.code().map_or("no answer", |code| code.code());
            let what = format!("verifying {label} on the source failed ({code})");
            Error::passing(Who::Source, what, "check that the server is up, and its log; it is tried again")
        })?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let group = |row: &tokio_postgres::Row| {
            let shown = shows.then(|| row.get(4));
            let group =
                Group { id: row.get(0), rows: count(row.get(1)), sums: [row.get(2), row.get(3)], shown };
            (group, count(row.get(if shows { 5 } else { 4 })))
        };
        Ok(rows.iter().map(group).collect())
    }

    /// How many rows the table has, about.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn rows_about(&self, table_oid: u32) -> Result<u64> {
        // A table that was never analyzed: by its size.
        let sql = "WITH RECURSIVE tree AS (SELECT $1::oid AS oid UNION ALL \
                       SELECT h.inhrelid FROM pg_inherits h JOIN tree ON h.inhparent = tree.oid \
                       JOIN pg_class p ON p.oid = tree.oid AND p.relkind = 'p') \
                   SELECT COALESCE(sum(CASE WHEN c.reltuples < 0 THEN pg_relation_size(c.oid) / 64 ELSE c.reltuples END), 0)::bigint \
                   FROM tree JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'r'";
        let row = self.client.query_one(sql, &[&table_oid]).await;
        let rows: i64 = row.map_err(|error| failure("estimating a table's rows", &error))?.get(0);
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    /// Values of a column that divide the table's rows into so many parts of about one size, ascending; fewer if it has fewer
    /// values. None if the table is gone. `rows`: how many it has, about.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn bounds(
        &self,
        table_oid: u32,
        column: &str,
        parts: u64,
        rows: u64,
    ) -> Result<Option<Vec<String>>> {
        let failed = |error: tokio_postgres::Error| failure("dividing a table's key into ranges", &error);
        let forms = format!("{FORMS}; SET lock_timeout = '2s'");
        self.client.batch_execute(&forms).await.map_err(failed)?;
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.oid = $1";
        let Some(row) = self.client.query_opt(sql, &[&table_oid]).await.map_err(failed)? else {
            return Ok(None);
        };
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let fractions: Vec<_> = (1..parts).map(|part| (part as f64 / parts as f64).to_string()).collect();
        if fractions.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let percent = (100.0 * SAMPLED_ROWS / rows.max(1) as f64).clamp(0.0001, 100.0);
        let sql = format!(
            "SELECT b::text FROM (SELECT DISTINCT unnest(percentile_disc(ARRAY[{}]::float8[]) WITHIN GROUP (ORDER BY k)) \
             AS b FROM (SELECT {} AS k FROM {}.{} TABLESAMPLE SYSTEM ({percent})) AS s) AS u WHERE b IS NOT NULL ORDER BY u.b",
            fractions.join(", "),
            ident(column),
            ident(&schema),
            ident(&name),
        );
        let rows = self.client.query(&sql, &[]).await.map_err(failed)?;
        Ok(Some(rows.iter().map(|row| row.get(0)).collect()))
    }

    /// Whether the table holds any row.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn has_rows(&self, schema: &str, name: &str) -> Result<bool> {
        let sql = format!("SELECT EXISTS (SELECT FROM {}.{})", ident(schema), ident(name));
        let row = self.client.query_one(&sql, &[]).await;
        Ok(row.map_err(|error| failure("looking into a table", &error))?.get(0))
    }

    /// Writes into the stream what is to be verified, or lets a transaction come.
    ///
    /// # Errors
    /// If the server refuses, or is a standby.
    pub async fn ask_to_verify(&self, message: &Message) -> Result<()> {
        let json = serde_json::json!(message).to_string();
        let sql = "SELECT pg_logical_emit_message(true, $1, $2::text)::text";
        let told = self.client.query_one(sql, &[&RUNS, &json]).await;
        told.map(drop).map_err(|error| failure("writing a request into the stream", &error))
    }
}
