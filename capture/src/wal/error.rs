//! What can go wrong with the local WAL.

use std::io;
use std::path::{Path, PathBuf};

use super::folder;

/// The least that a new file takes on most disks.
const BLOCK: u64 = 4096;

/// The local WAL can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk failed, or the folder's rights are not right.
    #[error("local WAL: {action} {path} failed: {source}")]
    Io {
        /// What we were doing.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No room. What was appended is kept, and the next sync tries again.
    #[error(
        "local WAL: no room on the disk of {path}: {needed} bytes are to be written, {free} are free (hint: make room or enlarge the disk; the log shrinks when segments reach the place that slot.advance_on names)"
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// How much was to be written.
        needed: u64,
        /// What the disk had left for it.
        free: u64,
    },
    /// An earlier write or fdatasync failed, so that nobody knows what is on the disk.
    #[error(
        "local WAL: {path} can't be written any more after an earlier failure (hint: check the disk, then start again)"
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "local WAL: {folder} is in use by another re_dms{holder} (hint: one process a stream; stop the other, or give this stream a data_dir of its own)"
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who, if known.
        holder: String,
    },
    /// The files belong to another slot.
    #[error(
        "local WAL: {folder} belongs to the epoch {found}, and this stream's is {expected} (hint: move the folder away if the slot was made anew on purpose; else check slot.name, source.url and data_dir)"
    )]
    OtherEpoch {
        /// The folder.
        folder: PathBuf,
        /// The files'.
        found: String,
        /// Ours.
        expected: String,
    },
    /// Written by a newer re_dms.
    #[error(
        "local WAL: {path} has the format {found}, and this version reads up to {supported} (hint: update re_dms)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// Bytes that were durable are not what was written.
    #[error(
        "local WAL: {path} is corrupt at offset {offset}: {reason} (hint: check the disk. Unless slot.advance_on is durable nothing is lost: move the folder away, and PostgreSQL sends again what is not staged)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A file between others is gone.
    #[error(
        "local WAL: {path} is missing, and later files are there (hint: put it back, or move the folder away as after corruption)"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// PostgreSQL knows no frame this large.
    #[error("local WAL: a frame of {bytes} bytes is too large")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl WalError {
    /// For `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        Self::writing(action, path, BLOCK)
    }

    /// As [`WalError::io`], where it is known how much was to be written.
    pub(super) fn writing(
        action: &'static str,
        path: &Path,
        needed: u64,
    ) -> impl FnOnce(io::Error) -> WalError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let free = folder::free_bytes(path.parent().unwrap_or(path)).unwrap_or_default();
                WalError::DiskFull { path: path.to_owned(), needed, free }
            }
            _ => WalError::Io { action, path: path.to_owned(), source },
        }
    }
}
