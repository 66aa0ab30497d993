//! Finished tables become segments: the next number, a manifest, written once, and the loader is told.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{Action, COPY_FORMAT, Load, Manifest, Predecessor, Step};
use re_dms_shared::message::SegmentStaged;
use re_dms_shared::s3_layout::StreamLayout;
use tokio::sync::mpsc;

use super::round::RoundTable;
use super::state::CopyState;
use crate::aws::Objects;
use crate::error::Result;
use crate::flight::Flight;
use crate::progress::Progress;
use crate::stage::{CAPTURED_BY, StreamIdentity, publish, write_manifest};

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
        let StreamIdentity { stream, epoch, .. } = self.identity.clone();
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
            stream,
            epoch: epoch.clone(),
            seq,
            predecessor: self.state.last.clone(),
            // Nothing of the stream is in it.
            start_lsn: self.consistent_point,
            end_lsn: self.consistent_point,
            first_commit_time: now,
            last_commit_time: now,
            transactions: 0,
            captured_by: CAPTURED_BY.to_owned(),
            shapes: Some(shapes.to_owned()),
            copy: Some(copied.clone()),
            after_copy: None,
            restores: None,
            steps: step.into_iter().collect(),
        };
        let sha256 = write_manifest(&self.objects, &self.layout, &self.progress, &manifest).await?;

        self.state.done.push(copied);
        self.state.last = Some(Predecessor { seq, sha256: sha256.clone() });
        self.state.shapes = Some(shapes.to_owned());
        if !self.state.is_pending() {
            self.state.finish(&self.objects, &self.layout, &epoch, &self.progress).await?;
        }
        publish(&self.flight, &self.progress, |flight| flight.copied(seq, now));
        let place = (self.objects.bucket(), &self.layout);
        // The announcer only ends with the process; the next start announces what it finds unloaded.
        let _ = self.announce.send(self.identity.announcement(place, seq, sha256));
        Ok(())
    }
}
