//! `re_dms status`: how a stream is doing, from what is on S3 (and in `data_dir`, where that is at hand). The capture need
//! not run: manifests and receipts tell how far the stream came without it.

mod rates;
mod text;

use std::time::Duration;

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::status::{CaptureState, CaptureStatus};
use serde::{Deserialize, Serialize};

use crate::aws::{self, Objects};
use crate::config::Config;
use crate::copy::CopyState;
use crate::error::{Error, Result, Who};
use crate::history::History;
use crate::start::current_epoch;
use crate::tables;
pub use rates::{Rates, TableRate};

/// A status that is this much older than it should be is that of a capture that is dead or stuck.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that is known of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// The stream.
    pub stream: String,
    /// When this was found.
    pub at: Timestamp,
    /// Its epoch's text; none if it has not begun.
    pub epoch: Option<String>,
    /// What the capture told of itself last; none if it never did.
    pub capture: Option<CaptureStatus>,
    /// How old that is.
    pub heard_seconds_ago: Option<f64>,
    /// The capture should have been heard of since.
    pub silent: bool,
    /// What S3 has; none before the first segment.
    pub segments: Option<Segments>,
    /// What the last segments hold, by table.
    pub rates: Rates,
}

/// The epoch's segments on S3.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Segments {
    /// The last one that is staged.
    pub staged: u64,
    /// Up to where it goes.
    pub staged_lsn: Lsn,
    /// The last one that is loaded; 0 for none.
    pub loaded: u64,
    /// Up to where it goes.
    pub loaded_lsn: Lsn,
    /// Staged and not loaded.
    pub in_flight: u64,
    /// The commit time of the oldest transaction in these.
    pub waiting_since: Option<Timestamp>,
    /// The last load, as its receipt tells.
    pub last_load: Option<LastLoad>,
}

/// A receipt, as far as it is of interest here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastLoad {
    /// The segment.
    pub seq: u64,
    /// When the loader knew of its commit.
    pub loaded_at: Timestamp,
    /// Rows taken from files.
    pub rows: u64,
    /// From reading the manifest to the commit.
    #[serde(default)]
    pub duration_ms: Option<u64>,
}

impl Overview {
    /// Looks at S3, and at `data_dir` if it is on this machine.
    ///
    /// # Errors
    /// If S3 can't be read.
    pub async fn look(config: &Config) -> Result<Self> {
        let sdk = aws::sdk_config(&config.aws).await;
        let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
        objects.check().await?;
        let layout = StreamLayout::new(&config.s3.prefix, &config.stream);
        let (mut interval, mut capture) = (config.s3.status_interval.unwrap_or_default(), None);
        if let Some(json) = objects.get(&layout.status_json()).await? {
            capture = serde_json::from_slice::<CaptureStatus>(&json).ok();
        }
        // On the capture's own machine there is a fresher one.
        let own = tables::status(config).ok().filter(|own| own.stream == config.stream);
        let is_newer =
            |own: &CaptureStatus| capture.as_ref().is_none_or(|told| told.updated_at < own.updated_at);
        if let Some(own) = own.filter(is_newer) {
            (interval, capture) = (Duration::from_secs(1), Some(own));
        }
        let at = Timestamp::now();
        let age = |capture: &CaptureStatus| at.duration_since(capture.updated_at).as_secs_f64().max(0.0);
        let heard_seconds_ago = capture.as_ref().map(age);
        let ended = capture.as_ref().is_some_and(|capture| capture.state == CaptureState::Stopped);
        let late = heard_seconds_ago.is_some_and(|age| age > (interval + PATIENCE).as_secs_f64());
        let epoch = current_epoch(&objects, &layout).await?.map(|epoch| epoch.to_string());
        let (mut segments, mut rates) = (None, Rates::default());
        if let Some(epoch) = &epoch {
            let history = History::new(&objects, &layout, epoch);
            let copy = CopyState::read(&objects, &layout, epoch).await?;
            if let Some((first, last)) = history.range().await? {
                let first = if copy.is_pending() { 1 } else { first };
                segments = Some(Segments::read(&objects, &layout, epoch, (first, last)).await?);
                rates = Rates::read(&history, (first, last)).await?;
            }
        }
        let stream = config.stream.clone();
        Ok(Self { stream, at, epoch, capture, heard_seconds_ago, silent: late && !ended, segments, rates })
    }

    /// As JSON, for machines.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| {
            Error::fatal(
                Who::Machine,
                format!("the status can't be written: {error}"),
                "report this as a bug",
            )
        })
    }
}

impl Segments {
    async fn read(
        objects: &Objects,
        layout: &StreamLayout,
        epoch: &str,
        (first, last): (u64, u64),
    ) -> Result<Self> {
        let history = History::new(objects, layout, epoch);
        let end =
            async |seq| Ok::<_, Error>(history.segment(seq).await?.map(|segment| segment.manifest.end_lsn));
        let loaded = history.last_loaded(first, last).await?;
        let mut found = Self { staged: last, loaded, in_flight: last - loaded.min(last), ..Self::default() };
        found.staged_lsn = end(last).await?.unwrap_or_default();
        if loaded >= first {
            found.loaded_lsn = end(loaded).await?.unwrap_or_default();
            let receipt = objects.get(&layout.segment(epoch, loaded).receipt()).await?;
            found.last_load = receipt.and_then(|json| serde_json::from_slice(&json).ok());
        }
        if loaded < last {
            let next = history.segment(loaded + 1).await?;
            found.waiting_since = next.map(|segment| segment.manifest.first_commit_time);
        }
        Ok(found)
    }
}
