//! `re_dms segments`.

use clap::{Args, Subcommand};
use re_dms_capture::segments::{self, ListOptions, Point, TablePick};

use crate::{ConfigFile, Outcome, wait_for};

/// The stream's history on S3. Reads S3 alone, from any machine.
#[derive(Debug, Args)]
pub(crate) struct Segments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List segments, oldest first: what they cover, what they hold, whether the loader's receipt is there.
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// Only those that concern this table (schema.table on the source, * and ? allowed); may be repeated.
        #[arg(long = "table", value_name = "TABLE")]
        tables: Vec<String>,
        /// The first segment, or the time of commits from which on.
        #[arg(long, value_name = "SEQ|TIME")]
        from: Option<Point>,
        /// The last segment, or the time of commits up to which.
        #[arg(long, value_name = "SEQ|TIME")]
        to: Option<Point>,
        /// A JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one segment: its steps and its receipt.
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Its number.
        seq: u64,
        /// Manifest and receipt as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Segments {
    pub(crate) fn execute(self) -> Outcome {
        match self.command {
            Command::List { config, tables, from, to, json } => {
                let options = ListOptions { tables: TablePick::parse(&tables)?, from, to, json };
                let mut out = std::io::stdout().lock();
                wait_for(segments::list(&config.load()?, &options, &mut out))??;
            }
            Command::Show { config, seq, json } => {
                println!("{}", wait_for(segments::show(&config.load()?, seq, json))??.trim_end());
            }
        }
        Ok(())
    }
}
