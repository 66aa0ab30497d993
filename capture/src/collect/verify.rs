//! The collector's part in verifying: a segment ends exactly where a snapshot of the source lies.
//!
//! A snapshot's position is known only once it is taken, and a collector that went on would be beyond it. So it holds: nothing
//! more is taken from the moment before the snapshot is asked for until its position is known, or until that has taken too
//! long. What comes meanwhile waits in the local WAL and with the server.

use std::time::{Duration, Instant};

use re_dms_shared::Lsn;

use super::Collector;
use crate::error::Result;
use crate::stage::StageItem;
use crate::verify::{AtCollector, Barrier, Message, Order, Placed};

/// What the collector knows of somebody who verifies.
#[derive(Default)]
pub(super) struct Verifying {
    desk: Option<AtCollector>,
    stream: String,
    barrier: Option<Barrier>,
}

impl Collector {
    /// With somebody who verifies this stream.
    #[must_use]
    pub fn with_verifier(mut self, desk: AtCollector, stream: &str) -> Self {
        self.verifying = Verifying { desk: Some(desk), stream: stream.to_owned(), barrier: None };
        self
    }

    /// Does what who verifies wants; waits for as long as that is to hold.
    pub(super) fn take_orders(&mut self) {
        let Some(desk) = self.verifying.desk.take() else { return };
        let mut held_until: Option<Instant> = None;
        loop {
            let order = match held_until {
                None => desk.orders.try_recv().ok(),
                Some(until) => desk.orders.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
            };
            match order {
                None => break,
                Some(Order::Tables(tell)) => {
                    let _ = tell.send(self.relations.verifiable());
                }
                Some(Order::Hold { most, held }) => {
                    // Nobody waits for it any more: nobody would let it go on either.
                    held_until = held.send(()).is_ok().then(|| Instant::now() + most.min(LONGEST));
                }
                Some(Order::Barrier(barrier)) => {
                    held_until = None;
                    if self.commit_lsn >= barrier.snapshot {
                        let _ = barrier.placed.send(Placed::Passed);
                    } else {
                        self.verifying.barrier = Some(barrier);
                    }
                }
                Some(Order::Release) => held_until = None,
            }
        }
        self.verifying.desk = Some(desk);
    }

    /// A transaction begins: if the barrier lies before it, the segment ends here.
    pub(super) fn place_barrier(&mut self, commit_lsn: Lsn) -> Result<()> {
        let is_behind = |barrier: &mut Barrier| barrier.snapshot <= commit_lsn;
        let Some(Barrier { request, placed, .. }) = self.verifying.barrier.take_if(is_behind) else {
            return Ok(());
        };
        // The local WAL keeps the transaction at hand, whose frames are taken already.
        self.cut_keeping(None)?;
        self.hand_on(StageItem::Ask(request))?;
        let _ = placed.send(Placed::At(self.relations.verifiable()));
        Ok(())
    }

    /// Takes a message that asks for it.
    pub(super) fn asked_to_verify(&mut self, content: &[u8]) {
        let Some(desk) = &self.verifying.desk else { return };
        if let Some(run) = Message::run_of(&self.verifying.stream, content) {
            let _ = desk.runs.send(run);
        }
    }
}

/// Whatever is asked for: a stream that stands still longer looks dead.
const LONGEST: Duration = Duration::from_secs(60);
