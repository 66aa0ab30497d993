//! The local WAL: capture's own append-only log of what it received, fsynced in groups.
//!
//! A folder of files `{number:016x}.wal`, numbered without gaps, of which only the last is written to, and a file `lock`
//! that its one writer holds. Integers are little-endian; checksums are CRC32C.
//!
//! ```text
//! file     magic "re_dmsW\n", format u32, number u64, epoch's length u16, epoch, checksum of all before u32, records
//! record   payload's length u32, kind u8, LSN u64, checksum u32, payload
//! kinds    1 frame, 2 start of a session, 3 start of a group (no payload; in the LSN's place its own offset)
//! ```
//!
//! A record's checksum covers the file's number, then the record's other fields, then the payload: bytes of an older
//! file that happen to lie at the right place are no record.
//!
//! **What a crash leaves.** Records are appended in memory and made durable together, by one write and one fdatasync.
//! Until that returns, a power failure may leave any part of the group on the disk, in any order, so the last group may
//! be cut off at its first bad record: nobody was told that it is durable. Each group begins with a record that says
//! "all before me is durable", because it is only written when the group before is. A bad record with such a record
//! behind it, or in a file that is not the last, is not the trace of a crash: it is corruption, and refused.

mod error;
mod file;
#[cfg(test)]
pub(crate) mod flaky;
mod folder;
mod format;
mod last_file;
mod log;
mod records;
mod recovery;

use std::fmt;

pub use error::WalError;
pub use folder::{lock_if_there, remove_files, stored_epoch};
pub use format::RecordKind;
pub use log::LocalWal;
pub use records::{Record, Records, read_from};
pub use recovery::Recovery;

/// A place in the local WAL. Grows with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition {
    /// The file's number.
    pub file: u64,
    /// Bytes from the file's start.
    pub offset: u64,
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}
