//! `re_dms status`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use re_dms_capture::overview::Overview;

use crate::{ConfigFile, Outcome, wait_for};

/// How often a watched status is looked at again.
const EVERY: Duration = Duration::from_secs(5);

/// Show how a stream is doing: positions, lag, retained WAL, segments in flight, the last load, rates by table, errors.
///
/// Reads S3 alone (and data_dir, where it is on this machine): the capture need not run, and neither source nor Redshift
/// is asked.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    config: ConfigFile,
    /// Show it again every five seconds, until interrupted.
    #[arg(long)]
    watch: bool,
    /// As JSON; watched, one line each time.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn execute(self) -> Outcome {
        let config = self.config.load()?;
        wait_for(async {
            loop {
                let overview = Overview::look(&config).await?;
                self.show(&overview)?;
                if !self.watch {
                    return Ok(());
                }
                tokio::time::sleep(EVERY).await;
            }
        })?
    }

    fn show(&self, overview: &Overview) -> Outcome {
        let mut out = std::io::stdout().lock();
        match (self.json, self.watch) {
            (true, true) => writeln!(out, "{}", serde_json::to_string(overview)?)?,
            (true, false) => writeln!(out, "{}", overview.json()?)?,
            (false, watch) => {
                if watch && out.is_terminal() {
                    // Clear the screen, begin at its top.
                    write!(out, "\x1b[2J\x1b[H")?;
                }
                write!(out, "{overview}")?;
            }
        }
        Ok(out.flush()?)
    }
}
