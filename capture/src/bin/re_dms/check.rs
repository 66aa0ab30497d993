//! `re_dms check`.

use std::time::Duration;

use clap::Args;
use re_dms_capture::check;
use re_dms_shared::check::Verdict;

use crate::{ConfigFile, Outcome, wait_for};

/// Look whether everything is there that a stream needs: source, bucket, queues, loader, Redshift. A line each.
///
/// The loader is asked through its queue, and tries a COPY in Redshift. Nothing stays behind; a stream may run meanwhile.
/// Exit code 1 if anything is an error, 0 else.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Do without the loader and Redshift.
    #[arg(long)]
    no_loader: bool,
    /// How long to wait for the loader's answer, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

impl Check {
    pub(crate) fn execute(self) -> Outcome {
        let config = self.config.load()?;
        let patience = (!self.no_loader).then_some(Duration::from_secs(self.timeout));
        let report = wait_for(check::check(&config, patience))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        if report.verdict == Verdict::Error {
            return Err("the stream can't run like this\n  hint: see the lines above".into());
        }
        Ok(())
    }
}
