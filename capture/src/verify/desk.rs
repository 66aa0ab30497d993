//! Between who verifies and the collector, who has the stream.

use std::sync::mpsc;
use std::time::Duration;

use re_dms_shared::Lsn;
use re_dms_shared::manifest::Table;
use re_dms_shared::verify::VerifyRequest;
use tokio::sync::{mpsc as channel, oneshot};

use super::messages::Run;

/// A table as Redshift has it where the collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNow {
    /// It.
    pub table: Table,
    /// Why its rows need not be the source's; none if they have to be.
    pub excuse: Option<String>,
}

/// What the collector is told.
#[derive(Debug)]
pub enum Order {
    /// Say which tables there are.
    Tables(oneshot::Sender<Vec<KnownNow>>),
    /// Take nothing more of the stream before another order comes, but no longer than this: what comes waits in the local WAL.
    Hold {
        /// How long.
        most: Duration,
        /// It holds.
        held: oneshot::Sender<()>,
    },
    /// Go on, up to here.
    Barrier(Barrier),
    /// Go on.
    Release,
}

/// A place in the stream where a segment is to end.
#[derive(Debug)]
pub struct Barrier {
    /// Transactions whose commit record begins before this come before it, all others behind.
    pub snapshot: Lsn,
    /// What the loader is asked between that segment and the next one, whose number is filled in.
    pub request: Box<VerifyRequest>,
    /// What became of it.
    pub placed: oneshot::Sender<Placed>,
}

/// What became of a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The segment ended there; these are the tables.
    At(Vec<KnownNow>),
    /// The stream was beyond it.
    Passed,
}

/// The collector's side.
#[derive(Debug)]
pub struct AtCollector {
    /// What comes in.
    pub orders: mpsc::Receiver<Order>,
    /// What is asked for through the stream.
    pub runs: channel::UnboundedSender<Run>,
}

/// The other side.
#[derive(Debug)]
pub struct AtVerifier {
    /// What goes to the collector.
    pub orders: mpsc::Sender<Order>,
    /// What somebody asked for.
    pub runs: channel::UnboundedReceiver<Run>,
}

/// Both sides.
#[must_use]
pub fn desk() -> (AtCollector, AtVerifier) {
    let (sender, receiver) = mpsc::channel();
    let (asked, asks) = channel::unbounded_channel();
    (AtCollector { orders: receiver, runs: asked }, AtVerifier { orders: sender, runs: asks })
}
