//! The bytes of file headers and records: see the [module above](super).

use re_dms_shared::Lsn;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A frame of the replication stream.
    Frame,
    /// A connection begins to stream: transactions that were incomplete before come again from their start.
    SessionStart,
}

/// As it is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredKind {
    User(RecordKind),
    /// All before it is durable.
    GroupStart,
}

impl StoredKind {
    fn code(self) -> u8 {
        match self {
            StoredKind::User(RecordKind::Frame) => 1,
            StoredKind::User(RecordKind::SessionStart) => 2,
            StoredKind::GroupStart => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(StoredKind::User(RecordKind::Frame)),
            2 => Some(StoredKind::User(RecordKind::SessionStart)),
            3 => Some(StoredKind::GroupStart),
            _ => None,
        }
    }
}

pub(super) const MAGIC: [u8; 8] = *b"re_dmsW\n";
/// The format that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;
/// Magic, format, number, epoch's length.
pub(super) const FIXED_FILE_HEADER: usize = 8 + 4 + 8 + 2;
/// Length, kind, LSN, checksum.
pub(super) const RECORD_HEADER: usize = 4 + 1 + 8 + 4;

/// A file's first bytes.
pub(super) fn file_header(number: u64, epoch: &str) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIXED_FILE_HEADER + epoch.len() + 4);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    // An epoch's text is far shorter than 64 KiB: a slot's name has at most 63 bytes.
    header.extend_from_slice(&u16::try_from(epoch.len()).unwrap_or(u16::MAX).to_le_bytes());
    header.extend_from_slice(epoch.as_bytes());
    let checksum = crc32c::crc32c(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header
}

/// What stands before a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) length: u32,
    pub(super) kind: StoredKind,
    pub(super) lsn: Lsn,
    checksum: u32,
}

impl RecordHeader {
    /// Nothing if the kind is none that there is.
    pub(super) fn parse(bytes: &[u8; RECORD_HEADER]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (&kind, rest) = rest.split_first()?;
        let (lsn, rest) = rest.split_first_chunk()?;
        let checksum = rest.first_chunk()?;
        Some(Self {
            length: u32::from_le_bytes(*length),
            kind: StoredKind::from_code(kind)?,
            lsn: Lsn(u64::from_le_bytes(*lsn)),
            checksum: u32::from_le_bytes(*checksum),
        })
    }

    pub(super) fn fits(&self, file: u64, payload: &[u8]) -> bool {
        self.checksum == checksum(file, self.length, self.kind, self.lsn, payload)
    }

    /// It starts a group, and stands where it says that it does.
    pub(super) fn starts_group_at(&self, file: u64, offset: u64) -> bool {
        self.kind == StoredKind::GroupStart
            && self.length == 0
            && self.lsn.0 == offset
            && self.fits(file, &[])
    }
}

/// Appends a record to `out`.
pub(super) fn write_record(
    out: &mut Vec<u8>,
    file: u64,
    kind: StoredKind,
    lsn: Lsn,
    length: u32,
    payload: &[u8],
) {
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind.code());
    out.extend_from_slice(&lsn.0.to_le_bytes());
    out.extend_from_slice(&checksum(file, length, kind, lsn, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(file: u64, length: u32, kind: StoredKind, lsn: Lsn, payload: &[u8]) -> u32 {
    let mut head = [0; 8 + 4 + 1 + 8];
    head[..8].copy_from_slice(&file.to_le_bytes());
    head[8..12].copy_from_slice(&length.to_le_bytes());
    head[12] = kind.code();
    head[13..].copy_from_slice(&lsn.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), payload)
}
