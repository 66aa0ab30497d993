//! `re_dms tables`.

use std::time::Duration;

use clap::{Args, Subcommand};
use re_dms_capture::tables;
use re_dms_shared::message::TableAction;

use crate::{ConfigFile, Outcome, wait_for};

/// Quarantined tables: those that could not be loaded while the others could. Their changes collect on S3.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    #[command(subcommand)]
    command: Command,
}

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
        }
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
