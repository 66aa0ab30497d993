//! The local WAL's thread: what comes in is appended, fsynced in groups, and only then handed to the collector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use re_dms_shared::Lsn;
use re_dms_shared::lsn::Durable;
use tokio::sync::{mpsc, oneshot};

use crate::collect::Input;
use crate::config::AdvanceOn;
use crate::error::{Error, Result, Who};
use crate::progress::Progress;
use crate::replication::Event;
use crate::retention::Retention;
use crate::wal::{LocalWal, RecordKind, WalError, WalPosition};

/// A file of the local WAL is closed at the first commit behind this size.
const FILE_BYTES: u64 = 64 << 20;

/// The most that is fsynced together, in groups of events.
const GROUPS_AT_ONCE: usize = 64;

/// What the receiver hands over.
#[derive(Debug)]
pub enum Arrival {
    /// A connection is about to stream: from where?
    Session {
        /// Gets the end of the last transaction that is held completely.
        start: oneshot::Sender<Lsn>,
    },
    /// What came over the connection.
    Events(Vec<Event>),
}

/// Keeps the local WAL.
pub struct Persister {
    wal: LocalWal,
    /// The end of the last transaction that is held completely.
    held: Lsn,
    policy: AdvanceOn,
    retention: Arc<Retention>,
    progress: Arc<Progress>,
    out: SyncSender<Vec<Input>>,
    place: PlaceInStream,
    /// The last Relation and Type messages by their OID: repeated at the start of each file, so that older files can
    /// go.
    descriptions: BTreeMap<(u8, u32), Bytes>,
}

/// Where in the stream's transactions the last frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceInStream {
    Between,
    Inside,
    /// Inside of one that is held already.
    InsideRepeated,
}

impl Persister {
    /// `held` is the end of the last transaction that is held completely, on S3 or in the local WAL.
    #[must_use]
    pub fn new(
        wal: LocalWal,
        held: Lsn,
        policy: AdvanceOn,
        retention: Arc<Retention>,
        progress: Arc<Progress>,
        out: SyncSender<Vec<Input>>,
    ) -> Self {
        let (place, descriptions) = (PlaceInStream::Between, BTreeMap::new());
        Self { wal, held, policy, retention, progress, out, place, descriptions }
    }

    /// Hands the collector what the local WAL held at the start, then what arrives.
    ///
    /// # Errors
    /// If the disk fails, or the collector ended.
    pub fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>) -> Result<()> {
        self.replay()?;
        while let Some(first) = arrivals.blocking_recv() {
            let mut inputs = self.append(first)?;
            for _ in 1..GROUPS_AT_ONCE {
                let Ok(next) = arrivals.try_recv() else { break };
                inputs.extend(self.append(next)?);
            }
            self.wal.sync().map_err(|error| disk(&error))?;
            self.publish(&inputs);
            self.hand_on(inputs)?;
            self.make_room()?;
        }
        Ok(())
    }

    fn replay(&mut self) -> Result<()> {
        let records = self.wal.records().map_err(|error| disk(&error))?;
        let mut group = Vec::new();
        for record in records {
            let record = record.map_err(|error| disk(&error))?;
            let input = match record.kind {
                RecordKind::SessionStart => Input::SessionStart,
                RecordKind::Frame => {
                    self.describe(&record.payload);
                    Input::Frame { payload: record.payload, at: record.position, end: record.end }
                }
            };
            group.push(input);
            if group.len() >= 4096 {
                self.hand_on(std::mem::take(&mut group))?;
            }
        }
        self.hand_on(group)
    }

    fn append(&mut self, arrival: Arrival) -> Result<Vec<Input>> {
        match arrival {
            Arrival::Session { start } => {
                self.place = PlaceInStream::Between;
                self.write(RecordKind::SessionStart, Lsn::ZERO, &Bytes::new())?;
                // Nobody waits any more if the connection is gone again.
                let _ = start.send(self.held);
                Ok(vec![Input::SessionStart])
            }
            Arrival::Events(events) => {
                let mut inputs = Vec::with_capacity(events.len());
                for event in events {
                    match event {
                        Event::Frame { start, payload } => inputs.extend(self.frame(start, payload)?),
                        Event::Keepalive { wal_end, .. } => inputs.push(Input::Keepalive { wal_end }),
                    }
                }
                Ok(inputs)
            }
        }
    }

    /// PostgreSQL may send again what it was not told to forget, or forgot that it was told: transactions that are held
    /// are dropped, by the end of their commit.
    fn frame(&mut self, lsn: Lsn, payload: Bytes) -> Result<Option<Input>> {
        match payload.first() {
            Some(b'B') => {
                let repeated = lsn_at(&payload, 1).is_some_and(|commit_lsn| commit_lsn < self.held);
                self.place = if repeated { PlaceInStream::InsideRepeated } else { PlaceInStream::Inside };
            }
            Some(b'R' | b'Y') => {
                self.describe(&payload);
                return self.write_frame(lsn, payload).map(Some);
            }
            _ => {}
        }
        let repeated = self.place == PlaceInStream::InsideRepeated;
        let committed = payload.first() == Some(&b'C');
        if committed {
            self.place = PlaceInStream::Between;
        }
        if repeated {
            return Ok(None);
        }
        if committed && let Some(end_lsn) = lsn_at(&payload, 10) {
            self.held = end_lsn;
        }
        self.write_frame(lsn, payload).map(Some)
    }

    fn write_frame(&mut self, lsn: Lsn, payload: Bytes) -> Result<Input> {
        let (at, end) = self.write(RecordKind::Frame, lsn, &payload)?;
        Ok(Input::Frame { payload, at, end })
    }

    fn write(&mut self, kind: RecordKind, lsn: Lsn, payload: &Bytes) -> Result<(WalPosition, WalPosition)> {
        let at = self.wal.append(kind, lsn, payload).map_err(|error| disk(&error))?;
        Ok((at, self.wal.end()))
    }

    /// Everything that was appended is fsynced.
    fn publish(&mut self, inputs: &[Input]) {
        let mut durable = self.held;
        if self.place == PlaceInStream::Between
            && let Some(Input::Keepalive { wal_end }) = inputs.last()
        {
            durable = durable.max(*wal_end);
        }
        self.progress.durable(Durable(durable));
    }

    /// Waits while the collector is busy: that is what bounds memory.
    fn hand_on(&self, inputs: Vec<Input>) -> Result<()> {
        self.out.send(inputs).map_err(|_| {
            Error::fatal(
                Who::Stream,
                "the collector ended before the stream",
                "see the error that was logged before",
            )
        })
    }

    /// Closes a file that is full, and removes those that nobody needs.
    fn make_room(&mut self) -> Result<()> {
        if self.place == PlaceInStream::Between && self.wal.file_bytes() >= FILE_BYTES {
            self.wal.rotate().map_err(|error| disk(&error))?;
            let descriptions: Vec<Bytes> = self.descriptions.values().cloned().collect();
            for payload in descriptions {
                self.write(RecordKind::Frame, Lsn::ZERO, &payload)?;
            }
        }
        if let Some(position) = self.retention.reached(self.progress.confirmable(self.policy).0) {
            self.wal.remove_before(position).map_err(|error| disk(&error))?;
        }
        Ok(())
    }

    fn describe(&mut self, payload: &Bytes) {
        let kind = payload.first().copied().unwrap_or_default();
        if let (b'R' | b'Y', Some(oid)) = (kind, payload.get(1..5).and_then(|oid| oid.try_into().ok())) {
            // A copy: the payload is a slice of a large block, which would stay in memory as long as the table is known.
            self.descriptions.insert((kind, u32::from_be_bytes(oid)), Bytes::copy_from_slice(payload));
        }
    }
}

/// A position within a Begin or Commit message (PostgreSQL documentation, "Logical Replication Message Formats").
fn lsn_at(payload: &[u8], offset: usize) -> Option<Lsn> {
    let bytes = payload.get(offset..offset + 8)?.try_into().ok()?;
    Some(Lsn(u64::from_be_bytes(bytes)))
}

fn disk(error: &WalError) -> Error {
    Error::told(Who::Machine, false, error)
}
