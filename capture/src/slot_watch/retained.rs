//! How much WAL the slot retains, and what follows from it: a warning, and another policy if the configuration says so.

use re_dms_shared::Lsn;
use re_dms_shared::lsn::Loaded;

use crate::config::{AdvanceOn, SlotConfig};

/// Of what the server retains at most for a slot, this part may be used before it is warned of.
const OF_THE_SERVERS_LIMIT: (u64, u64) = (3, 4);
/// The policy of the configuration comes back when it would retain no more than this part of the limit.
const BACK_AT: u64 = 2;

/// What the server says about the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retained {
    pub(super) wal_end: Lsn,
    confirmed: Lsn,
    /// `pg_replication_slots.wal_status`
    status: Option<String>,
    /// `max_slot_wal_keep_size` in bytes; none if it is not limited.
    server_keeps: Option<u64>,
}

/// Asks for the columns that [`Retained::parse`] reads. A slot's name needs no quoting.
pub(super) fn query(slot: &str) -> String {
    format!(
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
         confirmed_flush_lsn, wal_status, \
         (SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size') \
         FROM pg_replication_slots WHERE slot_name = '{slot}'"
    )
}

impl Retained {
    pub(super) fn parse(row: &[Option<String>]) -> Option<Self> {
        let text = |column: usize| row.get(column)?.as_deref();
        let megabytes: Option<u64> = text(3).and_then(|text| text.parse().ok());
        Some(Self {
            wal_end: text(0)?.parse().ok()?,
            confirmed: text(1)?.parse().ok()?,
            status: text(2).map(str::to_owned),
            // -1 is no limit
            server_keeps: megabytes.map(|megabytes| megabytes << 20),
        })
    }

    /// From the slot's position to the server's WAL end.
    pub(super) fn bytes(&self) -> u64 {
        self.wal_end.bytes_since(self.confirmed)
    }
}

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    warn: u64,
    fallback: bool,
    policy: AdvanceOn,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) warning: Option<String>,
    pub(super) policy: AdvanceOn,
}

impl Limits {
    pub(super) fn new(config: &SlotConfig) -> Self {
        Self {
            warn: config.retained_wal_warn.bytes() as u64,
            fallback: config.retained_wal_fallback && config.advance_on == AdvanceOn::Loaded,
            policy: config.advance_on,
        }
    }

    /// `now` is the policy up to here.
    pub(super) fn judge(&self, retained: &Retained, loaded: Loaded, now: AdvanceOn) -> Judged {
        let (part, whole) = OF_THE_SERVERS_LIMIT;
        let servers = retained.server_keeps.map(|bytes| bytes / whole * part);
        let limit = servers.map_or(self.warn, |bytes| bytes.min(self.warn));
        let too_much = retained.bytes() > limit;
        let fell_back = now != self.policy;
        let would_retain = retained.wal_end.bytes_since(loaded.0);
        let falls_back = self.fallback && (too_much || (fell_back && would_retain > limit / BACK_AT));
        let policy = if falls_back { AdvanceOn::Staged } else { self.policy };
        Judged { warning: self.warning(retained, limit, falls_back), policy }
    }

    fn warning(&self, retained: &Retained, limit: u64, falls_back: bool) -> Option<String> {
        let bytes = retained.bytes();
        if retained.status.as_deref() == Some("unreserved") {
            return Some(format!(
                "the server may remove WAL that the slot needs at its next checkpoint: {bytes} bytes are retained\n  \
                 hint: raise max_slot_wal_keep_size now, then see why the stream is behind"
            ));
        }
        if falls_back {
            return Some(format!(
                "the slot would retain more WAL than the limit of {limit} bytes, and follows what is staged until it \
                 would not\n  hint: see why the loader is behind"
            ));
        }
        let hint = match self.policy {
            AdvanceOn::Loaded => {
                "see why the loader is behind; slot.retained_wal_fallback = true lets the slot follow S3 meanwhile"
            }
            AdvanceOn::Staged => "see why segments do not get to S3",
            AdvanceOn::Durable => "see why changes do not get to the local WAL",
        };
        (bytes > limit).then(|| {
            format!("the slot retains {bytes} bytes of WAL, more than the limit of {limit}\n  hint: {hint}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AdvanceOn::{Loaded as OnLoaded, Staged as OnStaged};

    fn retained(wal_end: u64, confirmed: u64) -> Retained {
        Retained { wal_end: Lsn(wal_end), confirmed: Lsn(confirmed), status: None, server_keeps: None }
    }

    fn limits(fallback: bool) -> Limits {
        Limits { warn: 1000, fallback, policy: OnLoaded }
    }

    fn judge(limits: Limits, retained: &Retained, loaded: u64, now: AdvanceOn) -> (bool, AdvanceOn) {
        let judged = limits.judge(retained, Loaded(Lsn(loaded)), now);
        assert!(judged.warning.iter().all(|warning| warning.contains("\n  hint: ")), "{judged:?}");
        (judged.warning.is_some(), judged.policy)
    }

    #[test]
    fn too_much_is_warned_of_and_no_more() {
        assert_eq!(judge(limits(false), &retained(2000, 1000), 1000, OnLoaded), (false, OnLoaded));
        assert_eq!(judge(limits(false), &retained(2001, 1000), 1000, OnLoaded), (true, OnLoaded));
    }

    #[test]
    fn the_slot_falls_back_and_returns_late() {
        let limits = limits(true);
        assert_eq!(judge(limits, &retained(2000, 1000), 1000, OnLoaded), (false, OnLoaded));
        assert_eq!(judge(limits, &retained(2001, 1000), 1000, OnLoaded), (true, OnStaged));
        // The slot has followed S3; under `loaded` it would still retain more than half of the limit.
        assert_eq!(judge(limits, &retained(2100, 2090), 1500, OnStaged), (true, OnStaged));
        assert_eq!(judge(limits, &retained(2100, 2090), 1600, OnStaged), (false, OnLoaded));
        // S3 does not follow either: there is nothing to come back to.
        assert_eq!(judge(limits, &retained(2100, 1000), 2000, OnStaged), (true, OnStaged));
    }

    #[test]
    fn what_the_server_keeps_at_most_counts_too() {
        let unlimited = Retained { server_keeps: None, ..retained(901, 0) };
        assert_eq!(judge(limits(true), &unlimited, 0, OnLoaded), (false, OnLoaded));
        let limited = Retained { server_keeps: Some(1200), ..unlimited.clone() };
        assert_eq!(judge(limits(true), &limited, 0, OnLoaded), (true, OnStaged));
        let unreserved = Retained { status: Some("unreserved".to_owned()), ..retained(10, 0) };
        assert_eq!(judge(limits(false), &unreserved, 0, OnLoaded), (true, OnLoaded));
    }

    #[test]
    fn only_loaded_falls_back() {
        for policy in [OnStaged, AdvanceOn::Durable] {
            let limits = Limits { policy, ..limits(false) };
            assert_eq!(judge(limits, &retained(5000, 0), 0, policy), (true, policy));
        }
    }

    #[test]
    fn the_servers_answer_is_read() {
        let row = ["0/2000", "0/1000", "extended", "2"].map(|text| Some(text.to_owned()));
        let read = Retained::parse(&row).unwrap();
        assert_eq!((read.bytes(), read.server_keeps), (0x1000, Some(2 << 20)));
        let mut unlimited = row.clone();
        unlimited[3] = Some("-1".to_owned());
        assert_eq!(Retained::parse(&unlimited).unwrap().server_keeps, None);
        let mut physical = row;
        physical[1] = None;
        assert_eq!(Retained::parse(&physical), None);
    }
}
