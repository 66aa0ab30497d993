//! `re_dms destroy`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use re_dms_capture::destroy::{Options, Plan};

use crate::{ConfigFile, Outcome, wait_for};

/// Remove a stream and everything that it made, but for the tables in Redshift: slot, event trigger and publication (if the stream
/// made it) on the source, ledger and table log in Redshift, all of its objects on S3, the local WAL.
///
/// Shows what there is and asks first. Refuses while a capture runs the stream. Should it break off, the same again goes on.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    config: ConfigFile,
    /// Only show what would be removed.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// Drop the stream's tables in Redshift, too.
    #[arg(long, conflicts_with = "no_redshift")]
    drop_tables: bool,
    /// Drop the publication also if the stream did not make it.
    #[arg(long, conflicts_with = "no_source")]
    drop_publication: bool,
    /// Leave the source alone: it is gone. A slot that is there goes on holding back WAL.
    #[arg(long)]
    no_source: bool,
    /// Leave Redshift alone: it is gone, or the loader is.
    #[arg(long)]
    no_redshift: bool,
    /// How long the loader may take for a request, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

impl Destroy {
    pub(crate) fn execute(self) -> Outcome {
        let config = self.config.load()?;
        let options = Options {
            tables: self.drop_tables,
            publication: self.drop_publication,
            source: !self.no_source,
            redshift: !self.no_redshift,
            patience: Duration::from_secs(self.timeout),
        };
        wait_for(async {
            let plan = Plan::look(&config, options).await?;
            println!("To be removed of the stream {}:", config.stream);
            for line in plan.lines() {
                println!("  {line}");
            }
            if self.dry_run {
                return Ok(());
            }
            if !self.yes && !confirmed(&config.stream)? {
                return Err("nothing was removed".into());
            }
            Ok(plan.carry_out(&mut |line| println!("{line}")).await?)
        })?
    }
}

/// Whether somebody types the stream's name.
fn confirmed(stream: &str) -> std::io::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(std::io::Error::other("nobody is there to be asked\n  hint: --yes does without"));
    }
    print!("This can't be undone. Type the stream's name to go on: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(line.trim() == stream)
}
