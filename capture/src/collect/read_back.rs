//! A complete transaction's frames, from memory or from the local WAL.

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;

use super::transaction::Body;
use crate::error::{Error, Result, Who};
use crate::wal::{self, WalPosition};

/// Reads transactions back.
#[derive(Clone, Debug)]
pub struct ReadBack {
    folder: PathBuf,
}

/// A message of a transaction.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) payload: Bytes,
    /// It was streamed while its transaction was in progress, and so names its (sub)transaction.
    pub(super) in_block: bool,
}

impl ReadBack {
    /// `folder` is the local WAL's.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The frames between the transaction's begin and its commit, in order.
    pub(super) fn frames(&self, body: Body) -> Result<Frames> {
        Ok(match body {
            Body::Memory(frames) => Frames::Memory(frames.into_iter()),
            Body::Wal(from) => {
                let records = wal::read_from(&self.folder, from).map_err(|error| unreadable(&error))?;
                Frames::Wal { records, begun: false }
            }
            Body::Blocks(blocks, aborted) => Frames::Blocks {
                folder: self.folder.clone(),
                blocks: blocks.into_iter(),
                aborted,
                records: None,
            },
        })
    }
}

/// A transaction's frames.
pub(super) enum Frames {
    Memory(std::vec::IntoIter<Bytes>),
    Wal {
        records: wal::Records,
        begun: bool,
    },
    Blocks {
        folder: PathBuf,
        blocks: std::vec::IntoIter<(WalPosition, WalPosition)>,
        aborted: HashSet<u32>,
        records: Option<wal::Records>,
    },
}

impl Iterator for Frames {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Frames::Memory(frames) => frames.next().map(|payload| Ok(Frame { payload, in_block: false })),
            Frames::Wal { records, begun } => next_until_commit(records, begun),
            Frames::Blocks { folder, blocks, aborted, records } => loop {
                let Some(open) = records else {
                    let (start, end) = blocks.next()?;
                    match wal::read_from(folder, start) {
                        Ok(block) => *records = Some(block.until(end)),
                        Err(error) => return Some(Err(unreadable(&error))),
                    }
                    continue;
                };
                match open.next() {
                    None => *records = None,
                    Some(Err(error)) => return Some(Err(unreadable(&error))),
                    Some(Ok(record)) if is_part_of_block(&record.payload, aborted) => {
                        return Some(Ok(Frame { payload: record.payload, in_block: true }));
                    }
                    Some(Ok(_)) => {}
                }
            },
        }
    }
}

fn next_until_commit(records: &mut wal::Records, begun: &mut bool) -> Option<Result<Frame>> {
    loop {
        let record = match records.next() {
            Some(Ok(record)) => record,
            Some(Err(error)) => return Some(Err(unreadable(&error))),
            // The Commit was seen before this reading began, so the log has been shortened behind our back.
            None => return Some(Err(shortened())),
        };
        match record.payload.first() {
            Some(b'B') if !*begun => *begun = true,
            Some(b'C') => return None,
            _ => return Some(Ok(Frame { payload: record.payload, in_block: false })),
        }
    }
}

/// Everything between the block's start and stop, but for what was rolled back: the number of the (sub)transaction
/// follows the tag.
fn is_part_of_block(payload: &[u8], aborted: &HashSet<u32>) -> bool {
    match payload.split_first() {
        Some((b'S' | b'E', _)) | None => false,
        Some((_, rest)) => {
            rest.first_chunk::<4>().is_none_or(|xid| !aborted.contains(&u32::from_be_bytes(*xid)))
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

fn unreadable(error: &wal::WalError) -> Error {
    Error::told(Who::Machine, false, error)
}
