//! Announcing a replay's segments, a few ahead of what is loaded, until the last one is in. Answers are hints: what nobody
//! answers to is announced again, and what the ledger lacks is announced from there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use re_dms_shared::message::{Outcome, SegmentAck};

use super::Done;
use super::feed::{Feed, Ready};
use crate::aws::Queues;
use crate::error::{Error, Result, Who};
use crate::retry::Backoff;

/// So many may be announced and not loaded.
const AHEAD: u64 = 20;
/// How long one request for answers waits.
const LONG_POLL: Duration = Duration::from_secs(5);
/// Every message behind a gap is refused with the same words: they are heard once in this time.
const GAP_ECHO: Duration = Duration::from_secs(10);
/// How long the loader is waited for, when only asked.
const ASK_PATIENCE: Duration = Duration::from_secs(300);
/// Failures that last so long end the command.
const PATIENCE: Duration = Duration::from_secs(900);

/// Who looks on.
pub trait Watch {
    /// These segments of the history, with so many rows and bytes, are going to be replayed.
    fn begins(&mut self, first: u64, to: u64, rows: u64, bytes: u64);
    /// All up to this segment of the history is in, and so many rows so far.
    fn loaded(&mut self, segment: u64, rows: u64);
    /// Something stands in the way, for now.
    fn trouble(&mut self, what: &str);
}

/// Announces and listens for one replay.
pub(super) struct Driver<F> {
    queues: Queues,
    feed: F,
    acks_url: String,
    /// Without an answer for this long, the oldest segment is announced again.
    resend_after: Duration,
    /// The last that the ledger has, as far as is known.
    loaded: u64,
    /// The last that was ever loaded: less is no news.
    furthest: u64,
    /// The first that is not announced.
    next: u64,
    /// The last one there is, once that is known.
    last: Option<u64>,
    /// Announced and not loaded, with what they come from.
    flight: BTreeMap<u64, u64>,
    done: Done,
    /// The loader said of one that was announced that it is in.
    is_heard: bool,
    news: Instant,
    heard: Instant,
    repeated: Option<(u64, Instant)>,
    told: Option<String>,
}

impl<F: Feed> Driver<F> {
    pub(super) fn new(queues: Queues, feed: F, acks_url: String, resend_after: Duration) -> Self {
        let (stream, first) = (feed.stream().to_owned(), feed.first());
        Self {
            queues,
            feed,
            acks_url,
            resend_after,
            loaded: first - 1,
            furthest: 0,
            next: first,
            last: None,
            flight: BTreeMap::new(),
            done: Done { stream, ..Done::default() },
            is_heard: false,
            news: Instant::now(),
            heard: Instant::now(),
            repeated: None,
            told: None,
        }
    }

    pub(super) async fn run(mut self, watch: &mut impl Watch) -> Result<Done> {
        let mut backoff = Backoff::new();
        loop {
            match self.round(watch).await {
                Ok(true) => return Ok(self.done),
                Ok(false) => backoff = Backoff::new(),
                Err(error) if error.retry && self.news.elapsed() < PATIENCE => {
                    watch.trouble(&error.to_string());
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Announces what is due and takes what was answered; true when all is in.
    async fn round(&mut self, watch: &mut impl Watch) -> Result<bool> {
        while self.last.is_none() && self.next <= self.loaded + AHEAD {
            match self.feed.segment(self.next, &self.acks_url).await? {
                Some(ready) => {
                    self.announce(&ready).await?;
                    self.flight.insert(self.next, ready.origin);
                    self.next += 1;
                }
                None => self.last = Some(self.next - 1),
            }
        }
        if self.last.is_some_and(|last| self.loaded >= last) {
            return self.finish().await;
        }
        let acks = self.queues.receive_acks(LONG_POLL).await?;
        let mut missing = None;
        for ack in acks.iter().filter_map(|received| received.ack.as_ref()) {
            if let Some(gap) = self.take(ack, watch)? {
                missing = Some(gap);
            }
        }
        self.queues.delete_acks(&acks).await?;
        let is_echo = |(seq, when): (u64, Instant)| Some(seq) == missing && when.elapsed() < GAP_ECHO;
        if let Some(seq) = missing.filter(|_| !self.repeated.is_some_and(is_echo)) {
            self.repeated = Some((seq, Instant::now()));
            self.begin_at(seq);
        } else if self.heard.elapsed() > self.resend_after {
            self.heard = Instant::now();
            if let Some(ready) = self.feed.segment(self.loaded + 1, &self.acks_url).await? {
                watch.trouble("the loader does not answer: announcing again");
                self.announce(&ready).await?;
            }
        }
        if self.news.elapsed() > PATIENCE {
            let why = self.told.take().unwrap_or_else(|| "the loader does not answer".to_owned());
            let hint = "resolve it and ask for the same again: it goes on where it was";
            return Err(Error::fatal(
                Who::Loader,
                format!("nothing was loaded for {} minutes: {why}", PATIENCE.as_secs() / 60),
                hint,
            ));
        }
        Ok(false)
    }

    async fn announce(&self, ready: &Ready) -> Result<()> {
        self.queues.announce(&ready.message, &uuid::Uuid::new_v4().to_string()).await
    }

    /// The ledger lacks this segment: it may have been set back.
    fn begin_at(&mut self, missing: u64) {
        let seq = self.feed.instead_of(missing);
        self.loaded = seq.saturating_sub(1);
        self.next = seq;
        self.last = None;
        self.flight.clear();
    }

    /// Returns what the ledger lacks.
    fn take(&mut self, ack: &SegmentAck, watch: &mut impl Watch) -> Result<Option<u64>> {
        if ack.stream != self.done.stream {
            return Ok(None);
        }
        self.heard = Instant::now();
        if let Some(table) = ack.quarantine.as_ref().and_then(|told| told.tables.first()) {
            let what = format!("{} can't be loaded: {}", table.table, table.reason);
            let hint = format!("{}; then replay under another --stream NAME", table.hint);
            return Err(Error::fatal(Who::Loader, what, hint));
        }
        match &ack.outcome {
            Outcome::Loaded | Outcome::AlreadyLoaded => {
                if ack.seq > self.furthest {
                    self.furthest = ack.seq;
                    self.news = Instant::now();
                }
                if ack.outcome == Outcome::Loaded {
                    self.done.segments += 1;
                    self.done.rows += ack.rows;
                }
                // Another ledger's news of a segment that is not under way would be no news.
                if ack.seq > self.loaded && ack.seq < self.next {
                    self.loaded = ack.seq;
                    let later = self.flight.split_off(&(ack.seq + 1));
                    let origin = std::mem::replace(&mut self.flight, later).remove(&ack.seq);
                    self.is_heard = true;
                    if let Some(origin) = origin.filter(|origin| *origin > 0) {
                        watch.loaded(origin, self.done.rows);
                    }
                }
            }
            Outcome::Gap { missing } => return Ok(Some(*missing)),
            Outcome::Resumed { .. } => {}
            Outcome::Failed { error, hint } => {
                let what = format!("segment {}: {error}\n  hint: {hint}", ack.seq);
                if self.told.as_ref() != Some(&what) {
                    watch.trouble(&what);
                }
                self.told = Some(what);
            }
        }
        Ok(None)
    }

    /// Receipts may say more than the ledger does: if nothing was heard, the last word is the loader's.
    async fn finish(&mut self) -> Result<bool> {
        let last = self.last.unwrap_or(self.loaded);
        if last == 0 || self.is_heard {
            return Ok(true);
        }
        let (queues, acks_url) = (self.queues.clone(), self.acks_url.clone());
        if let Some(missing) = ask(queues, &mut self.feed, last, acks_url).await? {
            self.begin_at(missing);
            return Ok(false);
        }
        Ok(true)
    }
}

/// Announces one segment and waits for what the loader says to it: the first that the ledger lacks, none if it is in.
pub(super) async fn ask(
    queues: Queues,
    feed: &mut impl Feed,
    seq: u64,
    acks_url: String,
) -> Result<Option<u64>> {
    let Some(ready) = feed.segment(seq, &acks_url).await? else { return Ok(None) };
    queues.announce(&ready.message, &uuid::Uuid::new_v4().to_string()).await?;
    let asked = Instant::now();
    let mut failed = None;
    while asked.elapsed() < ASK_PATIENCE {
        let acks = queues.receive_acks(LONG_POLL).await?;
        queues.delete_acks(&acks).await?;
        for ack in acks.iter().filter_map(|received| received.ack.as_ref()).filter(|ack| ack.seq == seq) {
            match &ack.outcome {
                Outcome::Loaded | Outcome::AlreadyLoaded => return Ok(None),
                Outcome::Gap { missing } => return Ok(Some(*missing)),
                Outcome::Resumed { .. } => {}
                Outcome::Failed { error, hint } => failed = Some((error.clone(), hint.clone())),
            }
        }
    }
    let (what, hint) = failed.unwrap_or_else(|| {
        (
            "the loader does not answer".to_owned(),
            "look at the function's log and the segment queue".to_owned(),
        )
    });
    Err(Error::fatal(Who::Loader, what, hint))
}
