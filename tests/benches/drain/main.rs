//! `make bench`: how fast the capture drains a slot, against `pg_recvlogical` on copies of the same slot.
//!
//! Four workloads are made on a PostgreSQL server of the benchmark's own; each contender drains each of them in turn, in
//! several rounds, as a process of its own. Ratios are taken within a round. Nothing else should run on the machine.

mod contender;
mod latency;
mod report;
mod server;
mod usage;
mod workloads;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use contender::{Figures, Kind, Task};
use report::{Drained, Report};
use server::Server;
use workloads::Workload;

/// How fast the capture drains a replication slot, against pg_recvlogical.
#[derive(Debug, Parser)]
struct Options {
    /// Size of the workloads; 1 is the full one.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Each contender drains each workload this often.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',')]
    workloads: Option<Vec<Workload>>,
    /// Only these contenders; `pg_recvlogical` is what the others are measured against.
    #[arg(long, value_delimiter = ',')]
    contenders: Option<Vec<Kind>>,
    /// The capture's batch.max_memory in MiB.
    #[arg(long, default_value_t = 256)]
    max_memory: u64,
    /// Folder with PostgreSQL's programs, pgbench and pg_recvlogical among them.
    #[arg(long)]
    pg_bin: Option<PathBuf>,
    /// Where the server, the local WAL and the files go: on the kind of disk that is to be measured. Some 20 GB.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Where the figures go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/results.json"))]
    results: PathBuf,
    #[command(subcommand)]
    command: Option<Role>,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// One contender's process: started by the benchmark itself.
    #[command(hide = true)]
    Contender(Task),
}

const CONTENDERS: [Kind; 5] =
    [Kind::Recvlogical, Kind::RecvlogicalStreaming, Kind::Durable, Kind::Files, Kind::FilesZstd];

fn main() -> Result<()> {
    let options = Options::parse();
    // As many threads as `re_dms` has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match options.command {
        Some(Role::Contender(task)) => runtime.block_on(contender::run(task)),
        None => runtime.block_on(bench(&options)),
    }
}

async fn bench(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0 && options.scale > 0.0, "--rounds and --scale must be more than nothing");
    let folder = tempfile::Builder::new().prefix("re_dms_bench_").tempdir_in(&options.dir)?;
    let server = Server::start(folder.path(), options.pg_bin.as_deref()).await?;
    let mut bench = Bench { options, folder: folder.path().to_owned(), server, copies: 0 };
    let mut report = Report::new(options.scale, options.max_memory << 20, bench.server.version().await?);
    for &workload in options.workloads.as_deref().unwrap_or(&Workload::ALL) {
        bench.workload(workload, &mut report).await?;
    }
    eprintln!("lone commits …");
    report.latencies = bench.lone_commits().await?;
    bench.server.stop().await;
    print!("{}", report.table());
    report.write(&options.results)?;
    println!("\nFigures: {}", options.results.display());
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    folder: PathBuf,
    server: Server,
    copies: u32,
}

impl Bench<'_> {
    async fn workload(&mut self, workload: Workload, report: &mut Report) -> Result<()> {
        let name = workload.name();
        eprintln!("{name}: {} – making it …", workload.title());
        self.server.create_database(name).await?;
        workload.prepare(&self.server, self.options.scale).await?;
        self.server.create_slot(name).await?;
        workload.run(&self.server, self.options.scale).await?;
        let (end, wal_bytes) = self.server.end_of_wal(name).await?;
        let contenders = self.options.contenders.as_deref().unwrap_or(&CONTENDERS);
        let mut rounds = Vec::new();
        for number in 0..self.options.rounds {
            let mut round = Vec::new();
            for position in 0..contenders.len() {
                // Nobody is always the first.
                let kind = contenders[(position + number) % contenders.len()];
                let drained = self.drain(workload, kind, &end).await?;
                eprintln!("{name}: round {}: {:<26} {:>7.2} s", number + 1, kind.title(), drained.wall);
                round.push((kind, drained));
            }
            rounds.push(round);
        }
        report.add(workload, wal_bytes, &rounds);
        self.server.drop_slot(name, name).await
    }

    async fn drain(&mut self, workload: Workload, kind: Kind, end: &str) -> Result<Drained> {
        let database = workload.name();
        self.copies += 1;
        let slot = format!("copy_{}", self.copies);
        self.server.copy_slot(database, &slot).await?;
        let drained = self.contend(kind, database, &slot, end).await?;
        self.server.drop_slot(database, &slot).await?;
        Ok(drained)
    }

    async fn lone_commits(&mut self) -> Result<Vec<f64>> {
        self.server.create_database("quiet").await?;
        self.server.create_slot("quiet").await?;
        Ok(self.contend(Kind::Latency, "quiet", "quiet", "0/0").await?.figures.latencies)
    }

    /// Runs one contender's process to its end.
    async fn contend(&self, kind: Kind, database: &str, slot: &str, end: &str) -> Result<Drained> {
        let dir = tempfile::Builder::new().prefix("contender_").tempdir_in(&self.folder)?;
        let client = self.server.client(database).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("contender").args(["--url", &self.server.url(database), "--slot", slot, "--end", end]);
        command.arg("--kind").arg(clap::ValueEnum::to_possible_value(&kind).context("a kind")?.get_name());
        command.arg("--dir").arg(dir.path()).arg("--recvlogical").arg(self.server.program("pg_recvlogical"));
        command.args(["--max-memory", &(self.options.max_memory << 20).to_string()]);
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut walsender = None;
        let mut walsender_cpu = 0.0;
        let status = loop {
            if walsender.is_none() {
                walsender = self.server.walsender(&client, slot).await?;
            }
            walsender_cpu = walsender.and_then(usage::cpu).unwrap_or(walsender_cpu);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let wall = began.elapsed().as_secs_f64();
        ensure!(status.success(), "{} on {database}: {status}", kind.title());
        let mut text = String::new();
        let mut output = child.stdout.take().context("the contender's output")?;
        std::io::Read::read_to_string(&mut output, &mut text)?;
        let figures: Figures = serde_json::from_str(&text).context("the contender's figures")?;
        Ok(Drained { wall, walsender_cpu, figures })
    }
}
