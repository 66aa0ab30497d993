//! The writer.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use re_dms_shared::Lsn;

use super::WalPosition;
use super::error::WalError;
use super::folder;
use super::format::{RecordKind, StoredKind, write_record};
use super::last_file::LastFile;
use super::records::{Records, read_from};
use super::recovery::{Recovery, recover};

/// The buffer keeps this much of its memory between groups.
const KEPT_BUFFER: usize = 4 << 20;

/// The local WAL, open for appending: see the [module](super).
///
/// Not shared: one thread owns it, appends all that is waiting, and syncs once.
pub struct LocalWal {
    folder: PathBuf,
    epoch: String,
    /// Held as long as this lives.
    _lock: File,
    /// The last file, its number, and how much of it is durable.
    file: Box<dyn LastFile>,
    number: u64,
    durable: u64,
    /// The oldest file's number.
    first: u64,
    /// Records behind `durable`.
    group: Vec<u8>,
    /// A write or fdatasync failed: what is on the disk is unknown until it is read again.
    broken: bool,
}

impl LocalWal {
    /// Opens the local WAL in `folder`, which is made if need be, and checks all that it holds.
    ///
    /// # Errors
    /// If another process has it, if it belongs to another epoch, or if it is corrupt.
    pub fn open(folder: &Path, epoch: &str) -> Result<(Self, Recovery), WalError> {
        let lock = folder::lock(folder)?;
        folder::remove_unfinished(folder)?;
        let mut numbers = folder::numbers(folder)?;
        if numbers.is_empty() {
            folder::create(folder, 1, epoch)?;
            numbers.push(1);
        }
        let recovery = recover(folder, &numbers, epoch)?;
        folder::sync(folder)?;
        let WalPosition { file: number, offset: durable } = recovery.end;
        let path = folder::path(folder, number);
        let file = File::options().write(true).open(&path).map_err(WalError::io("opening", &path))?;
        let wal = Self {
            folder: folder.to_owned(),
            epoch: epoch.to_owned(),
            _lock: lock,
            file: Box::new(file),
            number,
            durable,
            first: recovery.first.file,
            group: Vec::new(),
            broken: false,
        };
        Ok((wal, recovery))
    }

    /// Adds a record to the group that the next [`LocalWal::sync`] makes durable. Returns where it starts.
    ///
    /// # Errors
    /// If the payload is larger than any that PostgreSQL sends.
    pub fn append(&mut self, kind: RecordKind, lsn: Lsn, payload: &[u8]) -> Result<WalPosition, WalError> {
        let length = u32::try_from(payload.len()).map_err(|_| WalError::TooLarge { bytes: payload.len() })?;
        if self.group.is_empty() {
            write_record(&mut self.group, self.number, StoredKind::GroupStart, Lsn(self.durable), 0, &[]);
        }
        let position = self.end();
        write_record(&mut self.group, self.number, StoredKind::User(kind), lsn, length, payload);
        Ok(position)
    }

    /// Makes everything durable that was appended. Returns the place behind it.
    ///
    /// # Errors
    /// [`WalError::DiskFull`]: nothing is lost, a later call tries again. After any other error the local WAL is of no use
    /// until it is opened anew.
    pub fn sync(&mut self) -> Result<WalPosition, WalError> {
        let path = folder::path(&self.folder, self.number);
        if self.broken {
            return Err(WalError::Broken { path });
        }
        if self.group.is_empty() {
            return Ok(self.end());
        }
        let needed = self.group.len() as u64;
        let written = self.file.write_at(&self.group, self.durable);
        let written = written
            .map_err(WalError::writing("writing", &path, needed))
            .and_then(|()| self.file.sync().map_err(WalError::writing("fdatasync of", &path, needed)));
        if let Err(error) = written {
            // After a failed fdatasync the kernel may hold pages for written that are not, and show them to whoever reads
            // the file next. The cut throws them away: what is left is what was durable before, and a later try writes
            // all of the group again.
            let cut = self.file.cut(self.durable);
            self.broken = cut.is_err() || !matches!(error, WalError::DiskFull { .. });
            return Err(error);
        }
        self.durable += needed;
        self.group.clear();
        self.group.shrink_to(KEPT_BUFFER);
        Ok(self.end())
    }

    /// Behind the last record that was appended.
    #[must_use]
    pub fn end(&self) -> WalPosition {
        WalPosition { file: self.number, offset: self.durable + self.group.len() as u64 }
    }

    /// Behind the last record that is durable.
    #[must_use]
    pub fn durable_end(&self) -> WalPosition {
        WalPosition { file: self.number, offset: self.durable }
    }

    /// Bytes in the last file, with what is appended and not yet durable.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.end().offset
    }

    /// What is left on the disk for us; none if it does not say.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        folder::free_bytes(&self.folder)
    }

    /// Everything that is durable, from the oldest record on.
    ///
    /// # Errors
    /// If the oldest file can't be opened.
    pub fn records(&self) -> Result<Records, WalError> {
        let records = read_from(&self.folder, WalPosition { file: self.first, offset: 0 })?;
        Ok(records.until(self.durable_end()))
    }

    /// Makes everything durable, then goes on in a new file.
    ///
    /// # Errors
    /// As [`LocalWal::sync`]; when the disk is full the old file stays in use.
    pub fn rotate(&mut self) -> Result<(), WalError> {
        self.sync()?;
        let (file, size) = self.file.next(&self.folder, self.number + 1, &self.epoch)?;
        self.file = file;
        self.number += 1;
        self.durable = size;
        Ok(())
    }

    /// Puts something else in the last file's place.
    #[cfg(test)]
    pub(super) fn exchange_file(&mut self, exchange: impl FnOnce(Box<dyn LastFile>) -> Box<dyn LastFile>) {
        let path = folder::path(&self.folder, self.number);
        let file = File::options().write(true).open(path).unwrap();
        self.file = exchange(Box::new(file));
    }

    /// Removes the files whose records all lie before `position`; never the last one. Returns how many.
    ///
    /// # Errors
    /// If a file can't be removed.
    pub fn remove_before(&mut self, position: WalPosition) -> Result<u64, WalError> {
        let oldest = self.first;
        // The oldest first, so that a crash on the way leaves no gap.
        while self.first < self.number {
            let path = folder::path(&self.folder, self.first);
            let ends_before = match self.first.cmp(&position.file) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => {
                    position.offset >= fs::metadata(&path).map_err(WalError::io("reading", &path))?.len()
                }
                std::cmp::Ordering::Greater => false,
            };
            if !ends_before {
                break;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(WalError::io("removing", &path)(error));
                }
                _ => self.first += 1,
            }
        }
        let removed = self.first - oldest;
        if removed > 0 {
            folder::sync(&self.folder)?;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests;
