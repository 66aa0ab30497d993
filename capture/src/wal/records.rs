//! Reading the local WAL from some place on.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use re_dms_shared::Lsn;

use super::WalPosition;
use super::error::WalError;
use super::file::{FileReader, Step, StoredRecord};
use super::folder;
use super::format::{RecordKind, StoredKind};

/// A record of the local WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: RecordKind,
    /// The position that it was appended with.
    pub lsn: Lsn,
    /// What it holds.
    pub payload: Bytes,
    /// Where it starts.
    pub position: WalPosition,
    /// Behind it.
    pub end: WalPosition,
}

/// Records in order. After an error there are no more.
pub struct Records {
    folder: PathBuf,
    reader: Option<FileReader>,
    until: Option<WalPosition>,
}

/// Reads from `from`, where a record or a file starts, or one ended; without a bound ([`Records::until`]) to the end of
/// the last file. Another thread may append meanwhile: then the reader must stop, or be bounded, at what was durable when
/// it began, because it takes a half-written record for corruption.
///
/// # Errors
/// If the file can't be opened.
pub fn read_from(folder: &Path, from: WalPosition) -> Result<Records, WalError> {
    let (mut reader, _epoch) = FileReader::open(&folder::path(folder, from.file), from.file)?;
    if from.offset > reader.offset() {
        reader.seek(from.offset)?;
    }
    Ok(Records { folder: folder.to_owned(), reader: Some(reader), until: None })
}

impl Records {
    /// Ends before the record that starts at `end`. If the files end before it that is an error.
    #[must_use]
    pub fn until(mut self, end: WalPosition) -> Self {
        self.until = Some(end);
        self
    }

    fn advance(&mut self) -> Result<Option<Record>, WalError> {
        while let Some(reader) = &mut self.reader {
            let here = WalPosition { file: reader.number(), offset: reader.offset() };
            if self.until.is_some_and(|until| here >= until) {
                return Ok(None);
            }
            match reader.step()? {
                Step::Record(StoredRecord { kind: StoredKind::GroupStart, .. }) => {}
                Step::Record(StoredRecord { kind: StoredKind::User(kind), lsn, payload, .. }) => {
                    let end = WalPosition { file: here.file, offset: reader.offset() };
                    return Ok(Some(Record { kind, lsn, payload, position: here, end }));
                }
                Step::End => self.reader = self.next_file(here.file + 1)?,
                Step::Bad(reason) => {
                    let path = folder::path(&self.folder, here.file);
                    return Err(WalError::Corrupt { path, offset: here.offset, reason });
                }
            }
        }
        Ok(None)
    }

    fn next_file(&self, number: u64) -> Result<Option<FileReader>, WalError> {
        let path = folder::path(&self.folder, number);
        if path.exists() {
            return Ok(Some(FileReader::open(&path, number)?.0));
        }
        match self.until {
            Some(until) if until.file >= number => Err(WalError::Missing { path }),
            Some(until) => {
                let (path, reason) = (folder::path(&self.folder, until.file), "it is shorter than it was");
                Err(WalError::Corrupt { path, offset: until.offset, reason })
            }
            None => Ok(None),
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.advance();
        if !matches!(record, Ok(Some(_))) {
            self.reader = None;
        }
        record.transpose()
    }
}
