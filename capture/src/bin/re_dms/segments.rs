//! `re_dms segments`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use re_dms_capture::checkpoint::{Request, checkpoint};
use re_dms_capture::segments::{self, Cleaned, Expired, ListOptions, Lost, Point, TablePick};

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
    /// Make a new base for replays: tables as they are at the end of a segment, merged from the base before and the segments
    /// since. From S3 to S3, on this machine; replays begin with the newest one that they can use.
    Checkpoint {
        #[command(flatten)]
        config: ConfigFile,
        /// Only this table (schema.table on the source, * and ? allowed); may be repeated.
        #[arg(long = "table", value_name = "TABLE")]
        tables: Vec<String>,
        /// As of this segment, or of the last one with nothing that was committed after this time; as of the last one.
        #[arg(long, value_name = "SEQ|TIME")]
        to: Option<Point>,
        /// A folder with room for twice the tables' rows; the system's for temporary files.
        #[arg(long, value_name = "FOLDER")]
        scratch: Option<PathBuf>,
    },
    /// Tag as `re_dms=expendable`, for a lifecycle rule of the bucket to remove: what attempts left that died, files that nobody
    /// names; and what no replay to a time within `segments.retention` needs. A capture does so by itself, with the former for
    /// the segment that it begins with.
    Clean {
        #[command(flatten)]
        config: ConfigFile,
        /// Of what may still be named, only what is older than so many days.
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        older_than: u32,
        /// Only count it.
        #[arg(long)]
        dry_run: bool,
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
            Command::Checkpoint { config, tables, to, scratch } => {
                let request = Request { tables: TablePick::parse(&tables)?, to, scratch };
                let tell = |table: &str, rows: u64| eprintln!("{table}: {rows} rows");
                let made = wait_for(checkpoint(&config.load()?, &request, tell))??;
                println!(
                    "{} tables, {} rows as of segment {}, {}",
                    made.tables, made.rows, made.seq, made.end_lsn
                );
            }
            Command::Clean { config, older_than, dry_run } => {
                let min_age = Duration::from_secs(u64::from(older_than) * 86_400);
                let Cleaned { lost, expired } =
                    wait_for(segments::clean(&config.load()?, min_age, dry_run))??;
                let done = if dry_run { "would be tagged" } else { "tagged as expendable" };
                println!("{} files, {} bytes {done}", lost.files, lost.bytes);
                if let Some(Expired { up_to, now: Lost { files, bytes }, kept }) = expired {
                    println!("segments up to {up_to}: {files} files, {bytes} bytes {done}; {kept}");
                }
            }
            Command::Show { config, seq, json } => {
                println!("{}", wait_for(segments::show(&config.load()?, seq, json))??.trim_end());
            }
        }
        Ok(())
    }
}
