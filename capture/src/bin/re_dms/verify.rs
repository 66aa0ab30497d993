//! `re_dms verify`.

use std::time::Duration;

use clap::Args;
use re_dms_capture::verify::report::Verdict;
use re_dms_capture::verify::{Run, repair, request};

use crate::{ConfigFile, Outcome, wait_for};

/// Compare the tables in Redshift with the source, at one position, while the stream goes on.
///
/// The capture must be running: it is asked through the source's WAL, and asks the loader. Exit code 1 if a table differs, or
/// could not be compared; 0 else.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    config: ConfigFile,
    /// Schema and name on the source; may be repeated. All tables by default.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Look only at so many per cent of the rows, picked by chance.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    sample: Option<u8>,
    /// Show which keys differ: their values are row values.
    #[arg(long)]
    show_keys: bool,
    /// Read anew what differs, by ranges of keys where a table has an order, and compare again.
    #[arg(long)]
    repair: bool,
    /// As JSON. With --repair what was found in the end.
    #[arg(long)]
    json: bool,
    /// How long to wait for the result, and as long again for a repair, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

impl Verify {
    pub(crate) fn execute(self) -> Outcome {
        let Self { config, tables, sample, show_keys, repair, json, timeout } = self;
        let (config, timeout) = (config.load()?, Duration::from_secs(timeout));
        let run = Run { id: String::new(), tables, sample, show_keys, repair };
        let mut report = wait_for(request::verify(&config, run, timeout))??;
        let read_anew = repair::asked_for(&report);
        if !read_anew.is_empty() {
            if !json {
                println!("{report}");
                let told = read_anew.iter().map(|(table, what)| format!("{table} ({what})"));
                eprintln!("reading anew: {}", told.collect::<Vec<_>>().join(", "));
            }
            let tables = read_anew.into_iter().map(|(table, _)| table).collect();
            let mended = wait_for(repair::repaired(&config, tables, timeout))??;
            report.take(mended);
        }
        if json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        match report.verdict {
            Verdict::Equal => Ok(()),
            Verdict::Unverified => Err("not all could be compared\n  hint: see the lines above".into()),
            Verdict::Different => {
                Err("Redshift is not as the source\n  hint: --repair reads anew what differs".into())
            }
        }
    }
}
