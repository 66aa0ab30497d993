//! `re_dms tables`.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use re_dms_capture::resync::request;
use re_dms_capture::tables;
use re_dms_shared::message::TableAction;
use re_dms_shared::status::{CaptureStatus, CopyStatus};

use crate::{ConfigFile, Outcome, wait_for};

/// Single tables: those that wait while the others are loaded, and those that are to be read anew.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    #[command(subcommand)]
    command: Command,
}

/// How often to tell how far it is.
const TELL: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, with what went wrong and what to do about it.
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Load what was skipped, in order, and with it all that comes: once the reason is remedied.
    ///
    /// The capture must be running: it hears the loader's answer.
    Resume(Request),
    /// Let changes of its definition be done that are held (schema_changes = "hold"), and load what was skipped since:
    /// `re_dms plan` shows them.
    ///
    /// All that wait when the loader takes the request are done. The capture must be running.
    Approve(Request),
    /// Let a table stand still: its changes collect on S3 until `resume`. The others go on.
    ///
    /// The capture must be running.
    Pause(Request),
    /// Read tables anew while the stream goes on, and replace what Redshift has of them.
    ///
    /// The request goes through the source's WAL: it is done once the capture comes to it, wherever that runs.
    Resync(Names),
    /// Put tables into the publication, and read the rows that they have.
    Add(Names),
    /// Take tables out of the publication. Redshift keeps what it has of them.
    Remove {
        #[command(flatten)]
        config: ConfigFile,
        /// Schema and name on the source.
        #[arg(required = true)]
        tables: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Names {
    #[command(flatten)]
    config: ConfigFile,
    /// Schema and name on the source.
    #[arg(required = true)]
    tables: Vec<String>,
    /// How long to wait for the end, in seconds; what was asked for goes on in any case.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
    /// Only ask: needed where the capture's data_dir can't be read.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct Request {
    #[command(flatten)]
    config: ConfigFile,
    /// Schema and name in Redshift, as in the list.
    table: String,
    /// How long to wait for the end, in seconds; what was asked for goes on in any case.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

impl Tables {
    pub(crate) fn execute(self) -> Outcome {
        match self.command {
            Command::List { config, json } => {
                println!("{}", tables::list(&config.load()?, json)?);
                Ok(())
            }
            Command::Resume(request) => request.send(TableAction::Resume),
            Command::Approve(request) => request.send(TableAction::Approve),
            Command::Pause(Request { config, table, timeout }) => {
                let config = config.load()?;
                wait_for(tables::pause(&config, &table, Duration::from_secs(timeout)))??;
                println!("{table} stands still");
                Ok(())
            }
            Command::Resync(names) => names.read(false),
            Command::Add(names) => names.read(true),
            Command::Remove { config, tables } => {
                let config = config.load()?;
                wait_for(request::remove(&config, &tables))??;
                println!("{} not replicated any more", are(&tables));
                Ok(())
            }
        }
    }
}

impl Names {
    fn read(self, adds: bool) -> Outcome {
        let Self { config, tables, timeout, no_wait } = self;
        let config = config.load()?;
        wait_for(async {
            let asked = match adds {
                true => request::add(&config, &tables).await?,
                false => request::resync(&config, &tables).await?,
            };
            if no_wait {
                println!("asked for: {}", tables.join(", "));
                return Ok(());
            }
            let mut told = Instant::now();
            let tell = |status: &CaptureStatus| {
                if told.elapsed() >= TELL {
                    told = Instant::now();
                    eprintln!("{}", how_far(status));
                }
            };
            asked.wait(&config, Duration::from_secs(timeout), tell).await?;
            println!("{} as on the source again", are(&tables));
            Ok::<_, re_dms_capture::error::Error>(())
        })??;
        Ok(())
    }
}

fn are(tables: &[String]) -> String {
    format!("{} {}", tables.join(", "), if tables.len() == 1 { "is" } else { "are" })
}

fn how_far(status: &CaptureStatus) -> String {
    match &status.resync {
        Some(CopyStatus { tables, tables_done, rows, seconds_left, .. }) => {
            let left = seconds_left.map_or_else(String::new, |seconds| format!(", about {seconds} s left"));
            format!("reading: {tables_done} of {tables} tables, {rows} rows{left}")
        }
        None if status.resyncs.is_empty() => "loading".to_owned(),
        None => "waiting for a snapshot".to_owned(),
    }
}

impl Request {
    fn send(&self, action: TableAction) -> Outcome {
        let config = self.config.load()?;
        let timeout = Duration::from_secs(self.timeout);
        wait_for(tables::resume(&config, action, &self.table, timeout))??;
        println!("{} is loaded again", self.table);
        Ok(())
    }
}
