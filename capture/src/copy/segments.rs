//! Finished tables become segments: the next number, a manifest, written once, and the loader is told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{Action, COPY_FORMAT, Load, Manifest, Predecessor, Step, sha256_hex};
use re_dms_shared::message::{self, SegmentStaged};
use re_dms_shared::s3_layout::StreamLayout;
use tokio::sync::mpsc;

use super::round::RoundTable;
use super::state::CopyState;
use crate::aws::Objects;
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::progress::Progress;
use crate::stage::{StreamIdentity, publish, put_manifest};

/// The copy's segments, one after the other.
pub struct Segments {
    /// Whose they are.
    pub identity: StreamIdentity,
    /// The bucket.
    pub objects: Objects,
    /// Where in it.
    pub layout: StreamLayout,
    /// Where to publish what was done.
    pub progress: Arc<Progress>,
    /// The account of segments under way.
    pub flight: Arc<Mutex<Flight>>,
    /// Where staged segments are announced.
    pub announce: mpsc::UnboundedSender<SegmentStaged>,
    /// The epoch's consistent point.
    pub consistent_point: Lsn,
    /// What is done.
    pub state: CopyState,
}

impl Segments {
    /// The table is done; `load` is what was read of it, if it is there.
    pub(super) async fn add(
        &mut self,
        table: &RoundTable,
        snapshot: Lsn,
        shapes: &str,
        load: Option<Load>,
    ) -> Result<()> {
        let StreamIdentity { stream, epoch, ack_queue_url, .. } = self.identity.clone();
        let seq = self.state.done.len() as u64 + 1;
        let now = Timestamp::now();
        let copied = table.copied(snapshot);
        let step = table.shape.as_ref().zip(load).map(|(shape, load)| Step {
            number: 1,
            table: shape.table().clone(),
            action: Action::Load(load),
        });
        let manifest = Manifest {
            format: COPY_FORMAT,
            stream: stream.clone(),
            epoch: epoch.clone(),
            seq,
            predecessor: self.state.last.clone(),
            // Nothing of the stream is in it.
            start_lsn: self.consistent_point,
            end_lsn: self.consistent_point,
            first_commit_time: now,
            last_commit_time: now,
            transactions: 0,
            captured_by: concat!("re_dms ", env!("CARGO_PKG_VERSION")).to_owned(),
            shapes: Some(shapes.to_owned()),
            copy: Some(copied.clone()),
            after_copy: None,
            steps: step.into_iter().collect(),
        };
        let json = manifest.to_json().map_err(|error| {
            Error::fatal(Who::Stream, format!("segment {seq}: the manifest: {error}"), "report this as a bug")
        })?;
        let json = Bytes::from(json);
        let manifest_sha256 = sha256_hex(&json);
        let manifest_key = self.layout.segment(&epoch, seq).manifest();
        put_manifest(&self.objects, &self.progress, &manifest_key, &json).await?;

        self.state.done.push(copied);
        self.state.last = Some(Predecessor { seq, sha256: manifest_sha256.clone() });
        self.state.shapes = Some(shapes.to_owned());
        if !self.state.is_pending() {
            self.state.finish(&self.objects, &self.layout, &epoch, &self.progress).await?;
        }
        publish(&self.flight, &self.progress, |flight| flight.copied(seq, now));
        let bucket = self.objects.bucket().to_owned();
        // The announcer only ends with the process; the next start announces what it finds unloaded.
        let _ = self.announce.send(SegmentStaged {
            format: message::FORMAT,
            stream,
            epoch,
            seq,
            bucket,
            manifest_key,
            manifest_sha256,
            ack_queue_url,
        });
        Ok(())
    }
}
