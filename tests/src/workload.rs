//! Live changes on the source: every kind of change on every kind of table, in transactions of random size.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

/// Tables with a plain key, a composite key, a text key, no key, and TOASTed columns.
const SCHEMA: &str = "
    CREATE TABLE accounts (id bigint PRIMARY KEY, owner text NOT NULL, balance numeric(14,2), opened timestamptz DEFAULT now());
    CREATE TABLE order_lines (order_id int, line_no int, sku varchar(20), quantity int, price numeric, PRIMARY KEY (order_id, line_no));
    CREATE TABLE events (at timestamptz DEFAULT clock_timestamp(), kind text, payload jsonb);
    CREATE TABLE documents (slug text PRIMARY KEY, version int, title text, body text, meta jsonb);
    ALTER TABLE documents ALTER body SET STORAGE EXTERNAL, ALTER meta SET STORAGE EXTERNAL;
    CREATE TABLE \"Mixed Case\" (\"Id\" int PRIMARY KEY, \"Order\" text, \"select\" boolean);
";

/// A stream of random changes; the same seed makes the same changes.
pub struct Workload {
    client: Client,
    random: StdRng,
}

impl Workload {
    /// Makes the tables.
    pub async fn start(client: Client, seed: u64) -> Result<Self> {
        println!("workload seed: {seed}");
        client.batch_execute(SCHEMA).await?;
        Ok(Self { client, random: StdRng::seed_from_u64(seed) })
    }

    /// Commits (or rolls back) this many transactions.
    pub async fn transactions(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let statements: Vec<String> =
                (0..self.random.random_range(1..12)).map(|_| self.statement()).collect();
            let end = if self.random.random_bool(0.05) { "ROLLBACK" } else { "COMMIT" };
            self.client.batch_execute(&format!("BEGIN;{};{end}", statements.join(";"))).await?;
        }
        Ok(())
    }

    fn statement(&mut self) -> String {
        let r = &mut self.random;
        let (id, other, n) = (r.random_range(0..500), r.random_range(0..500), r.random_range(0..1_000_000));
        let (order, line) = (id % 50, r.random_range(0..8));
        match r.random_range(0..16) {
            0..=2 => format!(
                "INSERT INTO accounts VALUES ({id}, 'owner, \"{n}\"', {n}.25) ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + 1"
            ),
            3 => {
                format!("UPDATE accounts SET owner = E'line\\n{n} \\\\ \\'', balance = NULL WHERE id = {id}")
            }
            4 => format!("DELETE FROM accounts WHERE id = {id}"),
            // a key that changes
            5 => format!(
                "UPDATE accounts SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT FROM accounts WHERE id = {other})"
            ),
            6..=7 => format!(
                "INSERT INTO order_lines VALUES ({order}, {line}, 'sku-{n}', {line}, {n}.{n}) ON CONFLICT (order_id, line_no) DO UPDATE SET quantity = order_lines.quantity + {line}"
            ),
            8 => format!("DELETE FROM order_lines WHERE order_id = {order}"),
            9 => format!(
                "INSERT INTO events (kind, payload) VALUES ('kind {}', '{{\"n\": {n}, \"s\": \"ü\\u00e9\"}}')",
                n % 7
            ),
            10..=11 => format!(
                "INSERT INTO documents SELECT 'doc {id}', 1, 'title', string_agg(md5(i::text || '{n}'), ''), \
                 jsonb_build_object('blob', string_agg(md5(i::text), '')) FROM generate_series(1, 150) i \
                 ON CONFLICT (slug) DO UPDATE SET version = documents.version + 1, title = 'again {n}'"
            ),
            12 => format!("UPDATE documents SET version = version + 1 WHERE slug = 'doc {id}'"),
            13 => format!("UPDATE documents SET body = repeat('{n} ', 700) WHERE slug = 'doc {id}'"),
            // a key that changes while TOASTed values stay
            14 => format!(
                "UPDATE documents SET slug = 'doc {other}' WHERE slug = 'doc {id}' AND NOT EXISTS (SELECT FROM documents WHERE slug = 'doc {other}')"
            ),
            _ => format!(
                "INSERT INTO \"Mixed Case\" VALUES ({id}, '{n}', {}) ON CONFLICT (\"Id\") DO UPDATE SET \"Order\" = NULL",
                n % 2 == 0
            ),
        }
    }
}
