//! `sandbox demo`: a sandbox of its own, a live workload, a view of how the pipeline follows, and the proof that both sides
//! are equal.

mod pgbench;
mod view;
mod wide_table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::capture;
use crate::capture_config::CaptureConfig;
use crate::diff::diff;
use crate::down::down;
use crate::error::{Error, Part, Result};
use crate::state::State;
use crate::up::{UpOptions, interrupted, up};
use crate::wait::wait;
use pgbench::Pgbench;
use view::{Frame, View};
use wide_table::WideTable;

/// After the workload the pipeline has so long to catch up: slow machines are behind by then.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(900);

/// What is asked for.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// The sandbox's folder [default: a new temporary one]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// How long the workload runs
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Leave the sandbox running afterwards
    #[arg(long)]
    pub keep: bool,
}

/// Runs the demo; success only if both sides are equal at the end.
///
/// # Errors
/// A part failed.
pub async fn demo(options: &DemoOptions, is_terminal: bool) -> Result<ExitCode> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("re_dms-demo-{}", uuid::Uuid::new_v4().simple())),
    };
    let outcome = tokio::select! {
        outcome = run(options, &dir, is_terminal) => outcome,
        () = interrupted() => Err(Error::Interrupted),
    };
    if options.keep {
        println!("\nThe sandbox keeps running. To end it: sandbox down --dir {} --wipe", dir.display());
    } else {
        println!("\nStopping everything and removing its data");
        down(&dir, true).await?;
    }
    outcome.map(|equal| if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(options: &DemoOptions, dir: &Path, is_terminal: bool) -> Result<bool> {
    println!(
        "Starting PostgreSQL twice, a local AWS, the Redshift stand-in and the capture in {}",
        dir.display()
    );
    let begun = Instant::now();
    let state = up(&UpOptions { dir: dir.to_owned(), pg_bin: None, config: None }).await?;
    println!("Ready after {:.1} s", begun.elapsed().as_secs_f64());

    println!("Creating pgbench's tables and a wide one of {} columns", wide_table::COLUMNS.len());
    pgbench::initialize(&state).await?;
    let wide_table = WideTable::create(&state).await?;
    work(options, &state, wide_table, is_terminal).await?;

    println!("\nThe workload is over; waiting until everything is loaded");
    let begun = Instant::now();
    wait(dir, CATCH_UP_WITHIN, |progress| println!("  {}", progress.describe())).await?;
    println!("Loaded after {:.1} s\n", begun.elapsed().as_secs_f64());

    let report = diff(dir).await?;
    print!("{}", report.to_table());
    println!("\n{}", if report.is_equal() { "Both sides are equal." } else { "The sides DIFFER." });
    Ok(report.is_equal())
}

/// The workload, shown live.
async fn work(options: &DemoOptions, state: &State, mut wide: WideTable, is_terminal: bool) -> Result<()> {
    let status_file = CaptureConfig::load(&state.capture_config)?.status_file();
    let mut pgbench = Pgbench::start(state, options.seconds)?;
    let mut view = View::new(is_terminal);
    let duration = Duration::from_secs(options.seconds);
    let begun = Instant::now();
    while pgbench.is_running().await? {
        if begun.elapsed() < duration {
            // Takes milliseconds, so the view is hardly late.
            wide.round().await?;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if view.is_due() {
            view.show(&Frame {
                elapsed: begun.elapsed().min(duration),
                duration,
                pgbench_tps: pgbench.transactions_per_second(),
                wide_changes: wide.changes(),
                status: capture::status(&status_file).unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// An error of the workload itself.
fn workload_failed(message: String) -> Error {
    Error::Part { part: Part::Source, message, log: None }
}
