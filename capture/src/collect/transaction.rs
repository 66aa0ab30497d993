//! Transactions that are not complete yet. Small ones wait in memory; one that outgrows its share of memory, and every one
//! that PostgreSQL streams while it is in progress, waits in the local WAL, and only its place is remembered.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::decode;
use crate::error::Result;
use crate::pgoutput::{Commit, Message};
use crate::wal::WalPosition;

/// All transactions that began and have not ended.
#[derive(Debug)]
pub(super) struct Transactions {
    /// The most bytes of one transaction's frames to hold in memory.
    limit: usize,
    /// Between Begin and Commit: its commit is certain.
    whole: Option<Whole>,
    /// Inside of a streamed block: its transaction, and where it began.
    block: Option<(u32, WalPosition)>,
    streamed: HashMap<u32, Streamed>,
}

#[derive(Debug)]
struct Whole {
    at: WalPosition,
    xid: u32,
    bytes: usize,
    /// None once they are too many: the local WAL has them all.
    frames: Option<Vec<Bytes>>,
}

/// A transaction that comes in blocks, among other transactions.
#[derive(Debug, Default)]
struct Streamed {
    blocks: Vec<(WalPosition, WalPosition)>,
    aborted: HashSet<u32>,
}

/// What a frame was.
#[derive(Debug)]
pub(super) enum Taken {
    /// A part of a transaction.
    Part,
    /// The end of a transaction: here it is, with its number.
    Committed(Commit, u32, Body),
    /// It belongs to no transaction.
    Outside,
}

/// Where a complete transaction's frames are.
#[derive(Debug)]
pub(super) enum Body {
    /// Here, in order.
    Memory(Vec<Bytes>),
    /// In the local WAL, from this Begin to the next Commit.
    Wal(WalPosition),
    /// In the local WAL, in these blocks, without those of aborted subtransactions.
    Blocks(Vec<(WalPosition, WalPosition)>, HashSet<u32>),
}

impl Body {
    /// It has to be read back.
    pub(super) fn is_on_disk(&self) -> bool {
        !matches!(self, Body::Memory(_))
    }

    /// How often it describes each table; none if that would take reading it back.
    pub(super) fn descriptions(&self) -> Option<HashMap<u32, usize>> {
        let Body::Memory(frames) = self else { return None };
        let mut found = HashMap::new();
        for frame in frames {
            // tag, OID
            if let (Some(b'R'), Some(oid)) =
                (frame.first(), frame.get(1..5).and_then(|oid| oid.try_into().ok()))
            {
                *found.entry(u32::from_be_bytes(oid)).or_default() += 1;
            }
        }
        Some(found)
    }
}

impl Transactions {
    /// `limit`: the most bytes of one transaction's frames to hold in memory.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, whole: None, block: None, streamed: HashMap::new() }
    }

    /// A new connection: what was not complete comes again from its beginning.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Whether the last frame left no transaction's part open: what the server says then is about all before it.
    pub(super) fn is_between(&self) -> bool {
        self.whole.is_none() && self.block.is_none()
    }

    /// From where on the local WAL is needed for them.
    pub(super) fn oldest(&self) -> Option<WalPosition> {
        let streamed =
            self.streamed.values().filter_map(|streamed| streamed.blocks.first().map(|block| block.0));
        let open =
            self.whole.as_ref().map(|whole| whole.at).into_iter().chain(self.block.map(|block| block.1));
        streamed.chain(open).min()
    }

    /// Takes a frame that lies between two places of the local WAL.
    pub(super) fn take(&mut self, payload: &Bytes, at: WalPosition, end: WalPosition) -> Result<Taken> {
        // Within a block only its end matters now; the rest is read when the transaction commits.
        if let Some((xid, start)) = self.block {
            if payload.first() == Some(&b'E') {
                self.streamed.entry(xid).or_default().blocks.push((start, end));
                self.block = None;
            }
            return Ok(Taken::Part);
        }
        match payload.first() {
            Some(b'B') => {
                if let Message::Begin(begin) = decode(payload, false)? {
                    self.whole = Some(Whole { at, xid: begin.xid, bytes: 0, frames: Some(Vec::new()) });
                }
            }
            Some(b'C') => {
                if let (Some(whole), Message::Commit(commit)) = (self.whole.take(), decode(payload, false)?) {
                    let body = whole.frames.map_or(Body::Wal(whole.at), Body::Memory);
                    return Ok(Taken::Committed(commit, whole.xid, body));
                }
            }
            Some(b'S' | b'c' | b'A') => return self.streaming(payload, at),
            _ => match &mut self.whole {
                Some(whole) => whole.push(payload, self.limit),
                None => return Ok(Taken::Outside),
            },
        }
        Ok(Taken::Part)
    }

    fn streaming(&mut self, payload: &Bytes, at: WalPosition) -> Result<Taken> {
        match decode(payload, false)? {
            Message::StreamStart(start) => self.block = Some((start.xid, at)),
            Message::StreamAbort(abort) if abort.xid == abort.subxid => {
                self.streamed.remove(&abort.xid);
            }
            Message::StreamAbort(abort) => {
                self.streamed.entry(abort.xid).or_default().aborted.insert(abort.subxid);
            }
            Message::StreamCommit(commit) => {
                let Streamed { blocks, aborted } = self.streamed.remove(&commit.xid).unwrap_or_default();
                let body = Body::Blocks(blocks, aborted);
                return Ok(Taken::Committed(commit.commit, commit.xid, body));
            }
            _ => {}
        }
        Ok(Taken::Part)
    }
}

impl Whole {
    fn push(&mut self, payload: &Bytes, limit: usize) {
        let Some(frames) = &mut self.frames else { return };
        self.bytes += payload.len() + size_of::<Bytes>();
        if self.bytes > limit {
            self.frames = None;
        } else {
            frames.push(payload.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::encode::encode;
    use crate::pgoutput::{StreamAbort, StreamCommit, StreamStart};
    use jiff::Timestamp;
    use re_dms_shared::Lsn;

    fn place(offset: u64) -> WalPosition {
        WalPosition { file: 1, offset }
    }

    /// Takes messages of ten bytes' length each, one behind the other.
    fn take(transactions: &mut Transactions, messages: &[Message<'_>]) -> Vec<Taken> {
        let frames = messages.iter().zip((0..).step_by(10));
        frames
            .map(|(message, offset)| {
                let payload = Bytes::from(encode(message));
                transactions.take(&payload, place(offset), place(offset + 10)).unwrap()
            })
            .collect()
    }

    #[test]
    fn blocks_of_two_transactions_are_told_apart_and_rolled_back_ones_forgotten() {
        let start = |xid, first_block| Message::StreamStart(StreamStart { xid, first_block });
        let abort = |xid, subxid| Message::StreamAbort(StreamAbort { xid, subxid, aborted: None });
        let commit = Commit { commit_lsn: Lsn(1), end_lsn: Lsn(2), commit_time: Timestamp::UNIX_EPOCH };
        let mut transactions = Transactions::new(1 << 20);
        let taken = take(
            &mut transactions,
            &[
                start(7, true),
                Message::StreamStop,
                start(8, true),
                Message::StreamStop,
                start(7, false),
                Message::StreamStop,
                abort(7, 71),
                abort(8, 8),
                Message::StreamCommit(StreamCommit { xid: 7, commit }),
            ],
        );
        let Some(Taken::Committed(committed, 7, Body::Blocks(blocks, aborted))) = taken.last() else {
            panic!("{taken:?}")
        };
        assert_eq!(*committed, commit);
        assert_eq!(*blocks, [(place(0), place(20)), (place(40), place(60))]);
        assert!(aborted.contains(&71) && aborted.len() == 1);
        assert_eq!(transactions.oldest(), None, "both are over");
    }

    #[test]
    fn the_local_wal_is_needed_from_the_oldest_open_block_on() {
        let mut transactions = Transactions::new(1 << 20);
        let start = Message::StreamStart(StreamStart { xid: 7, first_block: true });
        take(&mut transactions, std::slice::from_ref(&start));
        assert!(!transactions.is_between());
        take(&mut transactions, &[Message::StreamStop]);
        assert!(transactions.is_between());
        assert_eq!(transactions.oldest(), Some(place(0)));
        transactions.forget();
        assert_eq!(transactions.oldest(), None);
    }
}
