//! Making a batch durable on S3: its files, then its manifest, written once (invariant 4). From there on the segment
//! exists, whatever happens to this process.

mod spans;
mod steps;
mod store;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::lsn::Staged;
use re_dms_shared::manifest::{COPY_FORMAT, Manifest, Predecessor, Step, lowest_format, sha256_hex};
use re_dms_shared::message::{self, SegmentStaged};
use re_dms_shared::s3_layout::{SegmentLayout, StreamLayout};
use re_dms_shared::verify::VerifyRequest;
use re_dms_shared::{Lsn, sql};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::aws::PutOnce;
use crate::batch::StepData;
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::metrics::count_segment;
use crate::progress::Progress;
use crate::pulse::{Part, Wait};
use crate::retry;
use crate::rows::RenderOptions;
pub(crate) use spans::span;
pub(crate) use steps::load;
pub use store::SegmentStore;

/// Who wrote a manifest.
pub(crate) const CAPTURED_BY: &str = concat!("re_dms ", env!("CARGO_PKG_VERSION"));

/// How often it is told that nothing is to be done.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// What the collector hands over, in order.
#[derive(Debug)]
pub enum StageItem {
    /// The next steps of the open segment.
    Steps(Vec<StepData>),
    /// The open segment ends.
    Cut(Cut),
    /// The stream was idle: nothing of ours lies between the last segment and here.
    Idle(Lsn),
    /// The loader is asked this between the last segment and the next one.
    Ask(Box<VerifyRequest>),
}

/// What a segment covers.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The end of its last transaction.
    pub end_lsn: Lsn,
    /// When its first transaction was committed.
    pub first_commit: Timestamp,
    /// When its last transaction was committed.
    pub last_commit: Timestamp,
    /// Source transactions in it.
    pub transactions: u64,
    /// Row changes in these.
    pub changes: u64,
    /// The tables' shapes as of its end, unless they are those of the segment before.
    pub shapes: Option<Bytes>,
}

/// Writes one epoch's segments, one after the other.
#[derive(Debug)]
pub struct Stager<S> {
    /// Whose segments they are.
    pub identity: StreamIdentity,
    /// The bucket.
    pub objects: S,
    /// Where in it.
    pub layout: StreamLayout,
    /// How values become files.
    pub options: RenderOptions,
    /// Where to publish what was done.
    pub progress: Arc<Progress>,
    /// The account of segments under way.
    pub flight: Arc<Mutex<Flight>>,
    /// Where staged segments are announced.
    pub announce: mpsc::UnboundedSender<SegmentStaged>,
    /// Where the loader is asked.
    pub asks: mpsc::UnboundedSender<VerifyRequest>,
    /// The last segment on S3, if it is known.
    pub predecessor: Option<Predecessor>,
    /// The number that a segment without a known predecessor gets: the one after the initial copy.
    pub first_seq: u64,
    /// Where the list of copied tables will be on S3, if there is an initial copy.
    pub copied: Option<String>,
    /// Where the next segment starts.
    pub start_lsn: Lsn,
    /// Where the tables' shapes as of the last segment are on S3.
    pub shapes: Option<String>,
}

/// A stream, its epoch, and this process's run of it.
#[derive(Clone, Debug)]
pub struct StreamIdentity {
    /// The stream's name.
    pub stream: String,
    /// The epoch's text form.
    pub epoch: String,
    /// Tells this process's files from those of another run.
    pub attempt: String,
    /// The queue that the loader answers to.
    pub ack_queue_url: String,
}

impl StreamIdentity {
    /// What the loader is told of a segment.
    pub(crate) fn announcement(
        &self,
        (bucket, layout): (&str, &StreamLayout),
        seq: u64,
        manifest_sha256: String,
    ) -> SegmentStaged {
        SegmentStaged {
            format: message::FORMAT,
            stream: self.stream.clone(),
            epoch: self.epoch.clone(),
            seq,
            bucket: bucket.to_owned(),
            manifest_key: layout.segment(&self.epoch, seq).manifest(),
            manifest_sha256,
            ack_queue_url: self.ack_queue_url.clone(),
        }
    }
}

impl<S: SegmentStore> Stager<S> {
    /// Works until the collector ends.
    ///
    /// # Errors
    /// What does not pass by itself; the local WAL still has what is not staged.
    pub async fn run(mut self, mut items: mpsc::Receiver<StageItem>) -> Result<()> {
        let mut steps = Vec::new();
        while let Some(item) = self.next(&mut items).await {
            let span = tracing::info_span!("segment", segment = self.next_seq());
            match item {
                StageItem::Steps(data) => {
                    steps.extend(self.stage_steps(steps.len(), data).instrument(span).await?);
                }
                StageItem::Cut(cut) => {
                    self.finish_segment(std::mem::take(&mut steps), cut).instrument(span).await?;
                }
                StageItem::Idle(lsn) => self.idle(lsn),
                StageItem::Ask(request) => {
                    // As with announcements: who hears it ends with the process.
                    let _ = self.asks.send(VerifyRequest { seq: self.next_seq() - 1, ..*request });
                }
            }
        }
        Ok(())
    }

    /// Says now and then that it lives, while there is nothing to do.
    async fn next(&self, items: &mut mpsc::Receiver<StageItem>) -> Option<StageItem> {
        loop {
            self.progress.pulse(Part::Stager).beat();
            if let Ok(item) = tokio::time::timeout(SIGN_OF_LIFE, items.recv()).await {
                return item;
            }
        }
    }

    fn next_seq(&self) -> u64 {
        self.predecessor.as_ref().map_or(self.first_seq, |predecessor| predecessor.seq + 1)
    }

    fn segment_layout(&self) -> SegmentLayout {
        self.layout.segment(&self.identity.epoch, self.next_seq())
    }

    async fn finish_segment(&mut self, steps: Vec<Step>, cut: Cut) -> Result<()> {
        let (seq, cut_at) = (self.next_seq(), SystemTime::now());
        if let Some(json) = &cut.shapes {
            let key = self.segment_layout().shapes(&self.identity.attempt);
            self.put(&key, json).await?;
            self.shapes = Some(key);
        }
        let after_copy = self.copied.clone().filter(|_| self.predecessor.is_none() || self.is_copying());
        let manifest = Manifest {
            format: lowest_format(&steps).max(if after_copy.is_some() { COPY_FORMAT } else { 0 }),
            stream: self.identity.stream.clone(),
            epoch: self.identity.epoch.clone(),
            seq,
            predecessor: self.predecessor.clone(),
            start_lsn: self.start_lsn,
            end_lsn: cut.end_lsn,
            first_commit_time: cut.first_commit,
            last_commit_time: cut.last_commit,
            transactions: cut.transactions,
            captured_by: CAPTURED_BY.to_owned(),
            shapes: self.shapes.clone(),
            copy: None,
            after_copy,
            restores: None,
            steps,
        };
        let (layout, progress) = (&self.layout, &self.progress);
        let began = SystemTime::now();
        let sha256 = {
            let _waiting = progress.pulse(Part::Stager).waits_for(Wait::Storage);
            write_manifest(&self.objects, layout, progress, &manifest).await?
        };
        self.span(seq, "write the manifest", began, |span| span);
        self.whole_span(seq, &cut, cut_at);
        self.predecessor = Some(Predecessor { seq, sha256: sha256.clone() });
        self.start_lsn = cut.end_lsn;
        self.account(|flight| flight.staged(seq, cut.end_lsn, cut.first_commit));
        self.progress.anchored(cut.end_lsn);
        self.progress.staged(Staged(cut.end_lsn));
        tracing::info!(
            lsn = %cut.end_lsn,
            steps = manifest.steps.len(),
            transactions = cut.transactions,
            "staged"
        );
        count_segment(progress.counted(), &manifest, cut.changes);
        let place = (self.objects.bucket(), &self.layout);
        let announcement = self.identity.announcement(place, seq, sha256);
        // The announcer only ends with the process; the next start announces what it finds unloaded.
        let _ = self.announce.send(announcement);
        Ok(())
    }

    fn is_copying(&self) -> bool {
        self.flight.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_copying()
    }

    fn idle(&self, lsn: Lsn) {
        self.account(|flight| flight.idle_until(lsn));
        self.progress.staged(Staged(lsn));
    }

    fn account(&self, change: impl FnOnce(&mut Flight)) {
        publish(&self.flight, &self.progress, change);
    }
}

/// Writes a segment's manifest, after all that it names; returns its checksum.
pub(crate) async fn write_manifest<S: SegmentStore>(
    objects: &S,
    layout: &StreamLayout,
    progress: &Progress,
    manifest: &Manifest,
) -> Result<String> {
    let seq = manifest.seq;
    let json = manifest.to_json().map_err(|error| {
        Error::fatal(Who::Stream, format!("segment {seq}: the manifest: {error}"), "report this as a bug")
    })?;
    let json = Bytes::from(json);
    put_manifest(objects, progress, &layout.segment(&manifest.epoch, seq).manifest(), &json).await?;
    Ok(sha256_hex(&json))
}

/// Whoever finds another manifest there has lost a race and stops. A lost answer to our own put is no race.
pub(crate) async fn put_manifest<S: SegmentStore>(
    objects: &S,
    progress: &Progress,
    key: &str,
    json: &Bytes,
) -> Result<()> {
    let put = retry::until_done(progress, || objects.put_once(key, json.clone())).await?;
    if put == PutOnce::Written {
        return Ok(());
    }
    let there = retry::until_done(progress, || objects.get(key)).await?;
    if there.as_ref() == Some(json) {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!("{} was written by somebody else: another capture runs this stream", sql::literal(key)),
        "let only one capture run a stream; stop the other one, then start this one again",
    )
    .breaking(4))
}

/// Changes the account of segments under way and publishes what follows from it.
pub(crate) fn publish(flight: &Mutex<Flight>, progress: &Progress, change: impl FnOnce(&mut Flight)) {
    let mut flight = flight.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    change(&mut flight);
    progress.loaded(re_dms_shared::lsn::Loaded(flight.loaded_lsn()));
    progress.update(|state| {
        let before = (state.segments_in_flight() > 0, state.segments_loaded);
        state.segments_staged = flight.segments();
        state.segments_loaded = flight.loaded_seq();
        if before != (state.segments_in_flight() > 0, state.segments_loaded) {
            state.heard();
        }
        state.oldest_staged = flight.oldest_commit();
    });
}
