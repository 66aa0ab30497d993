//! The command line: one file a command, what they share here.

mod bars;
mod check;
mod destroy;
mod init;
mod logging;
mod plan;
mod replay;
mod run;
mod segments;
mod status;
mod tables;
mod traces;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use re_dms_capture::config::{Config, ConfigErrors};

/// Streaming replication from PostgreSQL to Amazon Redshift: the capture.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Status(status::Status),
    Check(check::Check),
    Tables(tables::Tables),
    Plan(plan::Plan),
    Init(Box<init::Init>),
    Segments(segments::Segments),
    Replay(replay::Replay),
    Destroy(destroy::Destroy),
    Verify(verify::Verify),
}

/// What a command comes to: whatever went wrong is told as it prints itself.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Which stream is meant.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The stream's config file (TOML). Every key can be overridden by the environment: batch.interval is
    /// RE_DMS_BATCH__INTERVAL.
    #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.config)
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(run) => run.execute(),
        Command::Status(status) => status.execute(),
        Command::Check(check) => check.execute(),
        Command::Tables(tables) => tables.execute(),
        Command::Plan(plan) => plan.execute(),
        Command::Init(init) => init.execute(),
        Command::Segments(segments) => segments.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Destroy(destroy) => destroy.execute(),
        Command::Verify(verify) => verify.execute(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a command that is done once and ends.
fn wait_for<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}
