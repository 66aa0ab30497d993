//! `re_dms plan`.

use clap::Args;

use crate::{ConfigFile, Outcome, wait_for};

/// Show as SQL what becomes of changes of tables' definitions before it is done: of those that are held, and of those
/// that the source has made and the stream has not seen.
///
/// Reads the source's catalog and S3; changes nothing.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    config: ConfigFile,
}

impl Plan {
    pub(crate) fn execute(self) -> Outcome {
        let config = self.config.load()?;
        print!("{}", wait_for(re_dms_capture::foresee::plan(&config))??);
        Ok(())
    }
}
