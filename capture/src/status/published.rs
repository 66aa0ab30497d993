//! The status on S3: for who watches from another machine, and for when this one is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use re_dms_shared::status::CaptureState;

use super::{StatusFile, state};
use crate::aws::Objects;
use crate::progress::Progress;

/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// Puts the status on S3 at an interval, and once more at the end.
#[derive(Clone, Debug)]
pub struct Published {
    status: StatusFile,
    objects: Objects,
    key: String,
    interval: Option<Duration>,
}

impl Published {
    /// As `status` has it, at `key`; without an interval never.
    #[must_use]
    pub fn new(status: StatusFile, objects: Objects, key: String, interval: Option<Duration>) -> Self {
        Self { status, objects, key, interval }
    }

    /// For as long as the process runs. Who can't write it says so once: what else needs S3 says the rest.
    pub async fn follow(self, progress: Arc<Progress>) {
        let Some(interval) = self.interval else { return };
        let mut failed = false;
        loop {
            let snapshot = progress.now();
            let body = self.json(&snapshot, state(&snapshot));
            match self.objects.put(&self.key, body).await {
                Ok(()) => failed = false,
                Err(error) if !std::mem::replace(&mut failed, true) => {
                    tracing::warn!(%error, "the status can't be put on S3");
                }
                Err(_) => {}
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// The last word.
    pub async fn stopped(&self, progress: &Progress) {
        if self.interval.is_none() {
            return;
        }
        let body = self.json(&progress.now(), CaptureState::Stopped);
        match tokio::time::timeout(FAREWELL, self.objects.put(&self.key, body)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last status can't be put on S3"),
            Err(_) => tracing::warn!("the last status could not be put on S3 in time"),
        }
    }

    fn json(&self, snapshot: &crate::progress::Snapshot, state: CaptureState) -> Bytes {
        serde_json::json!(self.status.status(snapshot, state)).to_string().into()
    }
}
