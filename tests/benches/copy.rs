//! `make bench`, the initial copy: from the snapshot to finished gz files and manifests on the sandbox's S3, against
//! `COPY … TO '/dev/null'` of the same tables by the same number of workers. Nothing else should run on the machine; the
//! local S3 takes its part of it, too.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use re_dms_shared::status::CaptureStatus;
use re_dms_tests::{Aws, Sandbox, peak_memory};
use serde_json::json;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

/// How fast the initial copy is, against COPY to /dev/null.
#[derive(Debug, Parser)]
struct Options {
    /// Size of the tables; 1 is the full one.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Each is measured this often, in turn; ratios are taken within a round.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections that read.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Where the figures go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/copy.json"))]
    results: PathBuf,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// At most so many times the wall time of COPY to /dev/null.
const TARGET: f64 = 1.3;

/// What one COPY to /dev/null reads, in blocks: as the capture's readers do.
const CHUNK_BLOCKS: i64 = 8192;

const TABLES: [&str; 2] = ["narrow", "wide"];

async fn fill(source: &Client, scale: f64) -> Result<()> {
    let columns: Vec<String> = (0..30).map(|column| format!("c{column} text")).collect();
    let values: Vec<String> = (0..30).map(|column| format!("md5((i * 31 + {column})::text)")).collect();
    let sql = format!(
        "CREATE TABLE narrow (id bigint PRIMARY KEY, at timestamptz, amount numeric(12,2), kind int);
         INSERT INTO narrow SELECT i, now() - i * interval '1 s', i % 100000 / 7.0, i % 9 FROM generate_series(1, ({scale} * 4000000)::bigint) i;
         CREATE TABLE wide (id bigint PRIMARY KEY, {});
         INSERT INTO wide SELECT i, {} FROM generate_series(1, ({scale} * 300000)::bigint) i;
         VACUUM ANALYZE narrow; VACUUM ANALYZE wide; CHECKPOINT;",
        columns.join(", "),
        values.join(", "),
    );
    // VACUUM wants to be alone.
    for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
        source.batch_execute(statement).await?;
    }
    Ok(())
}

/// Seconds that it takes to read all of it.
async fn to_dev_null(url: &str, workers: usize) -> Result<f64> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let mut queries = Vec::new();
    for table in TABLES {
        let sql = format!("SELECT pg_relation_size('{table}') / current_setting('block_size')::int");
        let blocks: i64 = client.query_one(&sql, &[]).await?.get(0);
        for from in (0..blocks).step_by(usize::try_from(CHUNK_BLOCKS)?) {
            let before = from + CHUNK_BLOCKS;
            queries.push(format!(
                "COPY (SELECT * FROM ONLY {table} WHERE ctid >= '({from},0)'::tid AND ctid < '({before},0)'::tid) TO '/dev/null'"
            ));
        }
    }
    let queries = Arc::new(Mutex::new(queries));
    let began = Instant::now();
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (url, queries) = (url.to_owned(), Arc::clone(&queries));
        reading.spawn(async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            loop {
                let Some(query) = queries.lock().await.pop() else { return anyhow::Ok(()) };
                client.batch_execute(&query).await?;
            }
        });
    }
    while let Some(read) = reading.join_next().await {
        read??;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// What a copy took.
struct Copied {
    seconds: f64,
    bytes: u64,
    rows: u64,
    peak: u64,
}

/// A new stream's copy, by the times in its log.
async fn copy(sandbox: &mut Sandbox, stream: &str, workers: usize) -> Result<Copied> {
    let config =
        format!("[log]\nformat = \"json\"\n[copy]\nworkers = {workers}\n[slot]\nadvance_on = \"staged\"\n");
    sandbox.new_stream(stream, &config)?;
    let pid = sandbox.pid("capture")?;
    let log = sandbox.text("capture_log")?.to_owned();
    let deadline = Instant::now() + Duration::from_secs(900);
    loop {
        let lines = std::fs::read_to_string(&log)?;
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["stream"] == stream).collect();
        let at = |message: &str| {
            let line = lines
                .iter()
                .find(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)))?;
            line["timestamp"].as_str()?.parse::<jiff::Timestamp>().ok()
        };
        if let (Some(began), Some(ended)) = (at("the snapshot is taken"), at("the initial copy is done")) {
            let status = std::fs::read(sandbox.capture_data_dir()?.join("status.json"))?;
            let status: CaptureStatus = serde_json::from_slice(&status)?;
            return Ok(Copied {
                seconds: ended.duration_since(began).as_secs_f64(),
                bytes: status.bytes_written,
                rows: status.rows_written,
                peak: peak_memory(pid).context("the capture runs")?,
            });
        }
        if Instant::now() > deadline {
            bail!("the copy does not end:\n{}", sandbox.capture_log());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0 && options.scale > 0.0, "--rounds and --scale must be more than nothing");
    let mut sandbox = Sandbox::up()?;
    // Redshift is not what is measured.
    Aws::of(&sandbox).await?.deliver(false).await?;
    sandbox.kill_capture()?;
    let source = sandbox.source().await?;
    eprintln!("copy: making the tables …");
    fill(&source, options.scale).await?;
    let size: i64 =
        source.query_one("SELECT pg_table_size('narrow') + pg_table_size('wide')", &[]).await?.get(0);
    let megabytes = size as f64 / 1e6;
    let url = sandbox.text("source_url")?.to_owned();
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let read = to_dev_null(&url, options.workers).await?;
        let copied = copy(&mut sandbox, &format!("copy_{round}"), options.workers).await?;
        let ratio = copied.seconds / read;
        eprintln!("copy: round {round}: COPY to /dev/null {read:.2} s, copy {:.2} s", copied.seconds);
        rounds.push((ratio, read, copied));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, read, copied) = &rounds[rounds.len() / 2];
    let verdict = if *ratio <= TARGET { "met" } else { "MISSED" };
    println!(
        "\n| initial copy | rows/s | MB/s of the source's disk | COPY to /dev/null | ratio (≤ {TARGET}) | MB gzip | peak MiB |\n\
         |---|---|---|---|---|---|---|\n\
         | {} workers, {} rows, {megabytes:.0} MB | {:.0} | {:.0} | {read:.2} s | {ratio:.2} ({verdict}) | {:.0} | {} |",
        options.workers,
        copied.rows,
        copied.rows as f64 / copied.seconds,
        megabytes / copied.seconds,
        copied.bytes as f64 / 1e6,
        copied.peak >> 20,
    );
    let figures = json!({
        "scale": options.scale, "workers": options.workers, "rows": copied.rows, "source_bytes": size,
        "copy_to_dev_null_s": read, "copy_s": copied.seconds, "ratio": ratio, "gzip_bytes": copied.bytes,
        "peak_bytes": copied.peak,
    });
    if let Some(folder) = options.results.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.results, serde_json::to_string_pretty(&figures)?)?;
    Ok(())
}
