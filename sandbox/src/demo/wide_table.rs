//! A wide table of mixed types under inserts, updates and deletes. Its documents are large and incompressible, so they
//! lie in TOAST, and most updates leave them unchanged: those changes come without them.

use tokio_postgres::Client;

use super::workload_failed;
use crate::database;
use crate::error::{Error, Part, Result};
use crate::state::State;

/// Name, type, and a value made of the row's number `g`.
pub(super) const COLUMNS: &[(&str, &str, &str)] = &[
    ("id", "bigint PRIMARY KEY", "nextval('shop.orders_id')"),
    ("version", "integer NOT NULL", "1"),
    ("status", "shop.order_status NOT NULL", "'new'"),
    ("priority", "smallint", "(g % 5)::smallint"),
    ("customer", "uuid", "gen_random_uuid()"),
    ("country", "char(2)", "(ARRAY['DE', 'FR', 'US', 'J'])[1 + g % 4]"),
    ("currency", "char(3)", "'EUR'"),
    ("reference", "varchar(40)", "'R-' || upper(md5(random()::text))"),
    ("title", "text", "'Bestellung Nº ' || g || ' \"für\" you, ' || repeat('→', g % 9)"),
    ("empty_text", "text", "''"),
    ("multi_line", "text", "E'first\\nsecond\\r\\nthird, with a comma'"),
    ("amount", "numeric(12,2)", "round((random() * 10000)::numeric, 2)"),
    ("exact", "numeric(38,10)", "(random() * 1e15)::numeric"),
    ("unlimited", "numeric", "(random() * 1e9)::numeric * 1e30::numeric"),
    ("price", "money", "(random() * 1000)::numeric::money"),
    ("weight", "real", "(random() * 50)::real"),
    ("ratio", "double precision", "random() / 3"),
    ("paid", "boolean", "g % 3 = 0"),
    ("ordered_on", "date", "current_date - g % 1000"),
    ("ordered_at", "timestamp", "clock_timestamp()::timestamp"),
    ("shipped_at", "timestamptz", "clock_timestamp() + g * interval '1 minute'"),
    ("pick_up", "time", "time '06:00' + (g % 600) * interval '1 minute'"),
    ("took", "interval", "(g % 5000) * interval '1 second'"),
    ("address", "inet", "'10.0.0.1'::inet + g % 1000"),
    ("network", "cidr", "'10.1.0.0/16'"),
    ("device", "macaddr", "'08:00:2b:01:02:03'"),
    ("signature", "bytea", "decode(md5(random()::text), 'hex')"),
    ("tags", "text[]", "ARRAY['a', 'b \"quoted\"', NULL, 'c,d']"),
    ("quantities", "integer[]", "ARRAY[g, g + 1, NULL]"),
    ("amounts", "numeric[]", "ARRAY[1.50, 2.25]"),
    ("settings", "json", "json_build_object('n', g, 'on', true)"),
    ("window", "int4range", "int4range(g, g + 10)"),
    ("words", "tsvector", "to_tsvector('simple', 'some words ' || g)"),
    ("place", "point", "point(g % 90, g % 180)"),
    ("nothing", "text", "NULL"),
    (
        "document",
        "jsonb",
        "jsonb_build_object('order', g, 'lines', (SELECT jsonb_agg(md5(random()::text)) \
         FROM generate_series(1, 150 + g % 7)))",
    ),
    ("updated_at", "timestamptz", "clock_timestamp()"),
];

/// Rows that a round inserts.
const INSERTS: i64 = 20;
/// Rows that stay; older ones are deleted.
const KEEP: i64 = 3_000;

/// The table, and who works on it.
pub(super) struct WideTable {
    client: Client,
    rounds: i64,
    changes: u64,
}

impl WideTable {
    /// Creates it.
    pub(super) async fn create(state: &State) -> Result<Self> {
        let client = database::connect(Part::Source, &state.source_url).await?;
        let columns: Vec<String> =
            COLUMNS.iter().map(|(name, kind, _)| format!("\"{name}\" {kind}")).collect();
        let sql = format!(
            "CREATE SCHEMA shop;
             CREATE TYPE shop.order_status AS ENUM ('new', 'paid', 'shipped', 'returned');
             CREATE SEQUENCE shop.orders_id;
             CREATE TABLE shop.orders ({});
             ALTER TABLE shop.orders ALTER COLUMN document SET STORAGE EXTERNAL",
            columns.join(", ")
        );
        client.batch_execute(&sql).await.map_err(Error::database(Part::Source))?;
        Ok(Self { client, rounds: 0, changes: 0 })
    }

    /// Rows inserted, updated and deleted so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// A few transactions: inserts, updates without and with the document, deletes.
    pub(super) async fn round(&mut self) -> Result<()> {
        let values: Vec<&str> = COLUMNS.iter().map(|(_, _, value)| *value).collect();
        let first = self.rounds * INSERTS;
        let last = first + INSERTS - 1;
        let part = self.rounds % 50;
        let statements = [
            format!(
                "INSERT INTO shop.orders SELECT {} FROM generate_series({first}, {last}) AS g",
                values.join(", ")
            ),
            format!(
                "UPDATE shop.orders SET version = version + 1, status = 'paid', paid = true, amount = amount + 1, \
                 updated_at = clock_timestamp() WHERE id % 50 = {part}"
            ),
            format!(
                "UPDATE shop.orders SET status = 'shipped', took = took + interval '1 second' \
                 WHERE id % 25 = {part} AND id > {last} - 500"
            ),
            format!(
                "UPDATE shop.orders SET document = document || jsonb_build_object('round', {part}) \
                 WHERE id % 400 = {part}"
            ),
            format!("DELETE FROM shop.orders WHERE id < {last} - {KEEP} OR id % 101 = {part}"),
        ];
        for sql in &statements {
            let changed = self.client.execute(sql, &[]).await;
            self.changes += changed.map_err(|error| match error.as_db_error() {
                Some(db) => {
                    workload_failed(format!("the wide table: {} ({})", db.message(), db.code().code()))
                }
                None => workload_failed(format!("the wide table: {error}")),
            })?;
        }
        self.rounds += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_wide_and_its_columns_have_names_of_their_own() {
        let mut names: Vec<&str> = COLUMNS.iter().map(|(name, _, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COLUMNS.len());
        assert!(names.len() > 30);
    }
}
