//! The four workloads, each made on the server behind a replication slot of its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::server::Server;

/// What is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// pgbench's TPC-B with 4 clients: many small transactions.
    A,
    /// One INSERT … SELECT of narrow rows: one huge transaction.
    B,
    /// 40 mixed columns: inserts, updates and deletes in transactions of 10,000.
    C,
    /// TOASTed jsonb, most updates leave it unchanged.
    D,
}

impl Workload {
    pub(crate) const ALL: [Workload; 4] = [Workload::A, Workload::B, Workload::C, Workload::D];

    /// Its letter, which is also its database's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::A => "a",
            Workload::B => "b",
            Workload::C => "c",
            Workload::D => "d",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Workload::A => "OLTP: pgbench TPC-B, 4 clients",
            Workload::B => "one INSERT of narrow rows",
            Workload::C => "40 columns: inserts, updates, deletes",
            Workload::D => "TOASTed jsonb, mostly unchanged",
        }
    }

    /// What there is before the slot is made. `scale` 1 is the full size.
    pub(crate) async fn prepare(self, server: &Server, scale: f64) -> Result<()> {
        let schema = match self {
            Workload::A => {
                let branches = scaled(50, scale).to_string();
                return pgbench(server, &["-i", "-q", "-s", &branches]);
            }
            Workload::B => include_str!("workloads/b_schema.sql"),
            Workload::C => include_str!("workloads/c_schema.sql"),
            Workload::D => include_str!("workloads/d_schema.sql"),
        };
        Ok(server.client(self.name()).await?.batch_execute(schema).await?)
    }

    /// The changes.
    pub(crate) async fn run(self, server: &Server, scale: f64) -> Result<()> {
        let statements = match self {
            Workload::A => {
                let transactions = scaled(75_000, scale).to_string();
                return pgbench(server, &["-n", "-c", "4", "-j", "2", "-t", &transactions]);
            }
            Workload::B => vec![format!(
                "INSERT INTO narrow SELECT g, g % 1000, 'v' || g, now() FROM generate_series(1, {}) g",
                scaled(5_000_000, scale)
            )],
            Workload::C => {
                let rows = scaled(1_000_000, scale);
                let step = 10_000.min(rows);
                [("c_ins", rows), ("c_upd", rows), ("c_del", rows / 5)]
                    .map(|(procedure, rows)| format!("CALL {procedure}({rows}, {step})"))
                    .into()
            }
            Workload::D => {
                let rows = scaled(50_000, scale);
                let insert = format!(
                    "INSERT INTO toasty SELECT g, 0, 'new', jsonb_build_object('id', g, 'blob', (SELECT \
                     string_agg(md5(g::text || i::text), '') FROM generate_series(1, 190) i)), 'note ' || g \
                     FROM generate_series(1, {rows}) g"
                );
                let untouched = (1..=4).map(|n| format!("UPDATE toasty SET n = n + 1, status = 'u{n}'"));
                let touched = format!(
                    "UPDATE toasty SET doc = doc || jsonb_build_object('v', n) WHERE id <= {}",
                    rows / 5
                );
                [insert].into_iter().chain(untouched).chain([touched]).collect()
            }
        };
        // One by one: procedures that commit can't run among other statements.
        let client = server.client(self.name()).await?;
        for statement in statements {
            client.batch_execute(&statement).await?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts far below 2^53")]
fn scaled(full: u64, scale: f64) -> u64 {
    ((full as f64 * scale) as u64).max(1)
}

fn pgbench(server: &Server, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(server.program("pgbench"));
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &server.port().to_string()]);
    command.args(arguments).arg(Workload::A.name()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().context("pgbench, which comes with PostgreSQL's client programs")?;
    ensure!(status.success(), "pgbench failed: {status}");
    Ok(())
}
