//! What the local WAL holds when it is opened: every record is checked, the trace of a crash is cut off.

use std::fs::File;
use std::path::Path;

use re_dms_shared::Lsn;

use super::WalPosition;
use super::error::WalError;
use super::file::{FileReader, Step, StoredRecord};
use super::folder;
use super::format::{RecordKind, StoredKind};
use crate::pgoutput::{self, Message};

/// What was found when the local WAL was opened. All of it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The start of the oldest file.
    pub first: WalPosition,
    /// Behind the last record.
    pub end: WalPosition,
    /// The largest end_lsn of the commits that it holds.
    pub last_commit: Option<Lsn>,
    /// Frames and session starts in it.
    pub records: u64,
    /// What a crash had left of a group that was never durable.
    pub bytes_cut: u64,
}

/// Checks all files of `folder`, which holds `numbers`; cuts the trace of a crash off the last one.
pub(super) fn recover(folder: &Path, numbers: &[u64], epoch: &str) -> Result<Recovery, WalError> {
    let position = |file| WalPosition { file, offset: 0 };
    let (first, last) =
        (numbers.first().copied().unwrap_or_default(), numbers.last().copied().unwrap_or_default());
    let mut recovery =
        Recovery { first: position(first), end: position(last), last_commit: None, records: 0, bytes_cut: 0 };
    for &number in numbers {
        let path = folder::path(folder, number);
        let (mut reader, found) = FileReader::open(&path, number)?;
        if found != epoch {
            let (folder, expected) = (folder.to_owned(), epoch.to_owned());
            return Err(WalError::OtherEpoch { folder, found, expected });
        }
        if number == first {
            recovery.first.offset = reader.offset();
        }
        loop {
            match reader.step()? {
                Step::Record(record) => recovery.count(&record),
                Step::End => break,
                Step::Bad(reason) => {
                    let offset = reader.offset();
                    if number != last || reader.group_start_behind()?.is_some() {
                        return Err(WalError::Corrupt { path, offset, reason });
                    }
                    break;
                }
            }
        }
        recovery.end.offset = reader.offset();
    }
    recovery.bytes_cut = make_durable(&folder::path(folder, last), recovery.end.offset)?;
    Ok(recovery)
}

impl Recovery {
    fn count(&mut self, record: &StoredRecord) {
        let StoredKind::User(kind) = record.kind else { return };
        self.records += 1;
        if kind == RecordKind::Frame {
            self.last_commit = self.last_commit.max(end_of_commit(&record.payload));
        }
    }
}

/// Cuts the file at `end`, and fsyncs it: after a crash of the process alone its last group may be in memory only.
/// Returns how much was cut.
fn make_durable(path: &Path, end: u64) -> Result<u64, WalError> {
    let file = File::options().write(true).open(path).map_err(WalError::io("opening", path))?;
    let size = file.metadata().map_err(WalError::io("reading", path))?.len();
    if size > end {
        file.set_len(end).map_err(WalError::io("cutting", path))?;
    }
    file.sync_all().map_err(WalError::io("fsync of", path))?;
    Ok(size - end)
}

/// The end_lsn of a frame that commits a transaction.
fn end_of_commit(frame: &[u8]) -> Option<Lsn> {
    // Only these; decoding every frame would read every row.
    if !matches!(frame.first(), Some(b'C' | b'c' | b'K')) {
        return None;
    }
    match pgoutput::decode(frame, false).ok()? {
        Message::Commit(commit) => Some(commit.end_lsn),
        Message::StreamCommit(streamed) => Some(streamed.commit.end_lsn),
        Message::CommitPrepared(prepared) => Some(prepared.commit.end_lsn),
        _ => None,
    }
}
