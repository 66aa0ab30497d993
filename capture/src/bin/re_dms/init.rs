//! `re_dms init`.

use clap::Args;
use re_dms_capture::init::DdlTrigger;

use crate::{ConfigFile, Outcome, logging, wait_for};

/// Prepare a stream's source: put the event trigger there that tells changes of tables' definitions, or take it away.
///
/// Needs a superuser. The stream may run meanwhile. Without the trigger the catalog is asked when a table's
/// description changes, which tells nearly as much: see docs/schema-changes.md.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    config: ConfigFile,
    /// Install the event trigger, or replace it by this version's.
    #[arg(long, required_unless_present = "remove_ddl_trigger", conflicts_with = "remove_ddl_trigger")]
    ddl_trigger: bool,
    /// Remove the event trigger.
    #[arg(long)]
    remove_ddl_trigger: bool,
}

impl Init {
    pub(crate) fn execute(self) -> Outcome {
        let config = self.config.load()?;
        logging::start(&config.log);
        let trigger = if self.ddl_trigger { DdlTrigger::Install } else { DdlTrigger::Remove };
        Ok(wait_for(re_dms_capture::init::init(&config, trigger))??)
    }
}
