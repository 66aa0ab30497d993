//! The local WAL's thread: what comes in is appended, fsynced in groups, and only then handed to the collector.

mod cut;
mod descriptions;
mod full_disk;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use re_dms_shared::Lsn;
use re_dms_shared::lsn::Durable;
use tokio::sync::{mpsc, oneshot};

use crate::collect::Input;
use crate::error::{Error, Result, Who};
use crate::progress::Progress;
use crate::pulse::{Part, Wait};
use crate::replication::Event;
use crate::retention::Retention;
use crate::wal::{LocalWal, RecordKind, WalError, WalPosition};
pub use cut::Cutter;
use descriptions::Descriptions;
use full_disk::Synced;

/// A file of the local WAL is closed at the first commit behind this size.
const FILE_BYTES: u64 = 64 << 20;

/// Earlier, if the disk has room for fewer files than this of its size, but not below that size.
const FILES_IN_WHAT_IS_FREE: u64 = 8;
const SMALL_FILE_BYTES: u64 = 1 << 20;

/// After a look at what is free, the next one comes when the file has grown by this.
const LOOK_AGAIN_AFTER: u64 = 256 << 10;

/// The most that is fsynced together, in groups of events.
const GROUPS_AT_ONCE: usize = 16;

/// The most that is replayed in one group, in records and in bytes: groups wait in a channel.
const REPLAYED_AT_ONCE: usize = 4096;
const BYTES_REPLAYED_AT_ONCE: usize = 512 << 10;

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

/// Keeps the local WAL. While its disk is full it takes nothing more, and goes on by itself when there is room: see
/// `full_disk.rs`.
pub struct Persister {
    wal: LocalWal,
    /// The end of the last transaction that is held completely.
    held: Lsn,
    retention: Arc<Retention>,
    progress: Arc<Progress>,
    out: SyncSender<Vec<Input>>,
    place: PlaceInStream,
    descriptions: Descriptions,
    cutter: Option<Cutter>,
    /// The file is not full below this size.
    look_at: u64,
}

/// Where in the stream's transactions the last frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceInStream {
    Between,
    Inside,
    /// Inside of one that is held already.
    InsideRepeated,
    /// Inside of a block of one that is still in progress, with its number.
    InsideBlock(u32),
}

impl PlaceInStream {
    fn block(self) -> Option<u32> {
        match self {
            PlaceInStream::InsideBlock(xid) => Some(xid),
            _ => None,
        }
    }
}

impl Persister {
    /// `held` is the end of the last transaction that is held completely, on S3 or in the local WAL.
    #[must_use]
    pub fn new(
        wal: LocalWal,
        held: Lsn,
        retention: Arc<Retention>,
        progress: Arc<Progress>,
        out: SyncSender<Vec<Input>>,
    ) -> Self {
        let (place, descriptions) = (PlaceInStream::Between, Descriptions::default());
        let look_at = SMALL_FILE_BYTES;
        Self { wal, held, retention, progress, out, place, descriptions, cutter: None, look_at }
    }

    /// Lets nothing into the local WAL that the cutter takes away.
    #[must_use]
    pub fn cutting(self, cutter: Option<Cutter>) -> Self {
        Self { cutter, ..self }
    }

    /// Hands the collector what the local WAL held at the start, then what arrives.
    ///
    /// # Errors
    /// If the disk fails, or the collector ended.
    pub fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>) -> Result<()> {
        self.replay()?;
        while let Some(first) = self.next(&mut arrivals) {
            let mut inputs = self.append(first)?;
            for _ in 1..GROUPS_AT_ONCE {
                let Ok(next) = arrivals.try_recv() else { break };
                inputs.extend(self.append(next)?);
            }
            let synced = {
                let progress = Arc::clone(&self.progress);
                let _waiting = progress.pulse(Part::LocalWal).waits_for(Wait::Disk);
                self.sync(&arrivals)?
            };
            if synced == Synced::Stopped {
                return Ok(());
            }
            self.publish(&inputs);
            self.hand_on(inputs)?;
            self.forget()?;
        }
        Ok(())
    }

    fn next(&self, arrivals: &mut mpsc::Receiver<Arrival>) -> Option<Arrival> {
        let _waiting = self.progress.pulse(Part::LocalWal).waits_for(Wait::Input);
        arrivals.blocking_recv()
    }

    fn replay(&mut self) -> Result<()> {
        let records = self.wal.records().map_err(|error| disk(&error))?;
        let mut group = Vec::new();
        let mut bytes = 0;
        for record in records {
            let record = record.map_err(|error| disk(&error))?;
            self.progress.pulse(Part::LocalWal).beat();
            let input = match record.kind {
                RecordKind::SessionStart => {
                    self.begin_session();
                    Input::SessionStart
                }
                RecordKind::Frame => {
                    self.follow(&record.payload);
                    bytes += record.payload.len();
                    Input::Frame { payload: record.payload, at: record.position, end: record.end }
                }
            };
            group.push(input);
            if group.len() >= REPLAYED_AT_ONCE || bytes >= BYTES_REPLAYED_AT_ONCE {
                bytes = 0;
                self.hand_on(std::mem::take(&mut group))?;
            }
        }
        self.hand_on(group)
    }

    fn append(&mut self, arrival: Arrival) -> Result<Vec<Input>> {
        match arrival {
            Arrival::Session { start } => {
                self.begin_session();
                self.write(RecordKind::SessionStart, Lsn::ZERO, &Bytes::new())?;
                // Nobody waits any more if the connection is gone again.
                let _ = start.send(self.held);
                Ok(vec![Input::SessionStart])
            }
            Arrival::Events(events) => {
                let mut inputs = Vec::with_capacity(events.len());
                for event in events {
                    match event {
                        Event::Frame { start, payload } => {
                            inputs.extend(self.frame(start, payload)?);
                            self.close_if_full()?;
                        }
                        Event::Keepalive { wal_end, .. } => inputs.push(Input::Keepalive { wal_end }),
                    }
                }
                Ok(inputs)
            }
        }
    }

    /// What was not complete comes again from its beginning.
    fn begin_session(&mut self) {
        self.place = PlaceInStream::Between;
        self.descriptions.forget_unfinished();
        if let Some(cutter) = &mut self.cutter {
            cutter.forget();
        }
    }

    /// PostgreSQL may send again what it was not told to forget, or forgot that it was told: transactions that are held
    /// are dropped, by the position of their commit. What they say about tables is kept: it is said once a connection.
    fn frame(&mut self, lsn: Lsn, payload: Bytes) -> Result<Option<Input>> {
        let payload = match &mut self.cutter {
            Some(cutter) => cutter.cut(self.place.block(), payload)?,
            None => payload,
        };
        let was_repeated = self.place == PlaceInStream::InsideRepeated;
        self.follow(&payload);
        let repeated = was_repeated || self.place == PlaceInStream::InsideRepeated;
        let describes = matches!(payload.first(), Some(b'R' | b'Y'));
        if repeated && !describes { Ok(None) } else { self.write_frame(lsn, payload).map(Some) }
    }

    /// Keeps account of transactions and of what is said about tables. Offsets: PostgreSQL documentation, "Logical
    /// Replication Message Formats".
    fn follow(&mut self, payload: &Bytes) {
        let block = self.place.block();
        match payload.first() {
            Some(b'B') => {
                let repeated = lsn_at(payload, 1).is_some_and(|commit_lsn| commit_lsn < self.held);
                self.place = if repeated { PlaceInStream::InsideRepeated } else { PlaceInStream::Inside };
            }
            Some(b'C') => self.committed(lsn_at(payload, 10)),
            Some(b'S') if block.is_none() => {
                self.place = PlaceInStream::InsideBlock(u32_at(payload, 1).unwrap_or_default());
            }
            Some(b'E') => self.place = PlaceInStream::Between,
            Some(b'c') if block.is_none() => {
                self.committed(lsn_at(payload, 14));
                self.descriptions.commit(u32_at(payload, 1).unwrap_or_default());
            }
            Some(b'A') if block.is_none() && u32_at(payload, 1) == u32_at(payload, 5) => {
                self.descriptions.abort(u32_at(payload, 1).unwrap_or_default());
            }
            Some(b'R' | b'Y') => self.descriptions.add(block, payload),
            _ => {}
        }
    }

    fn committed(&mut self, end_lsn: Option<Lsn>) {
        self.place = PlaceInStream::Between;
        self.held = self.held.max(end_lsn.unwrap_or_default());
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
        self.progress.durable(Durable(durable), self.held);
    }

    /// Waits while the collector is busy: that is what bounds memory.
    fn hand_on(&self, inputs: Vec<Input>) -> Result<()> {
        let _waiting = self.progress.pulse(Part::LocalWal).waits_for(Wait::Next);
        self.out.send(inputs).map_err(|_| {
            Error::fatal(
                Who::Stream,
                "the collector ended before the stream",
                "see the error that was logged before",
            )
        })
    }

    /// Closes the file if it is full and nothing is half in it. This is asked after every frame: what comes in together
    /// rarely ends where a transaction does.
    fn close_if_full(&mut self) -> Result<()> {
        if self.place != PlaceInStream::Between || !self.file_is_full() {
            return Ok(());
        }
        let progress = Arc::clone(&self.progress);
        let _waiting = progress.pulse(Part::LocalWal).waits_for(Wait::Disk);
        match self.wal.rotate() {
            Ok(()) => {
                self.look_at = SMALL_FILE_BYTES;
                for payload in self.descriptions.all() {
                    self.write(RecordKind::Frame, Lsn::ZERO, &payload)?;
                }
                Ok(())
            }
            // The old file goes on; what does not fit into it either is waited for by `sync`.
            Err(WalError::DiskFull { .. }) => Ok(()),
            Err(error) => Err(disk(&error)),
        }
    }

    /// Files go whole, and never the last one: on a small disk they must be small for that to leave room.
    fn file_is_full(&mut self) -> bool {
        let bytes = self.wal.file_bytes();
        if bytes < self.look_at {
            return false;
        }
        self.look_at = bytes + LOOK_AGAIN_AFTER;
        let share = |free: u64| bytes >= free / FILES_IN_WHAT_IS_FREE;
        bytes >= FILE_BYTES || self.wal.free_bytes().is_some_and(share)
    }

    /// Removes the files that nobody needs.
    fn forget(&mut self) -> Result<()> {
        if let Some(position) = self.retention.reached(self.progress.forgettable()) {
            let _waiting = self.progress.pulse(Part::LocalWal).waits_for(Wait::Disk);
            self.wal.remove_before(position).map_err(|error| disk(&error))?;
        }
        Ok(())
    }
}

/// A position within a Begin or Commit message (PostgreSQL documentation, "Logical Replication Message Formats").
fn lsn_at(payload: &[u8], offset: usize) -> Option<Lsn> {
    let bytes = payload.get(offset..offset + 8)?.try_into().ok()?;
    Some(Lsn(u64::from_be_bytes(bytes)))
}

/// A number of a transaction or table within a message.
fn u32_at(payload: &[u8], offset: usize) -> Option<u32> {
    let bytes = payload.get(offset..offset + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

fn disk(error: &WalError) -> Error {
    Error::told(Who::Machine, false, error)
}

#[cfg(test)]
mod tests;
