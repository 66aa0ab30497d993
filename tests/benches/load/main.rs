//! `make bench`: how small the loader is, how soon it is at work, what memory it takes, and what it costs.
//!
//! The real `bootstrap` runs against stand-ins in this process that answer at once: the Lambda runtime's API, S3, SQS and the
//! Data API. What is measured is the loader's own part; Redshift's time comes on top.

mod cost;
mod function;
mod report;
mod segments;
mod services;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use function::Function;
use report::{Package, Report, Run};
use segments::Size;
use services::Services;

/// How small and fast the loader is.
#[derive(Debug, Parser)]
struct Options {
    /// Cold starts that are measured.
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// The program; else the one that the sandbox deploys. Size counts for one of the profile `dist`.
    #[arg(long)]
    bootstrap: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/load.json"))]
    results: PathBuf,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.starts > 0, "--starts must be more than nothing");
    let program = options.bootstrap.clone().unwrap_or_else(|| re_dms_tests::binary("bootstrap"));
    let content = std::fs::read(&program)
        .with_context(|| format!("no loader at {} (hint: make build)", program.display()))?;
    let mut report = Report::new(Package::of(&program, &content)?);
    for start in 0..options.starts {
        let run = one(&program, Size::SMALL).await?;
        eprintln!("cold start {}: {:.0} ms to the first call of the Data API", start + 1, run.first_call_ms);
        report.cold_starts_ms.push(run.first_call_ms);
    }
    for size in Size::ALL {
        let run = one(&program, size).await?;
        eprintln!("{}: {:.1} MiB", size.title(), run.peak_mebibytes());
        report.runs.push(run);
    }
    report.finish();
    print!("{}", report.table());
    report.write(&options.results)?;
    println!("\nFigures: {}", options.results.display());
    Ok(())
}

/// A cold function loads one segment.
async fn one(program: &std::path::Path, size: Size) -> Result<Run> {
    let services = Services::start(size).await?;
    let function = Function::start(program, &services)?;
    let answer = services.answer().await?;
    ensure!(!answer.contains("itemIdentifier"), "the segment was not loaded: {answer}");
    let peak = re_dms_tests::peak_memory(function.pid()).context("the function is gone")?;
    let told = services.told();
    ensure!(told.ledger_rows == 1, "{} ledger rows were written", told.ledger_rows);
    Ok(Run {
        size,
        manifest_bytes: services.manifest_bytes(),
        first_call_ms: told.first_call_after(function.started())?.as_secs_f64() * 1e3,
        invocation_ms: told.invocation()?.as_secs_f64() * 1e3,
        cpu_ms: function.cpu_ms()?,
        data_api_calls: told.data_api_calls,
        s3_requests: told.s3_requests,
        sqs_requests: told.sqs_requests,
        peak_bytes: peak,
    })
}
