//! Talking with the loader: staged segments are announced, acknowledgements taken, and what nobody answers to is
//! announced again. Acknowledgements are hints; receipts on S3 say the same when they are lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use re_dms_shared::Epoch;
use re_dms_shared::manifest::sha256_hex;
use re_dms_shared::message::{self, Outcome, SegmentAck, SegmentStaged};
use re_dms_shared::s3_layout::StreamLayout;
use tokio::sync::mpsc;

use crate::aws::{Objects, Queues};
use crate::error::{Result, Who};
use crate::flight::Flight;
use crate::history::History;
use crate::progress::Progress;
use crate::retry::Backoff;
use crate::stage::{StreamIdentity, publish};

/// How long one request for acknowledgements waits.
const LONG_POLL: Duration = Duration::from_secs(10);
/// A receipt is looked for when no acknowledgement came for this long.
const RECEIPT_CHECK: Duration = Duration::from_secs(15);

/// Announces and listens for one stream.
#[derive(Debug)]
pub struct Announcer {
    /// Whose segments they are.
    pub identity: StreamIdentity,
    /// The same epoch, as S3 keys need it.
    pub epoch: Epoch,
    /// The queues.
    pub queues: Queues,
    /// The bucket.
    pub objects: Objects,
    /// Where in it.
    pub layout: StreamLayout,
    /// Where to publish what was done.
    pub progress: Arc<Progress>,
    /// The account of segments under way.
    pub flight: Arc<Mutex<Flight>>,
    /// Without news of the next segment for this long, it is announced again.
    pub resend_after: Duration,
}

impl Announcer {
    /// Announces what is staged, in order, for as long as the process runs. What a former run may not have announced
    /// comes first.
    pub async fn announce(
        &self,
        mut staged: mpsc::UnboundedReceiver<SegmentStaged>,
        mut again: mpsc::UnboundedReceiver<u64>,
    ) {
        let mut waiting: VecDeque<SegmentStaged> = VecDeque::new();
        loop {
            tokio::select! {
                segment = staged.recv() => match segment {
                    Some(segment) => waiting.push_back(segment),
                    None => return,
                },
                Some(from) = again.recv() => {
                    // Those that are waiting come again from S3: the order is that of the numbers.
                    waiting.clear();
                    self.announce_from(from).await;
                }
            }
            while let Some(segment) = waiting.pop_front() {
                self.send(&segment).await;
            }
        }
    }

    /// Announces every staged segment from `seq` on.
    async fn announce_from(&self, seq: u64) {
        let epoch = self.epoch.to_string();
        let history = History::new(&self.objects, &self.layout, &epoch);
        let mut seq = seq;
        let mut backoff = Backoff::new();
        while seq <= self.flight(Flight::staged_seq) {
            match history.segment(seq).await {
                Ok(Some(segment)) => {
                    let message = SegmentStaged {
                        format: message::FORMAT,
                        stream: self.identity.stream.clone(),
                        epoch: epoch.clone(),
                        seq,
                        bucket: self.objects.bucket().to_owned(),
                        manifest_key: self.layout.segment(&epoch, seq).manifest(),
                        manifest_sha256: segment.sha256,
                        ack_queue_url: self.identity.ack_queue_url.clone(),
                    };
                    self.send(&message).await;
                    seq += 1;
                }
                Ok(None) => {
                    tracing::error!(
                        segment = seq,
                        "the manifest of a staged segment is gone from S3; the stream can't be loaded beyond it (hint: restore the object, or begin a new stream)"
                    );
                    return;
                }
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(segment = seq, %error, retry_in_ms = pause.as_millis(), "can't announce it again yet");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn send(&self, segment: &SegmentStaged) {
        // A fixed id within one announcement makes the SDK's own repeats harmless; a new one lets us announce again
        // within the queue's five minutes of deduplication.
        let id = format!("{}:{}:{}", segment.epoch, segment.seq, uuid::Uuid::new_v4());
        let id = sha256_hex(id.as_bytes());
        let sent = crate::retry::until_done(&self.progress, || self.queues.announce(segment, &id)).await;
        match sent {
            Ok(()) => tracing::debug!(segment = segment.seq, "announced"),
            Err(error) => tracing::error!(segment = segment.seq, %error, "can't be announced"),
        }
    }

    /// Takes acknowledgements for as long as the process runs; asks for repetition through `again`.
    pub async fn listen(&self, again: mpsc::UnboundedSender<u64>) {
        // Who has not got the slot yet may be a second capture of this stream, and would take the first one's
        // acknowledgements away.
        if self.progress.subscribe().wait_for(|state| state.streaming).await.is_err() {
            return;
        }
        let mut backoff = Backoff::new();
        let mut last_news = Instant::now();
        let mut last_repeat: Option<(u64, Instant)> = None;
        let mut last_receipt_check = Instant::now();
        loop {
            let loaded_before = self.flight(Flight::loaded_seq);
            match self.queues.receive_acks(LONG_POLL).await {
                Ok(acks) => {
                    backoff = Backoff::new();
                    let mut repeat = None;
                    for ack in acks.iter().filter_map(|received| received.ack.as_ref()) {
                        repeat = self.take(ack).or(repeat);
                    }
                    if let Some(missing) = repeat
                        && last_repeat
                            .is_none_or(|(seq, when)| seq != missing || when.elapsed() > RECEIPT_CHECK)
                    {
                        tracing::warn!(segment = missing, "the loader lacks it: announcing again from there");
                        last_repeat = Some((missing, Instant::now()));
                        let _ = again.send(missing);
                    }
                    if let Err(error) = self.queues.delete_acks(&acks).await {
                        tracing::warn!(%error, "acknowledgements will come again");
                    }
                }
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(%error, retry_in_ms = pause.as_millis(), "acknowledgements can't be read");
                    tokio::time::sleep(pause).await;
                }
            }
            let (loaded, in_flight) = self.flight(|flight| (flight.loaded_seq(), flight.in_flight()));
            if loaded > loaded_before || in_flight == 0 {
                last_news = Instant::now();
                continue;
            }
            if last_news.elapsed() > RECEIPT_CHECK && last_receipt_check.elapsed() > RECEIPT_CHECK {
                last_receipt_check = Instant::now();
                if let Err(error) = self.look_for_receipts().await {
                    tracing::warn!(%error, "receipts can't be read");
                }
            }
            if last_news.elapsed() > self.resend_after {
                tracing::warn!(segment = loaded + 1, "no acknowledgement: announcing again");
                last_news = Instant::now();
                let _ = again.send(loaded + 1);
            }
        }
    }

    /// Takes one acknowledgement; returns the segment from which to announce again, if it says so.
    fn take(&self, ack: &SegmentAck) -> Option<u64> {
        if ack.stream != self.identity.stream || ack.epoch != self.identity.epoch {
            tracing::warn!(stream = %ack.stream, epoch = %ack.epoch, "an acknowledgement for another stream or epoch");
            return None;
        }
        match &ack.outcome {
            Outcome::Loaded | Outcome::AlreadyLoaded => {
                publish(&self.flight, &self.progress, |flight| flight.loaded(ack.seq, ack.end_lsn));
                tracing::info!(segment = ack.seq, lsn = %ack.end_lsn, rows = ack.rows, duration_ms = ack.duration_ms, "loaded");
                self.progress.succeeded(Who::Loader);
                None
            }
            // Also if we took it for loaded: Redshift may have been restored to an older state.
            Outcome::Gap { missing } => Some(*missing),
            Outcome::Failed { error, hint } => {
                tracing::error!(segment = ack.seq, %error, %hint, "the loader failed; the queue delivers it again");
                self.progress.failing(Who::Loader, format!("segment {}: {error}\n  hint: {hint}", ack.seq));
                None
            }
        }
    }

    /// The loader's receipts tell what lost acknowledgements would have told.
    async fn look_for_receipts(&self) -> Result<()> {
        let epoch = self.epoch.to_string();
        let history = History::new(&self.objects, &self.layout, &epoch);
        loop {
            let (next, staged) = self.flight(|flight| (flight.loaded_seq() + 1, flight.staged_seq()));
            if next > staged || !history.is_loaded(next).await? {
                return Ok(());
            }
            let Some(segment) = history.segment(next).await? else { return Ok(()) };
            publish(&self.flight, &self.progress, |flight| flight.loaded(next, segment.manifest.end_lsn));
        }
    }

    fn flight<T>(&self, ask: impl FnOnce(&Flight) -> T) -> T {
        ask(&self.flight.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
