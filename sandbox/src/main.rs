//! The command line of the sandbox.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use re_dms_sandbox::up::{UpOptions, up};
use re_dms_sandbox::wait::wait;
use re_dms_sandbox::{demo, diff, down, redshift};

/// The whole pipeline on this machine: PostgreSQL, a local AWS and a strict stand-in for Redshift.
#[derive(Parser)]
#[command(name = "sandbox", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start all that does not run, detached; return when ready. Writes DIR/sandbox.json
    Up {
        /// The sandbox's folder, made if it is not there
        #[arg(long)]
        dir: PathBuf,
        /// A folder with PostgreSQL's programs, 14 or newer, for the source
        #[arg(long)]
        pg_bin: Option<PathBuf>,
        /// A capture config to merge in
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Wait until all that was committed on the source before is loaded; exit 1 on time-out
    Wait {
        /// The sandbox's folder
        #[arg(long)]
        dir: PathBuf,
        /// Seconds
        #[arg(long, default_value_t = 120, value_name = "S")]
        timeout: u64,
    },
    /// Compare every replicated table, source against warehouse; exit 1 on a difference
    Diff {
        /// The sandbox's folder
        #[arg(long)]
        dir: PathBuf,
        /// One JSON object instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Stop what `up` started
    Down {
        /// The sandbox's folder
        #[arg(long)]
        dir: PathBuf,
        /// Remove its data too
        #[arg(long)]
        wipe: bool,
    },
    /// A live workload through the whole pipeline, then both sides compared
    Demo(demo::DemoOptions),
    /// Run the Redshift stand-in in the foreground
    #[command(hide = true)]
    Redshift {
        /// Its config, JSON
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            // Whoever closed standard error does not want to read it.
            let _ = writeln!(std::io::stderr(), "sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up { dir, pg_bin, config } => {
            let state = up(&UpOptions { dir, pg_bin, config }).await?;
            say(&format!("source     {}", state.source_url))?;
            say(&format!("warehouse  {}", state.warehouse_url))?;
            say(&format!("redshift   {}", state.redshift_data_endpoint))?;
            say(&format!("aws        {}", state.aws_endpoint))?;
        }
        Command::Wait { dir, timeout } => {
            wait(&dir, Duration::from_secs(timeout), |progress| eprintln!("{}", progress.describe())).await?;
        }
        Command::Diff { dir, json } => {
            let report = diff::diff(&dir).await?;
            let text = if json { report.to_json()? } else { report.to_table() };
            say(text.trim_end())?;
            if !report.is_equal() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Down { dir, wipe } => down::down(&dir, wipe).await?,
        Command::Demo(options) => {
            return demo::demo(&options, std::io::stdout().is_terminal()).await.map_err(Into::into);
        }
        Command::Redshift { config } => {
            let text = std::fs::read_to_string(&config).with_context(|| config.display().to_string())?;
            let config = serde_json::from_str(&text).with_context(|| config.display().to_string())?;
            redshift::serve(config, |_| {}).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
