//! How far the stream is: the five positions and a few counters, published to whoever wants to know.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Confirmed, Durable, Loaded, Received, Staged};
use re_dms_shared::metrics::{Registry, catalogue};
use re_dms_shared::status::{CopyStatus, ResumeError, ResyncStatus, VerifiedStatus};
use re_dms_shared::table_log::Quarantine;
use re_dms_telemetry::traces::Tracer;
use tokio::sync::watch;

use crate::config::AdvanceOn;
use crate::error::Who;
use crate::pulse::{Part, Pulse};

/// A moment's state.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// How far the slot follows now: `slot.advance_on`, or less while too much WAL is retained.
    pub policy: AdvanceOn,
    /// See [`Received`].
    pub received: Received,
    /// See [`Durable`].
    pub durable: Durable,
    /// The end of the last transaction that the local WAL holds. [`Snapshot::durable`] may be later, on an idle stream,
    /// but no restart could tell from the local WAL that it was.
    pub held: Lsn,
    /// See [`Staged`].
    pub staged: Staged,
    /// See [`Loaded`].
    pub loaded: Loaded,
    /// See [`Confirmed`].
    pub confirmed: Confirmed,
    /// How far the slot may go without losing our place if this machine is lost: the end of the last manifest on S3,
    /// or `position.json`.
    pub anchored: Lsn,
    /// The server's own WAL end, as last heard.
    pub server_wal_end: Lsn,
    /// Connected and streaming?
    pub streaming: bool,
    /// The commit time of the oldest transaction that is on S3 and not loaded.
    pub oldest_staged: Option<Timestamp>,
    /// The commit time of the oldest transaction that is in the batch and not on S3.
    pub oldest_batched: Option<Timestamp>,
    /// Segments on S3, over the epoch's life.
    pub segments_staged: u64,
    /// Segments in the ledger, over the epoch's life.
    pub segments_loaded: u64,
    /// When the loader was last heard of, or segments began to wait for it, if that was later; none if none waits.
    pub waiting_since: Option<Instant>,
    /// Transactions since the start of the process.
    pub transactions: u64,
    /// Row changes received since the start of the process.
    pub changes: u64,
    /// Rows written to files since the start of the process.
    pub rows_written: u64,
    /// Compressed bytes written to S3 since the start of the process.
    pub bytes_written: u64,
    /// Changes are not taken before there is room on the disk again.
    pub disk_full: bool,
    /// WAL that the slot retained on the source when it was last asked.
    pub retained_bytes: Option<u64>,
    /// Tables whose changes collect on S3, as the loader last told.
    pub quarantine: Quarantine,
    /// Whether it has told since the start.
    pub quarantine_told: bool,
    /// Why the last quarantine that was to be ended was not.
    pub resume_error: Option<ResumeError>,
    /// The part of the capture that hangs, with a hint, while it does.
    pub stalled: Option<String>,
    /// What has been waited for for long, with a hint, while it is.
    pub waits: Option<String>,
    /// What works and will not for long, with its hint, while it lasts.
    pub warning: Option<String>,
    /// The initial copy, while it goes on.
    pub copy: Option<CopyStatus>,
    /// Tables that are to be read anew, or are just being read.
    pub resyncs: Vec<ResyncStatus>,
    /// How far that is.
    pub resync: Option<CopyStatus>,
    /// Why tables that are to be read anew can't be, while that lasts.
    pub resync_error: Option<String>,
    /// What the last verification found.
    pub verified: Option<VerifiedStatus>,
    /// Tables whose rows in Redshift may differ from the source's, with the reasons.
    pub needs_resync: Vec<(String, String)>,
    /// Failures with their hints, while they last: one for each who fails, the newest last.
    pub failures: Vec<(Who, String)>,
}

impl Snapshot {
    /// What PostgreSQL may be told (invariant 1): the policy's position, but never beyond what S3 knows to be our
    /// place, so that a lost disk is found out rather than skipped over. Under `durable` the disk is the anchor, too:
    /// for transactions; WAL that holds nothing of ours leaves no trace there.
    #[must_use]
    pub fn confirmable(&self) -> Confirmed {
        Confirmed(match self.policy {
            AdvanceOn::Loaded => self.loaded.0.min(self.anchored),
            AdvanceOn::Staged => self.staged.0.min(self.anchored),
            AdvanceOn::Durable => self.durable.0.min(self.anchored.max(self.held)),
        })
    }

    /// What PostgreSQL is told: what it may be told, and what it was told before. A policy that follows less than the one
    /// before it leaves the slot where it is: not every server refuses to move it back.
    #[must_use]
    pub fn to_confirm(&self) -> Confirmed {
        self.confirmable().max(self.confirmed)
    }

    /// Up to where the local WAL may go: what PostgreSQL may be told and S3 has, also as our place. Under `durable`
    /// PostgreSQL forgets before S3 has it, and then nobody else does.
    #[must_use]
    pub fn forgettable(&self) -> Lsn {
        self.confirmable().0.min(self.staged.0).min(self.anchored)
    }

    /// Segments on S3 that are not in the ledger.
    #[must_use]
    pub fn segments_in_flight(&self) -> u64 {
        self.segments_staged.saturating_sub(self.segments_loaded)
    }

    /// There is news of the loader, or segments begin to wait for it, or none waits any more.
    pub fn heard(&mut self) {
        self.waiting_since = (self.segments_in_flight() > 0).then(Instant::now);
    }

    /// No policy lets the slot go further: the most that Confirmed may be, whichever of them was followed a moment ago.
    fn most_confirmable(&self) -> Lsn {
        match self.policy {
            AdvanceOn::Durable => self.confirmable().0,
            AdvanceOn::Loaded | AdvanceOn::Staged => self.staged.0.min(self.anchored),
        }
    }

    /// The failure that began last, of those that last.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.failures.last().map(|(_, text)| text.as_str())
    }

    /// Seconds since the oldest transaction that is not loaded was committed; 0 if all are.
    #[must_use]
    pub fn lag_seconds(&self) -> f64 {
        let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
        self.oldest_staged
            .or(self.oldest_batched)
            .map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0))
    }
}

/// Where the parts of the capture publish what they did. Positions only grow.
#[derive(Debug)]
pub struct Progress {
    state: watch::Sender<Snapshot>,
    counted: Arc<Registry>,
    pulses: [Pulse; Part::ALL.len()],
    tracer: Tracer,
}

impl Progress {
    /// Begins at a snapshot.
    #[must_use]
    pub fn new(mut start: Snapshot) -> Self {
        start.heard();
        Self {
            state: watch::Sender::new(start),
            counted: Arc::default(),
            pulses: Default::default(),
            tracer: Tracer::default(),
        }
    }

    /// Counts there what is not in the snapshot.
    #[must_use]
    pub fn counting(self, counted: Arc<Registry>) -> Self {
        Self { counted, ..self }
    }

    /// Hands in spans there.
    #[must_use]
    pub fn tracing(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Where the parts tell how long what they do takes.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Where the parts count what they do.
    #[must_use]
    pub fn counted(&self) -> &Registry {
        &self.counted
    }

    /// A part's signs of life.
    #[must_use]
    pub fn pulse(&self, part: Part) -> &Pulse {
        &self.pulses[part as usize]
    }

    /// Follows all changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.state.subscribe()
    }

    /// The state now.
    #[must_use]
    pub fn now(&self) -> Snapshot {
        self.state.borrow().clone()
    }

    /// Segments on S3 that are not in the ledger.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.state.borrow().segments_in_flight()
    }

    /// How far the slot follows now.
    #[must_use]
    pub fn policy(&self) -> AdvanceOn {
        self.state.borrow().policy
    }

    /// What PostgreSQL is told: see [`Snapshot::to_confirm`].
    #[must_use]
    pub fn to_confirm(&self) -> Confirmed {
        self.state.borrow().to_confirm()
    }

    /// Up to where the local WAL may go: see [`Snapshot::forgettable`].
    #[must_use]
    pub fn forgettable(&self) -> Lsn {
        self.state.borrow().forgettable()
    }

    /// Changes counters and flags.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        self.state.send_modify(change);
    }

    /// Received up to here; `server_wal_end` as the server said it.
    pub fn received(&self, position: Received, server_wal_end: Lsn) {
        self.state.send_modify(|state| {
            state.received = state.received.max(position);
            state.server_wal_end = state.server_wal_end.max(server_wal_end);
        });
    }

    /// Durable up to here; `held` is the end of the last transaction in it.
    pub fn durable(&self, position: Durable, held: Lsn) {
        self.state.send_modify(|state| {
            state.durable = state.durable.max(position);
            state.held = state.held.max(held);
        });
    }

    /// Staged up to here.
    pub fn staged(&self, position: Staged) {
        self.state.send_modify(|state| state.staged = state.staged.max(position));
    }

    /// Loaded up to here.
    pub fn loaded(&self, position: Loaded) {
        self.state.send_modify(|state| state.loaded = state.loaded.max(position));
    }

    /// S3 knows our place up to here.
    pub fn anchored(&self, position: Lsn) {
        self.state.send_modify(|state| state.anchored = state.anchored.max(position));
    }

    /// PostgreSQL was told this.
    pub fn confirmed(&self, position: Confirmed) {
        self.state.send_modify(|state| {
            if position > state.confirmed && position.0 > state.most_confirmable() {
                self.counted.add(&catalogue::INVARIANT_VIOLATIONS, &["1"], 1);
                tracing::error!(lsn = %position.0, invariant = 1, "PostgreSQL was told more than it may be");
            }
            state.confirmed = state.confirmed.max(position);
        });
    }

    /// Somebody fails, and it is tried again.
    pub fn failing(&self, who: Who, text: String) {
        self.counted.add(&catalogue::ERRORS, &[who.as_str(), "retried"], 1);
        self.state.send_if_modified(|state| match state.failures.iter_mut().find(|known| known.0 == who) {
            Some(known) => std::mem::replace(&mut known.1, text) != known.1,
            None => {
                state.failures.push((who, text));
                true
            }
        });
    }

    /// It does not fail any more.
    pub fn succeeded(&self, who: Who) {
        self.state.send_if_modified(|state| {
            let before = state.failures.len();
            state.failures.retain(|known| known.0 != who);
            state.failures.len() < before
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmable(state: &Snapshot, policy: AdvanceOn) -> Confirmed {
        Snapshot { policy, ..state.clone() }.confirmable()
    }

    #[test]
    fn confirmed_follows_the_policy_and_never_passes_the_anchor() {
        let state = Snapshot {
            durable: Durable(Lsn(50)),
            held: Lsn(50),
            staged: Staged(Lsn(40)),
            loaded: Loaded(Lsn(30)),
            anchored: Lsn(35),
            ..Snapshot::default()
        };
        assert_eq!(confirmable(&state, AdvanceOn::Loaded), Confirmed(Lsn(30)));
        assert_eq!(confirmable(&state, AdvanceOn::Staged), Confirmed(Lsn(35)), "held back by the anchor");
        assert_eq!(confirmable(&state, AdvanceOn::Durable), Confirmed(Lsn(50)));
    }

    #[test]
    fn a_policy_that_follows_less_leaves_the_slot_where_it_is() {
        let state = Snapshot {
            policy: AdvanceOn::Staged,
            staged: Staged(Lsn(40)),
            loaded: Loaded(Lsn(30)),
            anchored: Lsn(40),
            ..Snapshot::default()
        };
        let confirmed = state.to_confirm();
        assert_eq!(confirmed, Confirmed(Lsn(40)));
        let state = Snapshot { policy: AdvanceOn::Loaded, staged: Staged(Lsn(60)), confirmed, ..state };
        assert_eq!(state.confirmable(), Confirmed(Lsn(30)));
        assert_eq!(state.to_confirm(), Confirmed(Lsn(40)), "neither back nor on");
    }

    #[test]
    fn idle_wal_needs_an_anchor_also_if_the_disk_is_one() {
        let durable = AdvanceOn::Durable;
        let state =
            Snapshot { durable: Durable(Lsn(90)), held: Lsn(50), anchored: Lsn(40), ..Snapshot::default() };
        assert_eq!(confirmable(&state, durable), Confirmed(Lsn(50)), "a restart would know no more");
        let state = Snapshot { anchored: Lsn(70), ..state };
        assert_eq!(confirmable(&state, durable), Confirmed(Lsn(70)));
        let state = Snapshot { durable: Durable(Lsn(60)), ..state };
        assert_eq!(confirmable(&state, durable), Confirmed(Lsn(60)), "never beyond the policy's position");
    }

    #[test]
    fn the_local_wal_keeps_what_s3_lacks_also_if_postgresql_forgot_it() {
        let state = Snapshot {
            policy: AdvanceOn::Durable,
            durable: Durable(Lsn(50)),
            held: Lsn(50),
            staged: Staged(Lsn(40)),
            anchored: Lsn(40),
            ..Snapshot::default()
        };
        assert_eq!(state.confirmable(), Confirmed(Lsn(50)));
        assert_eq!(state.forgettable(), Lsn(40));
        let idle = Snapshot { staged: Staged(Lsn(50)), ..state };
        assert_eq!(idle.forgettable(), Lsn(40), "without it a restart would not know that it had come to 50");
    }

    #[test]
    fn positions_only_grow() {
        let progress = Progress::new(Snapshot::default());
        progress.loaded(Loaded(Lsn(9)));
        progress.loaded(Loaded(Lsn(5)));
        assert_eq!(progress.now().loaded, Loaded(Lsn(9)));
    }

    #[test]
    fn one_success_does_not_hide_another_failure() {
        let progress = Progress::new(Snapshot::default());
        progress.failing(Who::Machine, "full".to_owned());
        progress.failing(Who::Storage, "away".to_owned());
        assert_eq!(progress.now().last_error(), Some("away"));
        progress.succeeded(Who::Storage);
        progress.succeeded(Who::Source);
        assert_eq!(progress.now().last_error(), Some("full"));
        progress.succeeded(Who::Machine);
        assert_eq!(progress.now().last_error(), None);
    }
}
