//! A transaction that is not complete yet: its frames in memory while they are few, else in the local WAL only.

use std::path::PathBuf;

use bytes::Bytes;

use crate::error::{Error, Result, Who};
use crate::pgoutput::Begin;
use crate::wal::{self, WalPosition};

/// A transaction that began and has not ended.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    /// Where its Begin lies in the local WAL.
    pub(super) at: WalPosition,
    begin: Begin,
    limit: usize,
    bytes: usize,
    /// None once they are too many: the local WAL has them all.
    frames: Option<Vec<Bytes>>,
}

impl OpenTransaction {
    /// `limit`: the most bytes of frames to hold in memory.
    pub(super) fn new(begin: Begin, at: WalPosition, limit: usize) -> Self {
        Self { at, begin, limit, bytes: 0, frames: Some(Vec::new()) }
    }

    pub(super) fn push(&mut self, payload: &Bytes) {
        let Some(frames) = &mut self.frames else { return };
        self.bytes += payload.len() + size_of::<Bytes>();
        if self.bytes > self.limit {
            self.frames = None;
        } else {
            frames.push(payload.clone());
        }
    }
}

/// Reads transactions back from the local WAL.
#[derive(Clone, Debug)]
pub struct ReadBack {
    folder: PathBuf,
}

impl ReadBack {
    /// `folder` is the local WAL's.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The frames between the transaction's Begin and its Commit, in order.
    pub(super) fn open(&self, transaction: &OpenTransaction) -> Result<Frames> {
        match &transaction.frames {
            Some(frames) => Ok(Frames::Memory(frames.clone().into_iter())),
            None => {
                tracing::info!(
                    xid = transaction.begin.xid,
                    "a transaction larger than its share of batch.max_memory is read back from the local WAL"
                );
                let records =
                    wal::read_from(&self.folder, transaction.at).map_err(|error| read_failure(&error))?;
                Ok(Frames::Wal { records, begun: false })
            }
        }
    }
}

/// A transaction's frames.
pub(super) enum Frames {
    Memory(std::vec::IntoIter<Bytes>),
    Wal { records: wal::Records, begun: bool },
}

impl Iterator for Frames {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Frames::Memory(frames) => frames.next().map(Ok),
            Frames::Wal { records, begun } => loop {
                let record = match records.next() {
                    Some(Ok(record)) => record,
                    Some(Err(error)) => return Some(Err(read_failure(&error))),
                    // The Commit was seen before this reading began, so the log has been shortened behind our back.
                    None => return Some(Err(shortened())),
                };
                match record.payload.first() {
                    Some(b'B') if !*begun => *begun = true,
                    Some(b'C') => return None,
                    _ => return Some(Ok(record.payload)),
                }
            },
        }
    }
}

fn shortened() -> Error {
    Error::fatal(
        Who::Machine,
        "the local WAL ends in the middle of a transaction that was complete",
        "did somebody change its files? Remove the folder wal and start again: PostgreSQL still has what is not loaded",
    )
}

fn read_failure(error: &wal::WalError) -> Error {
    Error::told(Who::Machine, false, error)
}
