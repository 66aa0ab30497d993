//! `re_dms replay`.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use re_dms_capture::replay::{self, Request, Watch};
use re_dms_capture::segments::{Point, TablePick};

use crate::{ConfigFile, Outcome, wait_for};

/// Load from S3 what was loaded before. PostgreSQL is not asked; a stream that runs goes on meanwhile.
///
/// Without --into and --stream: into the stream's own tables, from where the ledger ends. That is for a warehouse that was
/// restored to an older state, or is new and empty.
///
/// With --into, or with --stream and --queue: as a stream of its own with a ledger of its own, one table or all, as they were at
/// the end of a segment or at a time. May be killed at any time: the same command goes on where it was.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    config: ConfigFile,
    /// Aside: not from the beginning, but from this segment on; the tables must be as they were before it. In place only
    /// `ledger`, which is the default.
    #[arg(long, value_name = "SEQ|TIME|ledger")]
    from: Option<String>,
    /// Up to this segment, or up to the last one with nothing that was committed after this time.
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Point>,
    /// Only this table (schema.table on the source, * and ? allowed); may be repeated.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// All tables go into this schema, which should be new.
    #[arg(long, value_name = "SCHEMA")]
    into: Option<String>,
    /// The name of the stream that the replay is; its ledger is called by it. By default the stream's name and the schema's.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The segment queue of another warehouse's loader.
    #[arg(long, value_name = "URL")]
    queue: Option<String>,
    /// Say what would be done, and whether all of it is on S3.
    #[arg(long)]
    dry_run: bool,
}

impl Replay {
    pub(crate) fn execute(self) -> Outcome {
        let config = self.config.load()?;
        let from = self.from.as_deref().filter(|from| *from != "ledger");
        let request = Request {
            from: from.map(str::parse).transpose().map_err(|error| format!("--from {error}"))?,
            to: self.to,
            tables: TablePick::parse(&self.tables)?,
            into: self.into,
            stream: self.stream,
            queue_url: self.queue,
            dry_run: self.dry_run,
        };
        let mut shown = Shown::new();
        let done = wait_for(replay::replay(&config, &request, &mut shown))?;
        shown.end();
        let done = done?;
        let (stream, up_to, lsn) = (&done.stream, done.up_to, done.end_lsn);
        if self.dry_run {
            println!("{stream} would be replayed up to segment {up_to}, {lsn}: all that it needs is on S3");
        } else {
            println!(
                "{stream} is replayed up to segment {up_to}, {lsn}: {} segments and {} rows loaded now",
                done.segments, done.rows
            );
        }
        Ok(())
    }
}

/// A line is enough so often where nobody looks.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far it is: a bar on a terminal, else lines on stderr.
struct Shown {
    bar: Option<ProgressBar>,
    to: u64,
    rows: u64,
    last: Option<Instant>,
}

impl Shown {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::no_length);
        Self { bar, to: 0, rows: 0, last: None }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Shown {
    fn begins(&mut self, first: u64, to: u64, rows: u64, bytes: u64) {
        (self.to, self.rows) = (to, rows);
        let what = format!("segments {first} to {to}: {rows} rows, {bytes} bytes on S3");
        match &self.bar {
            Some(bar) => {
                bar.println(what);
                bar.set_length(rows.max(1));
                if let Ok(style) =
                    ProgressStyle::with_template("{bar:30} {pos}/{len} rows {per_sec}, {eta} left, {msg}")
                {
                    bar.set_style(style);
                }
            }
            None => eprintln!("{what}"),
        }
    }

    fn loaded(&mut self, segment: u64, rows: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(rows);
            bar.set_message(format!("segment {segment} of {}", self.to));
        } else if segment == self.to || self.last.is_none_or(|last| last.elapsed() > LINE_EVERY) {
            self.last = Some(Instant::now());
            eprintln!("segment {segment} of {}, {rows} of {} rows", self.to, self.rows);
        }
    }

    fn trouble(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => eprintln!("{what}"),
        }
    }
}
