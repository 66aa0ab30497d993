//! `re_dms check`: is everything there that a stream needs? Each thing is a [`Finding`]; one that is wrong hides none of the
//! others. Nothing stays behind, and a stream that runs meanwhile is not disturbed.

mod loader;
mod queues;
mod source;
mod storage;
mod tables;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use re_dms_shared::Epoch;
use re_dms_shared::check::{Finding, Verdict};
use re_dms_shared::s3_layout::StreamLayout;
use serde::Serialize;

use crate::aws::{self, Objects, Queues};
use crate::config::Config;
use crate::error::Error;

/// Clocks may differ by this much; AWS refuses requests at 15 minutes.
const CLOCK_PATIENCE: Duration = Duration::from_secs(10);

/// All findings, in the order in which a change passes through what they are about.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The stream.
    pub stream: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// The worst verdict.
    pub verdict: Verdict,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Looks at everything. The loader is asked for its part, and may take so long to answer; without a time it is not asked.
pub async fn check(config: &Config, loader_patience: Option<Duration>) -> Report {
    let sdk = aws::sdk_config(&config.aws).await;
    let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
    let queues = Queues::new(&sdk, &config.queues);
    let layout = StreamLayout::new(&config.s3.prefix, &config.stream);
    let id = uuid::Uuid::new_v4().to_string();

    let stored = storage::check(&objects, &layout, &id).await;
    let mut findings = source::check(config, stored.epoch.as_ref()).await;
    findings.extend(stored.findings);
    let (told, segments) = queues::check(&queues).await;
    findings.extend(told);
    match loader_patience {
        Some(patience) if stored.usable && segments.is_some() => {
            let targets = tables::targets(config).await;
            let probe = loader::Probe {
                config,
                objects: &objects,
                queues: &queues,
                layout: &layout,
                id: &id,
                targets: &targets,
            };
            findings.extend(probe.ask(patience, segments.unwrap_or_default().visibility).await);
        }
        Some(_) => findings.push(Finding::error(
            "loader: answer",
            "it was not asked, since that takes the bucket and the queue",
            "put these right first",
        )),
        None => {}
    }
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    Report { stream: config.stream.clone(), at: Timestamp::now(), verdict, findings }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { item, verdict, what, hint } in &self.findings {
            let word = match verdict {
                Verdict::Ok => "ok     ",
                Verdict::Warning => "warning",
                Verdict::Error => "error  ",
            };
            writeln!(f, "{word}  {item}: {}", what.replace('\n', "\n         "))?;
            if let Some(hint) = hint {
                writeln!(f, "         hint: {hint}")?;
            }
        }
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (errors, warnings) = (count(Verdict::Error), count(Verdict::Warning));
        writeln!(f, "{} looked at, {errors} errors, {warnings} warnings", self.findings.len())
    }
}

/// Who failed is in the item's name already.
fn failed(item: &str, error: &Error) -> Finding {
    Finding::error(item, &error.what, &error.hint)
}

/// How another clock compares with ours.
fn clock(item: &str, theirs: Timestamp, ours: Timestamp) -> Finding {
    let apart = ours.duration_since(theirs).unsigned_abs();
    if apart <= CLOCK_PATIENCE {
        return Finding::ok(item, format!("within {} s of this machine's", CLOCK_PATIENCE.as_secs()));
    }
    let what = format!(
        "{} s from this machine's: lag would be told wrong, and AWS refuses requests at 900",
        apart.as_secs()
    );
    Finding::warning(item, what, "let both follow a time server (chrony, systemd-timesyncd)")
}

/// What the pieces know of the stream on S3.
struct Stored {
    findings: Vec<Finding>,
    /// Objects can be written and read.
    usable: bool,
    /// The epoch that the stream is in.
    epoch: Option<Epoch>,
}
