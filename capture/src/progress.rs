//! How far the stream is: the five positions and a few counters, published to whoever wants to know.

use std::time::SystemTime;

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Confirmed, Durable, Loaded, Received, Staged};
use tokio::sync::watch;

use crate::config::AdvanceOn;

/// A moment's state.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
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
    /// Transactions since the start of the process.
    pub transactions: u64,
    /// Row changes received since the start of the process.
    pub changes: u64,
    /// Rows written to files since the start of the process.
    pub rows_written: u64,
    /// Compressed bytes written to S3 since the start of the process.
    pub bytes_written: u64,
    /// The last failure, with its hint, while it lasts.
    pub last_error: Option<String>,
}

impl Snapshot {
    /// What PostgreSQL may be told (invariant 1): the policy's position, but never beyond what S3 knows to be our
    /// place, so that a lost disk is found out rather than skipped over. Under `durable` the disk is the anchor, too:
    /// for transactions; WAL that holds nothing of ours leaves no trace there.
    #[must_use]
    pub fn confirmable(&self, policy: AdvanceOn) -> Confirmed {
        Confirmed(match policy {
            AdvanceOn::Loaded => self.loaded.0.min(self.anchored),
            AdvanceOn::Staged => self.staged.0.min(self.anchored),
            AdvanceOn::Durable => self.durable.0.min(self.anchored.max(self.held)),
        })
    }

    /// Up to where the local WAL may go: what PostgreSQL may be told and S3 has. Under `durable` PostgreSQL forgets before
    /// S3 has it, and then nobody else does.
    #[must_use]
    pub fn forgettable(&self, policy: AdvanceOn) -> Lsn {
        self.confirmable(policy).0.min(self.staged.0)
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
}

impl Progress {
    /// Begins at a snapshot.
    #[must_use]
    pub fn new(start: Snapshot) -> Self {
        Self { state: watch::Sender::new(start) }
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
        let state = self.state.borrow();
        state.segments_staged.saturating_sub(state.segments_loaded)
    }

    /// What PostgreSQL may be told: see [`Snapshot::confirmable`].
    #[must_use]
    pub fn confirmable(&self, policy: AdvanceOn) -> Confirmed {
        self.state.borrow().confirmable(policy)
    }

    /// Up to where the local WAL may go: see [`Snapshot::forgettable`].
    #[must_use]
    pub fn forgettable(&self, policy: AdvanceOn) -> Lsn {
        self.state.borrow().forgettable(policy)
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
        self.state.send_modify(|state| state.confirmed = state.confirmed.max(position));
    }

    /// A failure that is being retried, or none any more.
    pub fn error(&self, error: Option<String>) {
        self.state.send_if_modified(|state| {
            let changed = state.last_error != error;
            state.last_error = error;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(state.confirmable(AdvanceOn::Loaded), Confirmed(Lsn(30)));
        assert_eq!(state.confirmable(AdvanceOn::Staged), Confirmed(Lsn(35)), "held back by the anchor");
        assert_eq!(state.confirmable(AdvanceOn::Durable), Confirmed(Lsn(50)));
    }

    #[test]
    fn idle_wal_needs_an_anchor_also_if_the_disk_is_one() {
        let state =
            Snapshot { durable: Durable(Lsn(90)), held: Lsn(50), anchored: Lsn(40), ..Snapshot::default() };
        assert_eq!(state.confirmable(AdvanceOn::Durable), Confirmed(Lsn(50)), "a restart would know no more");
        let state = Snapshot { anchored: Lsn(70), ..state };
        assert_eq!(state.confirmable(AdvanceOn::Durable), Confirmed(Lsn(70)));
        let state = Snapshot { durable: Durable(Lsn(60)), ..state };
        assert_eq!(
            state.confirmable(AdvanceOn::Durable),
            Confirmed(Lsn(60)),
            "never beyond the policy's position"
        );
    }

    #[test]
    fn the_local_wal_keeps_what_s3_lacks_also_if_postgresql_forgot_it() {
        let state = Snapshot {
            durable: Durable(Lsn(50)),
            held: Lsn(50),
            staged: Staged(Lsn(40)),
            anchored: Lsn(40),
            ..Snapshot::default()
        };
        assert_eq!(state.confirmable(AdvanceOn::Durable), Confirmed(Lsn(50)));
        assert_eq!(state.forgettable(AdvanceOn::Durable), Lsn(40));
    }

    #[test]
    fn positions_only_grow() {
        let progress = Progress::new(Snapshot::default());
        progress.loaded(Loaded(Lsn(9)));
        progress.loaded(Loaded(Lsn(5)));
        assert_eq!(progress.now().loaded, Loaded(Lsn(9)));
    }
}
