//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use re_dms_capture::config::{Config, LogConfig, LogFormat};
use re_dms_capture::init::DdlTrigger;
use re_dms_shared::message::TableAction;
use tracing_subscriber::EnvFilter;

/// Streaming replication from PostgreSQL to Amazon Redshift: the capture.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a stream: read its replication slot, stage segments on S3, follow the loader's acknowledgements.
    ///
    /// Creates publication and slot the first time, and copies the rows that are there. Ends cleanly on SIGTERM and SIGINT; may be killed at any time.
    Run {
        /// The stream's config file (TOML). Every key can be overridden by the environment: batch.interval is
        /// RE_DMS_BATCH__INTERVAL.
        #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
        config: PathBuf,
        /// If the stream is new, do without the rows that its tables hold already, as copy.enabled = false does.
        #[arg(long)]
        no_copy: bool,
    },
    /// Quarantined tables: those that could not be loaded while the others could. Their changes collect on S3.
    Tables {
        #[command(subcommand)]
        command: TablesCommand,
    },
    /// Show as SQL what becomes of changes of tables' definitions before it is done: of those that are held, and of those
    /// that the source has made and the stream has not seen.
    ///
    /// Reads the source's catalog and S3; changes nothing.
    Plan {
        /// The stream's config file.
        #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
        config: PathBuf,
    },
    /// Prepare a stream's source: put the event trigger there that tells changes of tables' definitions, or take it away.
    ///
    /// Needs a superuser. The stream may run meanwhile. Without the trigger the catalog is asked when a table's
    /// description changes, which tells nearly as much: see docs/schema-changes.md.
    Init {
        /// The stream's config file (TOML).
        #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
        config: PathBuf,
        /// Install the event trigger, or replace it by this version's.
        #[arg(long, required_unless_present = "remove_ddl_trigger", conflicts_with = "remove_ddl_trigger")]
        ddl_trigger: bool,
        /// Remove the event trigger.
        #[arg(long)]
        remove_ddl_trigger: bool,
    },
}

#[derive(Debug, Subcommand)]
enum TablesCommand {
    /// List them, with what went wrong and what to do about it.
    List {
        /// The stream's config file.
        #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
        config: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Load what was skipped, in order, and with it all that comes: once the reason is remedied.
    ///
    /// The capture must be running: it hears the loader's answer.
    Resume {
        /// The stream's config file.
        #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
        config: PathBuf,
        /// Schema and name in Redshift, as in the list.
        table: String,
        /// How long to wait for the end of the quarantine, in seconds; what was asked for goes on in any case.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
    },
    /// Let changes of its definition be done that are held (schema_changes = "hold"), and load what was skipped since:
    /// `re_dms plan` shows them.
    ///
    /// All that wait when the loader takes the request are done. The capture must be running.
    Approve {
        /// The stream's config file.
        #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
        config: PathBuf,
        /// Schema and name in Redshift, as in the list.
        table: String,
        /// How long to wait, in seconds; what was asked for goes on in any case.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Run { config, no_copy } => run(&config, no_copy),
        Command::Tables { command: TablesCommand::List { config, json } } => list_tables(&config, json),
        Command::Tables { command: TablesCommand::Resume { config, table, timeout } } => {
            resume_table(&config, TableAction::Resume, &table, Duration::from_secs(timeout))
        }
        Command::Tables { command: TablesCommand::Approve { config, table, timeout } } => {
            resume_table(&config, TableAction::Approve, &table, Duration::from_secs(timeout))
        }
        Command::Plan { config } => plan(&config),
        Command::Init { config, ddl_trigger, .. } => {
            init(&config, if ddl_trigger { DdlTrigger::Install } else { DdlTrigger::Remove })
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &std::path::Path, no_copy: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::load(path)?;
    config.copy.enabled &= !no_copy;
    start_logging(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(re_dms_capture::run::run(config));
    // Threads that wait for S3 or PostgreSQL have nothing that the next start would not find again.
    runtime.shutdown_background();
    Ok(outcome?)
}

fn list_tables(path: &std::path::Path, json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let listed = re_dms_capture::tables::list(&Config::load(path)?, json)?;
    println!("{listed}");
    Ok(())
}

fn resume_table(
    path: &std::path::Path,
    action: TableAction,
    table: &str,
    timeout: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(re_dms_capture::tables::resume(&config, action, table, timeout))?;
    println!("{table} is loaded again");
    Ok(())
}

fn plan(path: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    print!("{}", runtime.block_on(re_dms_capture::foresee::plan(&config))?);
    Ok(())
}

fn init(path: &std::path::Path, ddl_trigger: DdlTrigger) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(path)?;
    start_logging(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(re_dms_capture::init::init(&config, ddl_trigger))?)
}

fn start_logging(config: &LogConfig) {
    // The filter was checked with the rest of the configuration.
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => {
            let color = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(color).init();
        }
    }
}
