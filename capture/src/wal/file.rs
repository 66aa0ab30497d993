//! Reading one file from some offset on, record by record.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use re_dms_shared::Lsn;

use super::error::WalError;
use super::format::{FIXED_FILE_HEADER, FORMAT, MAGIC, RECORD_HEADER, RecordHeader, StoredKind};

const READ_BUFFER: usize = 1 << 20;

/// A file that is read.
pub(super) struct FileReader {
    path: PathBuf,
    number: u64,
    reader: BufReader<File>,
    /// Of the next record.
    offset: u64,
    /// The file's size when it was opened.
    size: u64,
}

/// A record of any kind.
pub(super) struct StoredRecord {
    pub(super) kind: StoredKind,
    pub(super) lsn: Lsn,
    pub(super) payload: Bytes,
}

/// What stands where a record should.
pub(super) enum Step {
    Record(StoredRecord),
    /// The file ends here, after a whole record.
    End,
    /// No record, for this reason.
    Bad(&'static str),
}

impl FileReader {
    /// Opens the file, reads its header; returns the epoch that it names.
    pub(super) fn open(path: &Path, number: u64) -> Result<(Self, String), WalError> {
        let corrupt = |reason| WalError::Corrupt { path: path.to_owned(), offset: 0, reason };
        let file = File::open(path).map_err(WalError::io("opening", path))?;
        let size = file.metadata().map_err(WalError::io("reading", path))?.len();
        let mut reader = BufReader::with_capacity(READ_BUFFER, file);
        let mut take = |count: usize| -> Result<Vec<u8>, WalError> {
            let mut bytes = vec![0; count];
            reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => corrupt("it ends in its header"),
                _ => WalError::io("reading", path)(error),
            })?;
            Ok(bytes)
        };
        let fixed = take(FIXED_FILE_HEADER)?;
        let Some((magic, rest)) = fixed.split_first_chunk::<8>() else { return Err(corrupt("no header")) };
        let (Some(format), Some(stored_number), Some(epoch_length)) =
            (rest.first_chunk::<4>(), rest[4..].first_chunk::<8>(), rest[12..].first_chunk::<2>())
        else {
            return Err(corrupt("no header"));
        };
        if *magic != MAGIC {
            return Err(corrupt("it is not a file of the local WAL"));
        }
        let found = u32::from_le_bytes(*format);
        if found > FORMAT {
            return Err(WalError::Newer { path: path.to_owned(), found, supported: FORMAT });
        }
        let epoch = take(usize::from(u16::from_le_bytes(*epoch_length)))?;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&fixed), &epoch);
        if take(4)? != checksum.to_le_bytes() {
            return Err(corrupt("its header's checksum is wrong"));
        }
        if u64::from_le_bytes(*stored_number) != number {
            return Err(corrupt("its name is not its own: it was renamed"));
        }
        let epoch = String::from_utf8(epoch).map_err(|_| corrupt("its epoch is no text"))?;
        let offset = (FIXED_FILE_HEADER + epoch.len() + 4) as u64;
        Ok((Self { path: path.to_owned(), number, reader, offset, size }, epoch))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on at `offset`, where a record starts.
    pub(super) fn seek(&mut self, offset: u64) -> Result<(), WalError> {
        self.reader.seek(SeekFrom::Start(offset)).map_err(WalError::io("reading", &self.path))?;
        self.offset = offset;
        Ok(())
    }

    /// The next record.
    pub(super) fn step(&mut self) -> Result<Step, WalError> {
        let left = self.size.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Step::End);
        }
        if left < RECORD_HEADER as u64 {
            return Ok(Step::Bad("the file ends in a record's header"));
        }
        let mut header = [0; RECORD_HEADER];
        self.reader.read_exact(&mut header).map_err(WalError::io("reading", &self.path))?;
        let Some(header) = RecordHeader::parse(&header) else {
            return Ok(Step::Bad("a record of an unknown kind"));
        };
        if u64::from(header.length) > left - RECORD_HEADER as u64 {
            return Ok(Step::Bad("the file ends in a record"));
        }
        let mut payload = vec![0; header.length as usize];
        self.reader.read_exact(&mut payload).map_err(WalError::io("reading", &self.path))?;
        if !header.fits(self.number, &payload) {
            return Ok(Step::Bad("a record's checksum is wrong"));
        }
        let record = StoredRecord { kind: header.kind, lsn: header.lsn, payload: payload.into() };
        self.offset += RECORD_HEADER as u64 + u64::from(header.length);
        Ok(Step::Record(record))
    }

    /// Where behind the current record a group starts: all before that place was durable.
    pub(super) fn group_start_behind(&self) -> Result<Option<u64>, WalError> {
        let mut chunk = vec![0; READ_BUFFER];
        let mut start = self.offset + 1;
        loop {
            let count = self
                .reader
                .get_ref()
                .read_at(&mut chunk, start)
                .map_err(WalError::io("reading", &self.path))?;
            let starts_group = |&(offset, bytes): &(u64, &[u8])| {
                let header = bytes.first_chunk().and_then(RecordHeader::parse);
                header.is_some_and(|header| header.starts_group_at(self.number, offset))
            };
            let found = (start..).zip(chunk[..count].windows(RECORD_HEADER)).find(starts_group);
            if let Some((offset, _)) = found {
                return Ok(Some(offset));
            }
            if count < RECORD_HEADER {
                return Ok(None);
            }
            // The next chunk repeats as many bytes as a header that was cut in two may have here.
            start += (count - RECORD_HEADER + 1) as u64;
        }
    }
}
