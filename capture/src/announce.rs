//! Talking with the loader: staged segments are announced, acknowledgements taken, and what nobody answers to is
//! announced again. Acknowledgements are hints; receipts on S3 say the same when they are lost.

mod asks;
mod tables;
mod times;
mod window;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use re_dms_shared::Epoch;
use re_dms_shared::manifest::sha256_hex;
use re_dms_shared::message::{Outcome, SegmentAck, SegmentStaged};
use re_dms_shared::metrics::catalogue::LOAD_SECONDS;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::verify::VerifyRequest;
use re_dms_telemetry::traces::Span;
use tokio::sync::mpsc;

use crate::aws::{Objects, Queues};
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::history::History;
use crate::progress::{Progress, Snapshot};
use crate::retry::Backoff;
use crate::stage::{StreamIdentity, publish, span};
pub use asks::Asks;
pub use tables::TableNews;
pub use times::Times;
pub use window::News;
use window::Window;

/// How long one request for acknowledgements waits.
const LONG_POLL: Duration = Duration::from_secs(10);
/// A receipt is looked for when no acknowledgement came for this long.
const RECEIPT_CHECK: Duration = Duration::from_secs(15);
/// Without news a segment is announced again after pauses that grow up to this.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

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
    /// What the loader tells of tables.
    pub tables: TableNews,
    /// The account of segments under way.
    pub flight: Arc<Mutex<Flight>>,
    /// Without news of the next segment for this long, it is announced again; then after pauses that grow.
    pub resend_after: Duration,
    /// When segments were announced.
    pub times: Times,
}

impl Announcer {
    /// Announces what is staged, in order, for as long as the process runs. What a former run may not have announced
    /// comes first.
    pub async fn announce(
        &self,
        mut staged: mpsc::UnboundedReceiver<SegmentStaged>,
        mut news: mpsc::UnboundedReceiver<News>,
        mut asks: Asks,
    ) {
        let mut window = Window::new(self.flight(Flight::loaded_seq));
        let mut fresh = None;
        let mut lost = None;
        loop {
            while let Some(seq) = window.due(self.flight(Flight::announceable)) {
                // What waited for its turn comes from S3, so that memory does not hold what the loader is behind.
                let message = match fresh.take().filter(|fresh: &SegmentStaged| fresh.seq == seq) {
                    Some(message) => message,
                    None => match self.recall(seq).await {
                        Some(message) => message,
                        None if lost == Some(seq) => break,
                        None => {
                            self.tell_lost(seq);
                            lost = Some(seq);
                            break;
                        }
                    },
                };
                self.ask(asks.due(seq - 1)).await;
                self.send(&message).await;
                window.announced();
                if lost.take_if(|lost| *lost == seq).is_some() {
                    self.progress.succeeded(Who::Stream);
                }
                while let Ok(heard) = news.try_recv() {
                    window.hear(heard);
                }
            }
            self.ask(asks.due(window.announced_up_to())).await;
            tokio::select! {
                () = asks.come() => {}
                segment = staged.recv() => match segment {
                    Some(segment) => fresh = Some(segment),
                    None => return,
                },
                Some(heard) = news.recv() => window.hear(heard),
            }
        }
    }

    /// A staged segment's announcement, from its manifest; none if that is gone.
    async fn recall(&self, seq: u64) -> Option<SegmentStaged> {
        let epoch = self.epoch.to_string();
        let history = History::new(&self.objects, &self.layout, &epoch);
        let mut backoff = Backoff::new();
        loop {
            match history.segment(seq).await {
                Ok(segment) => {
                    let segment = segment?;
                    let first_commit = segment.manifest.first_commit_time;
                    publish(&self.flight, &self.progress, |flight| flight.recalled(seq, first_commit));
                    let place = (self.objects.bucket(), &self.layout);
                    return Some(self.identity.announcement(place, seq, segment.sha256));
                }
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(segment = seq, %error, retry_in_ms = pause.as_millis(), "can't be announced yet");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn tell_lost(&self, seq: u64) {
        let error = Error::fatal(
            Who::Stream,
            format!(
                "the manifest of segment {seq}, which is staged, is gone from S3: the stream can't be loaded beyond it"
            ),
            "restore the object, or begin a new stream",
        );
        tracing::error!(segment = seq, %error, "can't be announced");
        self.progress.failing(Who::Stream, error.to_string());
    }

    /// Asks the loader what tables hold: in its place among the segments, and once.
    async fn ask(&self, questions: Vec<VerifyRequest>) {
        for question in questions {
            let sent = crate::retry::until_done(&self.progress, || {
                self.queues.send(&question.stream, &question, &question.id)
            });
            if let Err(error) = sent.await {
                tracing::error!(%error, "the loader can't be asked what tables hold");
            }
        }
    }

    async fn send(&self, segment: &SegmentStaged) {
        // A fixed id within one announcement makes the SDK's own repeats harmless; a new one lets us announce again
        // within the queue's five minutes of deduplication.
        let id = format!("{}:{}:{}", segment.epoch, segment.seq, uuid::Uuid::new_v4());
        let id = sha256_hex(id.as_bytes());
        let began = SystemTime::now();
        let sent = crate::retry::until_done(&self.progress, || self.queues.announce(segment, &id)).await;
        match sent {
            Ok(()) => {
                tracing::debug!(segment = segment.seq, "announced");
                span(&self.progress, (&segment.epoch, segment.seq), "announce", began, |span| span);
                self.times.announced(segment.seq);
            }
            Err(error) => tracing::error!(segment = segment.seq, %error, "can't be announced"),
        }
    }

    /// Takes acknowledgements for as long as the process runs, and tells what they mean for what is announced.
    pub async fn listen(&self, news: mpsc::UnboundedSender<News>) {
        // Who has not got the slot yet may be a second capture of this stream, and would take the first one's
        // acknowledgements away.
        if self.progress.subscribe().wait_for(|state| state.streaming).await.is_err() {
            return;
        }
        let mut backoff = Backoff::new();
        let mut last_news = Instant::now();
        let mut patience = self.resend_after;
        let mut last_repeat: Option<(u64, Instant)> = None;
        let mut last_receipt_check = Instant::now();
        loop {
            let loaded_before = self.flight(Flight::loaded_seq);
            self.tables.ask().await;
            match self.queues.receive_acks(LONG_POLL).await {
                Ok(acks) => {
                    backoff = Backoff::new();
                    let mut missing = None;
                    for ack in acks.iter().filter_map(|received| received.ack.as_ref()) {
                        self.tables.hear(ack).await;
                        match self.take(ack) {
                            Some(News::Missing(seq)) => missing = Some(seq),
                            Some(other) => {
                                let _ = news.send(other);
                            }
                            // It is being tried: that is news of it as well.
                            None => last_news = Instant::now(),
                        }
                    }
                    // Every message behind a gap is refused with the same words.
                    if let Some(missing) = missing
                        && last_repeat
                            .is_none_or(|(seq, when)| seq != missing || when.elapsed() > RECEIPT_CHECK)
                    {
                        tracing::warn!(segment = missing, "the loader lacks it: announcing again from there");
                        last_repeat = Some((missing, Instant::now()));
                        let _ = news.send(News::Missing(missing));
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
                patience = self.resend_after;
                continue;
            }
            if last_news.elapsed() > RECEIPT_CHECK && last_receipt_check.elapsed() > RECEIPT_CHECK {
                last_receipt_check = Instant::now();
                if let Err(error) = self.look_for_receipts(&news).await {
                    tracing::warn!(%error, "receipts can't be read");
                }
            }
            if last_news.elapsed() > patience {
                tracing::warn!(segment = loaded + 1, "no acknowledgement: announcing again");
                last_news = Instant::now();
                patience = (patience * 2).min(LONGEST_PATIENCE.max(self.resend_after));
                let _ = news.send(News::Silence);
            }
        }
    }

    /// Takes one acknowledgement; returns what it means for what is announced.
    fn take(&self, ack: &SegmentAck) -> Option<News> {
        if ack.stream != self.identity.stream || ack.epoch != self.identity.epoch {
            tracing::warn!(stream = %ack.stream, epoch = %ack.epoch, "an acknowledgement for another stream or epoch");
            return None;
        }
        self.progress.update(Snapshot::heard);
        match &ack.outcome {
            Outcome::Loaded | Outcome::AlreadyLoaded => {
                if ack.outcome == Outcome::Loaded {
                    let seconds = Duration::from_millis(ack.duration_ms).as_secs_f64();
                    self.progress.counted().observe(&LOAD_SECONDS, seconds);
                }
                publish(&self.flight, &self.progress, |flight| flight.loaded(ack.seq, ack.end_lsn));
                if let Some(announced) = self.times.loaded(ack.seq) {
                    let rows = |span: Span| span.with("re_dms.rows", ack.rows);
                    span(&self.progress, (&ack.epoch, ack.seq), "wait for the loader", announced, rows);
                }
                tracing::info!(segment = ack.seq, lsn = %ack.end_lsn, rows = ack.rows, duration_ms = ack.duration_ms, "loaded");
                self.progress.succeeded(Who::Loader);
                Some(News::Loaded(ack.seq))
            }
            Outcome::Gap { missing } => Some(News::Missing(*missing)),
            // Of requests, which are about tables.
            Outcome::Resumed { .. } => None,
            Outcome::Failed { .. } if ack.seq == 0 => None,
            Outcome::Failed { error, hint } => {
                tracing::error!(segment = ack.seq, %error, %hint, "the loader failed; the queue delivers it again");
                self.progress.failing(Who::Loader, format!("segment {}: {error}\n  hint: {hint}", ack.seq));
                None
            }
        }
    }

    /// The loader's receipts tell what lost acknowledgements would have told.
    async fn look_for_receipts(&self, news: &mpsc::UnboundedSender<News>) -> Result<()> {
        let epoch = self.epoch.to_string();
        let history = History::new(&self.objects, &self.layout, &epoch);
        loop {
            let (next, staged) = self.flight(|flight| (flight.loaded_seq() + 1, flight.announceable()));
            if next > staged || !history.is_loaded(next).await? {
                return Ok(());
            }
            let Some(segment) = history.segment(next).await? else { return Ok(()) };
            publish(&self.flight, &self.progress, |flight| flight.loaded(next, segment.manifest.end_lsn));
            let _ = news.send(News::Loaded(next));
        }
    }

    fn flight<T>(&self, ask: impl FnOnce(&Flight) -> T) -> T {
        ask(&self.flight.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
