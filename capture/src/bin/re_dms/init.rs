//! `re_dms init`.

mod new;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use re_dms_capture::config::Config;
use re_dms_capture::init::DdlTrigger;

use crate::{Outcome, logging, wait_for};

/// Begin a stream: write its config file, and the SQL that prepares its source. Or put the event trigger there that tells
/// changes of tables' definitions, or take it away.
///
/// The trigger needs a superuser, and the stream may run meanwhile. Without it the catalog is asked when a table's
/// description changes, which tells nearly as much: see docs/schema-changes.md.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(crate) struct Init {
    /// The stream's config file, for the trigger.
    #[arg(long, value_name = "FILE", env = "RE_DMS_CONFIG")]
    config: Option<PathBuf>,
    /// Install the event trigger, or replace it by this version's.
    #[arg(long, group = "what", requires = "config")]
    ddl_trigger: bool,
    /// Remove the event trigger.
    #[arg(long, group = "what", requires = "config")]
    remove_ddl_trigger: bool,
    /// Write a config for a new stream to this file, and beside it, ending in .sql, what its source needs. What is not given
    /// is asked for, on a terminal.
    #[arg(long, group = "what", value_name = "FILE")]
    new: Option<PathBuf>,
    #[command(flatten)]
    stream: new::Answers,
}

impl Init {
    pub(crate) fn execute(self) -> Outcome {
        if let Some(file) = &self.new {
            return self.stream.write(file);
        }
        let config = Config::load(&self.config.unwrap_or_default())?;
        logging::start(&config.log);
        let trigger = if self.ddl_trigger { DdlTrigger::Install } else { DdlTrigger::Remove };
        Ok(wait_for(re_dms_capture::init::init(&config, trigger))??)
    }
}
