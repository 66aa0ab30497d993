//! Tells a stall from idleness: a part of the pipeline that does not get on though nobody holds it up hangs. Then `/healthz`
//! and `/readyz` say so, the supervisor hears nothing more ([`crate::service`]), the log and the status have it.
//!
//! A part that waits for PostgreSQL, S3 or the disk is not stalled, however long it takes: a new start would wait, too. It is
//! told what is waited for. Time is counted in looks, not by the clock: a machine that slept, or a process that was stopped as a
//! whole, has stalled nobody.

use std::sync::Arc;
use std::time::Duration;

use re_dms_shared::Lsn;
use tokio::sync::watch;

use crate::progress::{Progress, Snapshot};
use crate::pulse::{Part, Seen, Wait};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Watches until the stream is to end: its parts fall silent one after the other then.
pub(crate) async fn watch(progress: Arc<Progress>, patience: Duration, mut stop: watch::Receiver<bool>) {
    let mut watchdog = Watchdog::new(patience);
    while tokio::time::timeout(LOOK, stop.wait_for(|&stop| stop)).await.is_err() {
        let seen = Part::ALL.map(|part| progress.pulse(part).look());
        let before = progress.now();
        let verdict = watchdog.look(seen, &before);
        if verdict.stalled.is_some() != before.stalled.is_some() {
            match &verdict.stalled {
                Some(stalled) => tracing::error!(error = stalled, "a part of the capture hangs"),
                None => tracing::info!("what hung goes on again"),
            }
        }
        if verdict.waits.is_some() != before.waits.is_some() {
            match &verdict.waits {
                Some(waits) => tracing::warn!(error = waits, "held up"),
                None => tracing::info!("not held up any more"),
            }
        }
        if (&verdict.stalled, &verdict.waits) != (&before.stalled, &before.waits) {
            progress.update(|state| {
                state.stalled = verdict.stalled;
                state.waits = verdict.waits;
            });
        }
    }
}

/// What a look comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// A part that hangs, with a hint.
    stalled: Option<String>,
    /// What is waited for, with a hint.
    waits: Option<String>,
}

/// What one part was like, and for how many looks.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    seen: Seen,
    /// Looks since it got on.
    silent: u32,
    /// Looks since it began to wait for the next part, if it does.
    hands: u32,
}

impl Known {
    fn look(&mut self, seen: Seen) {
        self.silent = if seen.beats == self.seen.beats { self.silent + 1 } else { 0 };
        let hands = seen.waits_for(Wait::Next) && seen.handed == self.seen.handed;
        self.hands = if hands { self.hands + 1 } else { 0 };
        self.seen = seen;
    }
}

#[derive(Debug)]
struct Watchdog {
    /// In looks.
    patience: u32,
    parts: [Known; Part::ALL.len()],
    received: Lsn,
    /// Looks since something came from the source, while its WAL was ahead.
    nothing_came: u32,
}

impl Watchdog {
    fn new(patience: Duration) -> Self {
        let patience = u32::try_from(patience.as_secs().div_ceil(LOOK.as_secs())).unwrap_or(u32::MAX);
        Self { patience, parts: Default::default(), received: Lsn::ZERO, nothing_came: 0 }
    }

    fn look(&mut self, seen: [Seen; Part::ALL.len()], state: &Snapshot) -> Verdict {
        for (known, seen) in self.parts.iter_mut().zip(seen) {
            known.look(seen);
        }
        let came = state.received.0 > self.received || state.server_wal_end <= state.received.0;
        self.nothing_came = if came || !state.streaming { 0 } else { self.nothing_came + 1 };
        self.received = state.received.0;
        let stalled = Part::ALL.into_iter().zip(0..).find(|(_, place)| self.hangs(*place));
        let stalled = stalled.map(|(part, place)| hanging(part, self.parts[place].silent));
        let waits = self.waits().or_else(|| self.nothing_comes(state));
        Verdict { stalled, waits }
    }

    fn hangs(&self, place: usize) -> bool {
        let Known { seen, silent, .. } = self.parts[place];
        if silent < self.patience {
            return false;
        }
        if !seen.waits() {
            return true;
        }
        // It says that nobody hands it anything, and somebody tries to.
        let before = place.checked_sub(1).map(|before| self.parts[before]);
        let is_handed = before.is_some_and(|before| before.hands >= self.patience);
        seen.waits_for(Wait::Input) && is_handed
    }

    fn waits(&self) -> Option<String> {
        Part::ALL.into_iter().zip(&self.parts).find_map(|(part, Known { seen, silent, .. })| {
            // Somebody else waits for what this one waits for in the end.
            if seen.waits_for(Wait::Next) {
                return None;
            }
            let (what, hint) = [Wait::Storage, Wait::Disk, Wait::Source]
                .into_iter()
                .find(|wait| seen.waits_for(*wait))
                .and_then(told)?;
            let part = part.as_str();
            (*silent >= self.patience).then(|| {
                format!("the {part} has waited for {what} for {silent} s: nothing is lost\n  hint: {hint}")
            })
        })
    }

    fn nothing_comes(&self, state: &Snapshot) -> Option<String> {
        // While it is held up itself it does not read.
        let receiver = self.parts[0];
        if self.nothing_came < self.patience || receiver.silent > 0 || receiver.seen.waits_for(Wait::Next) {
            return None;
        }
        let (received, ahead, looks) = (state.received, state.server_wal_end, self.nothing_came);
        Some(format!(
            "PostgreSQL's WAL is at {ahead}, and for {looks} s nothing came behind {received}\n  hint: is the WAL sender of the \
             slot at work, or stopped (pg_stat_replication, pg_stat_activity)? After a while the connection is made anew"
        ))
    }
}

fn hanging(part: Part, looks: u32) -> String {
    format!(
        "the {} has done nothing for {looks} s, and nobody holds it up\n  hint: start the capture again: nothing is lost by \
         it; report this with the log",
        part.as_str()
    )
}

/// What is waited for, and what to do.
fn told(wait: Wait) -> Option<(&'static str, &'static str)> {
    Some(match wait {
        Wait::Input | Wait::Next => return None,
        Wait::Source => ("PostgreSQL", "is it up, and is a lock in the way of who looks at its catalog?"),
        Wait::Disk => ("the disk of data_dir", "is it full, slow or gone?"),
        Wait::Storage => ("S3", "can it be reached from here?"),
    })
}

#[cfg(test)]
mod tests {
    use re_dms_shared::lsn::Received;

    use super::*;
    use crate::pulse::Pulse;

    /// Looks so often, while the first parts beat.
    fn looks(
        watchdog: &mut Watchdog,
        pulses: &[Pulse; 4],
        beating: &[usize],
        state: &Snapshot,
        count: u32,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        for _ in 0..count {
            for place in beating {
                pulses[*place].beat();
            }
            verdict = watchdog.look(std::array::from_fn(|place| pulses[place].look()), state);
        }
        verdict
    }

    #[test]
    fn idleness_and_whoever_is_held_up_are_no_stall() {
        let (pulses, mut watchdog) = (<[Pulse; 4]>::default(), Watchdog::new(Duration::from_secs(5)));
        let state = Snapshot::default();
        let _idle = pulses[1].waits_for(Wait::Input);
        assert_eq!(looks(&mut watchdog, &pulses, &[0, 2, 3], &state, 50), Verdict::default());
        let _next = pulses[2].waits_for(Wait::Next);
        let _storage = pulses[3].waits_for(Wait::Storage);
        let held_up = looks(&mut watchdog, &pulses, &[0], &state, 50);
        assert_eq!(held_up.stalled, None);
        let waits = held_up.waits.unwrap();
        assert!(waits.contains("the stager has waited for S3") && waits.contains("hint: "), "{waits}");
        drop(_storage);
        assert_eq!(looks(&mut watchdog, &pulses, &[0, 3], &state, 50), Verdict::default());
    }

    #[test]
    fn who_does_nothing_for_long_hangs_and_is_named_until_it_goes_on() {
        for (place, part) in Part::ALL.into_iter().enumerate() {
            let (pulses, mut watchdog) = (<[Pulse; 4]>::default(), Watchdog::new(Duration::from_secs(5)));
            let others: Vec<_> = (0..4).filter(|other| *other != place).collect();
            let state = Snapshot::default();
            assert_eq!(looks(&mut watchdog, &pulses, &others, &state, 4), Verdict::default());
            let verdict = looks(&mut watchdog, &pulses, &others, &state, 2);
            let stalled = verdict.stalled.unwrap();
            assert!(stalled.contains(&format!("the {} has", part.as_str())), "{stalled}");
            assert_eq!(looks(&mut watchdog, &pulses, &[0, 1, 2, 3], &state, 1), Verdict::default());
        }
    }

    #[test]
    fn who_says_that_it_has_nothing_to_do_and_does_not_take_what_it_is_handed_hangs() {
        let (pulses, mut watchdog) = (<[Pulse; 4]>::default(), Watchdog::new(Duration::from_secs(5)));
        let state = Snapshot::default();
        let _idle = pulses[1].waits_for(Wait::Input);
        {
            let _next = pulses[0].waits_for(Wait::Next);
            assert_eq!(looks(&mut watchdog, &pulses, &[0, 2, 3], &state, 5), Verdict::default());
        }
        // It took something.
        let _next = pulses[0].waits_for(Wait::Next);
        assert_eq!(looks(&mut watchdog, &pulses, &[0, 2, 3], &state, 5), Verdict::default());
        // What else it waits for now and then changes nothing.
        drop(pulses[0].waits_for(Wait::Source));
        let verdict = looks(&mut watchdog, &pulses, &[0, 2, 3], &state, 2);
        assert!(verdict.stalled.is_some_and(|text| text.contains("the local WAL has")));
    }

    #[test]
    fn a_source_that_moves_and_sends_nothing_is_told() {
        let (pulses, mut watchdog) = (<[Pulse; 4]>::default(), Watchdog::new(Duration::from_secs(5)));
        let all = [0, 1, 2, 3];
        let mut state = Snapshot { streaming: true, received: Received(Lsn(10)), ..Snapshot::default() };
        state.server_wal_end = Lsn(10);
        assert_eq!(looks(&mut watchdog, &pulses, &all, &state, 50), Verdict::default(), "idle");
        state.server_wal_end = Lsn(20);
        let verdict = looks(&mut watchdog, &pulses, &all, &state, 6);
        assert_eq!(verdict.stalled, None);
        assert!(verdict.waits.is_some_and(|text| text.contains("nothing came behind 0/A")));
        state.received = Received(Lsn(11));
        assert_eq!(looks(&mut watchdog, &pulses, &all, &state, 3), Verdict::default());
        let _next = pulses[0].waits_for(Wait::Next);
        assert_eq!(looks(&mut watchdog, &pulses, &all, &state, 50), Verdict::default(), "it does not read");
    }
}
