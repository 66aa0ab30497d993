//! The loader's part: a question through the segment queue, and the answer as an object on S3. So what is tried is what runs:
//! the queue's trigger, the function's role, its login to Redshift, COPY's role.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use libdeflater::{CompressionLvl, Compressor};
use re_dms_shared::check::{CheckAnswer, CheckRequest, FORMAT, Finding, ForeignTable, REQUEST};
use re_dms_shared::s3_layout::StreamLayout;

use super::tables::list;
use super::{clock, failed};
use crate::aws::{Objects, Queues};
use crate::config::Config;
use crate::error::{Error, Result, Who};

/// Two rows as a load has them: operation, set of columns, a text; one of them with NULL.
const ROWS: &[u8] = b"i,\0,re_dms check\ni,\0,\0\n";

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// One question.
pub(super) struct Probe<'a> {
    pub(super) config: &'a Config,
    pub(super) objects: &'a Objects,
    pub(super) queues: &'a Queues,
    pub(super) layout: &'a StreamLayout,
    pub(super) id: &'a str,
    /// The stream's tables, as they are or will be called in Redshift.
    pub(super) targets: &'a BTreeSet<(String, String)>,
}

impl Probe<'_> {
    /// Asks, waits, and removes what was put on S3. Messages of the queue are out of sight for `visibility`.
    pub(super) async fn ask(&self, patience: Duration, visibility: Duration) -> Vec<Finding> {
        const ITEM: &str = "loader: answer";
        let asked_at = Timestamp::now();
        let answer = self.answer(patience).await;
        for name in ["probe.csv.gz", "copy.json", "answer.json"] {
            if let Err(error) = self.objects.delete(&self.key(name)).await {
                tracing::debug!(%error, "a file of the check stays");
            }
        }
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let what = format!("none within {} s", patience.as_secs());
                let hint = "is the queue the function's trigger, and enabled? See the function's log and its dead letters; a loader \
                            older than this program does not answer: update it";
                return vec![Finding::error(ITEM, what, hint)];
            }
            Err(error) => return vec![failed(ITEM, &error)],
        };
        let mut findings = vec![Finding::ok(ITEM, format!("by {}", answer.answered_by))];
        // Answered while we waited, so that only what lies outside of that time is the clock's fault.
        let now = Timestamp::now();
        findings.push(clock("loader: clock", answer.at, answer.at.clamp(asked_at.min(now), now)));
        findings.push(limit(answer.time_limit_seconds, visibility));
        findings.extend(answer.findings);
        findings.extend(answer.foreign.map(|foreign| self.owners(&foreign)));
        findings
    }

    fn owners(&self, foreign: &[ForeignTable]) -> Finding {
        const ITEM: &str = "Redshift: tables";
        let ours = |table: &&ForeignTable| self.targets.contains(&(table.schema.clone(), table.name.clone()));
        let foreign: Vec<_> = foreign
            .iter()
            .filter(ours)
            .map(|table| format!("{}.{} ({})", table.schema, table.name, table.owner))
            .collect();
        if foreign.is_empty() {
            return Finding::ok(ITEM, "those of the stream that are there belong to the loader's user");
        }
        Finding::error(
            ITEM,
            format!("these belong to somebody else: {}", list(&foreign)),
            "as an administrator ALTER TABLE … OWNER TO the loader's user: it has to alter them as the source's change",
        )
    }

    async fn answer(&self, patience: Duration) -> Result<Option<CheckAnswer>> {
        let data = self.key("probe.csv.gz");
        let bucket = self.objects.bucket();
        let body = compressed()?;
        let length = body.len();
        self.objects.put(&data, body).await?;
        let entry = serde_json::json!({
            "url": format!("s3://{bucket}/{data}"), "mandatory": true, "meta": { "content_length": length },
        });
        let manifest = serde_json::json!({ "entries": [entry] }).to_string();
        self.objects.put(&self.key("copy.json"), manifest.into()).await?;
        let request = CheckRequest {
            format: FORMAT,
            request: REQUEST.to_owned(),
            stream: self.config.stream.clone(),
            id: self.id.to_owned(),
            bucket: bucket.to_owned(),
            copy_manifest: self.key("copy.json"),
            rows: 2,
            answer_key: self.key("answer.json"),
            schemas: self
                .targets
                .iter()
                .map(|(schema, _)| schema.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        };
        // A group of its own: segments that fail must not hold it up.
        self.queues.send(&format!("{}-check", self.config.stream), &request, self.id).await?;
        let started = Instant::now();
        while started.elapsed() < patience {
            tokio::time::sleep(LOOK).await;
            if let Some(json) = self.objects.get(&request.answer_key).await? {
                return serde_json::from_slice(&json).map(Some).map_err(|error| {
                    let what = format!("the loader's answer can't be understood: {error}");
                    Error::fatal(Who::Loader, what, "is it newer than this program?")
                });
            }
        }
        Ok(None)
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.layout.check(self.id))
    }
}

fn compressed() -> Result<Bytes> {
    let mut compressor = Compressor::new(CompressionLvl::fastest());
    let mut file = vec![0; compressor.gzip_compress_bound(ROWS.len())];
    let length = compressor.gzip_compress(ROWS, &mut file).map_err(|error| {
        Error::fatal(Who::Machine, format!("the probe can't be compressed: {error}"), "report this as a bug")
    })?;
    file.truncate(length);
    Ok(file.into())
}

fn limit(time_limit_seconds: u64, visibility: Duration) -> Finding {
    const ITEM: &str = "loader: time limit";
    let visible_after = visibility.as_secs();
    let what =
        format!("{time_limit_seconds} s an invocation, {visible_after} s before a message is visible again");
    if visible_after < time_limit_seconds {
        let hint = "raise the segment queue's visibility time-out above the function's time-out (AWS says six times)";
        return Finding::error(ITEM, what, hint);
    }
    Finding::ok(ITEM, what)
}
