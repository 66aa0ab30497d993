//! What a capture does by itself for the bucket, beside the stream, and `re_dms segments clean` on demand.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use re_dms_shared::status::{CaptureState, CaptureStatus};

use super::lost::tag_after_a_start;
use super::{Archive, Expired, Kept, Lacked, Lost, expire, tag_lost};
use crate::config::Config;
use crate::error::Result;
use crate::progress::Progress;
use crate::tables;

/// Within the retention it is looked so often whether something may go.
const LOOKS: u32 = 24;

/// Between looks, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// A status that is older than this says nothing of now.
const STALE: Duration = Duration::from_secs(60);

/// Tags what dead attempts left, and what `segments.retention` lets go, for as long as the stream runs. `last`: the last segment
/// that was staged before this start.
pub(crate) async fn tidy(archive: Archive, config: Arc<Config>, last: u64, progress: Arc<Progress>) {
    let news = progress.subscribe();
    tokio::join!(tag_after_a_start(&archive, last, news), keep_for(&archive, &config, &progress));
}

async fn keep_for(archive: &Archive, config: &Config, progress: &Progress) {
    let Some(retention) = config.segments.retention else { return };
    let pause = (retention / LOOKS).clamp(PAUSE.0, PAUSE.1);
    // Each reason is told once, until there is another one.
    let mut told = String::new();
    loop {
        tokio::time::sleep(pause).await;
        let now = progress.now();
        let lacked = Lacked::by(&archive.epoch, now.quarantine_told, &now.quarantine.tables);
        let (done, is_bad, why) = match expire(archive, retention, lacked, false).await {
            Ok(done) => {
                let is_bad = matches!(done.kept, Kept::NoCheckpoint | Kept::BrokenCheckpoint(_));
                (Some(done), is_bad, done.kept.to_string())
            }
            Err(error) => (None, true, error.to_string()),
        };
        if let Some(Expired { up_to, now: Lost { files, bytes }, .. }) =
            done.filter(|done| done.now.files > 0)
        {
            tracing::info!(segment = up_to, files, bytes, "segments up to this one are tagged as expendable");
        }
        if is_bad && why != told {
            tracing::warn!(why, "segments.retention lets nothing more go");
            told = why;
        } else if !is_bad {
            told.clear();
        }
    }
}

/// What `re_dms segments clean` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// What nobody names.
    pub lost: Lost,
    /// What no replay needs, if there is a retention.
    pub expired: Option<Expired>,
}

/// Tags all that is lost in the stream's epoch, and what the retention lets go, or only counts it. `min_age`: how old a file
/// must be that somebody may still be about to name.
///
/// # Errors
/// If S3 can't be read, or refuses tags.
pub async fn clean(config: &Config, min_age: Duration, dry_run: bool) -> Result<Cleaned> {
    let archive = Archive::open(config).await?;
    let lost = tag_lost(&archive, min_age, dry_run).await?;
    let Some(retention) = config.segments.retention else { return Ok(Cleaned { lost, expired: None }) };
    let lacked = match status(config, &archive).await? {
        Some(status) => Lacked::by(&archive.epoch, status.quarantined_told, &status.quarantined),
        None => Lacked::Unknown,
    };
    let expired = Some(expire(&archive, retention, lacked, dry_run).await?);
    Ok(Cleaned { lost, expired })
}

/// What a capture that runs says of itself: on this machine, or on S3.
async fn status(config: &Config, archive: &Archive) -> Result<Option<CaptureStatus>> {
    let published = archive.objects.get(&archive.layout.status_json()).await?;
    let published = published.and_then(|json| serde_json::from_slice::<CaptureStatus>(&json).ok());
    let own = tables::status(config).ok();
    let is_now = |status: &CaptureStatus| {
        let age = Timestamp::now().duration_since(status.updated_at);
        let is_fresh = age.unsigned_abs() <= STALE + config.s3.status_interval.unwrap_or_default();
        let is_ours = status.stream == archive.stream && status.epoch == archive.epoch;
        is_ours && is_fresh && status.state != CaptureState::Stopped
    };
    Ok([own, published].into_iter().flatten().find(is_now))
}
