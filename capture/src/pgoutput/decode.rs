//! From a frame's bytes to a [`Message`].

use jiff::Timestamp;
use re_dms_shared::Lsn;

use super::message::{
    Begin, BeginPrepare, Change, ChangeKind, Commit, CommitPrepared, LogicalMessage, Message, OldTuple,
    Origin, Prepare, Relation, RelationColumn, ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit,
    StreamPrepare, StreamStart, Truncate, Type,
};
use super::{Tuple, TupleError};

/// Microseconds from 1970 to 2000, where PostgreSQL's clock begins.
const POSTGRES_EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// The bytes are not one of pgoutput's messages. Never names a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("pgoutput sent an empty message")]
    Empty,
    /// A tag that none of the protocol's versions 1 to 4 has.
    #[error(
        "pgoutput sent a message of the unknown kind {0:#04x} (hint: re_dms knows protocol versions 1 to 4; is there a newer re_dms?)"
    )]
    UnknownKind(u8),
    /// It ends in the middle.
    #[error("pgoutput's message {kind:?} ends in the middle")]
    Truncated {
        /// The message's tag.
        kind: char,
    },
    /// It goes on after its end.
    #[error("pgoutput's message {kind:?} goes on after its end ({bytes} bytes)")]
    TooLong {
        /// The message's tag.
        kind: char,
        /// How many are too many.
        bytes: usize,
    },
    /// A field holds what it may not.
    #[error("pgoutput's message {kind:?} has a malformed {field}")]
    Malformed {
        /// The message's tag.
        kind: char,
        /// The field.
        field: &'static str,
    },
    /// A row is not in the row encoding.
    #[error("pgoutput's message {kind:?}: {source}")]
    Tuple {
        /// The message's tag.
        kind: char,
        /// Why.
        source: TupleError,
    },
}

/// Decodes one message. `in_stream` says that it came between [`Message::StreamStart`] and [`Message::StreamStop`],
/// where changes carry their transaction's number.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(payload: &[u8], in_stream: bool) -> Result<Message<'_>, DecodeError> {
    let (&tag, rest) = payload.split_first().ok_or(DecodeError::Empty)?;
    let mut fields = Fields { kind: char::from(tag), rest };
    let message = match tag {
        b'I' | b'U' | b'D' => Message::Change(change(tag, &mut fields, in_stream)?),
        b'B' => Message::Begin(Begin {
            final_lsn: fields.lsn()?,
            commit_time: fields.time()?,
            xid: fields.u32()?,
        }),
        b'C' => {
            fields.no_flags()?;
            Message::Commit(fields.commit()?)
        }
        b'R' => Message::Relation(relation(&mut fields, in_stream)?),
        b'Y' => Message::Type(Type {
            xid: fields.xid(in_stream)?,
            oid: fields.u32()?,
            schema: fields.schema()?,
            name: fields.text("name")?,
        }),
        b'O' => Message::Origin(Origin { commit_lsn: fields.lsn()?, name: fields.text("name")? }),
        b'T' => Message::Truncate(truncate(&mut fields, in_stream)?),
        b'M' => Message::Logical(logical(&mut fields, in_stream)?),
        b'S' => Message::StreamStart(StreamStart { xid: fields.u32()?, first_block: fields.u8()? != 0 }),
        b'E' => Message::StreamStop,
        b'c' => {
            let xid = fields.u32()?;
            fields.no_flags()?;
            Message::StreamCommit(StreamCommit { xid, commit: fields.commit()? })
        }
        b'A' => {
            let (xid, subxid) = (fields.u32()?, fields.u32()?);
            let aborted = if fields.rest.is_empty() { None } else { Some((fields.lsn()?, fields.time()?)) };
            Message::StreamAbort(StreamAbort { xid, subxid, aborted })
        }
        b'b' => {
            let Prepare { prepare_lsn, end_lsn, prepare_time, xid, gid } = fields.prepare()?;
            Message::BeginPrepare(BeginPrepare { prepare_lsn, end_lsn, prepare_time, xid, gid })
        }
        b'P' => {
            fields.no_flags()?;
            Message::Prepare(fields.prepare()?)
        }
        b'p' => {
            fields.no_flags()?;
            Message::StreamPrepare(StreamPrepare { prepare: fields.prepare()? })
        }
        b'K' => {
            fields.no_flags()?;
            let commit = fields.commit()?;
            Message::CommitPrepared(CommitPrepared { commit, xid: fields.u32()?, gid: fields.text("gid")? })
        }
        b'r' => {
            fields.no_flags()?;
            Message::RollbackPrepared(RollbackPrepared {
                prepare_end_lsn: fields.lsn()?,
                rollback_end_lsn: fields.lsn()?,
                prepare_time: fields.time()?,
                rollback_time: fields.time()?,
                xid: fields.u32()?,
                gid: fields.text("gid")?,
            })
        }
        other => return Err(DecodeError::UnknownKind(other)),
    };
    match fields.rest.len() {
        0 => Ok(message),
        bytes => Err(DecodeError::TooLong { kind: fields.kind, bytes }),
    }
}

fn change<'a>(tag: u8, fields: &mut Fields<'a>, in_stream: bool) -> Result<Change<'a>, DecodeError> {
    let xid = fields.xid(in_stream)?;
    let relation = fields.u32()?;
    let kind = match (tag, fields.u8()?) {
        (b'I', b'N') => ChangeKind::Insert { new: fields.tuple()? },
        (b'U', b'N') => ChangeKind::Update { old: None, new: fields.tuple()? },
        (b'U', old_kind @ (b'K' | b'O')) => {
            let old = fields.old_tuple(old_kind)?;
            if fields.u8()? != b'N' {
                return Err(fields.malformed("new row's tag"));
            }
            ChangeKind::Update { old: Some(old), new: fields.tuple()? }
        }
        (b'D', old_kind @ (b'K' | b'O')) => ChangeKind::Delete { old: fields.old_tuple(old_kind)? },
        _ => return Err(fields.malformed("row's tag")),
    };
    Ok(Change { xid, relation, kind })
}

fn relation<'a>(fields: &mut Fields<'a>, in_stream: bool) -> Result<Relation<'a>, DecodeError> {
    let xid = fields.xid(in_stream)?;
    let oid = fields.u32()?;
    let schema = fields.schema()?;
    let name = fields.text("name")?;
    let replica_identity = match fields.u8()? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err(fields.malformed("replica identity")),
    };
    let columns = (0..fields.u16()?)
        .map(|_| {
            Ok(RelationColumn {
                key: fields.u8()? & 1 != 0,
                name: fields.text("column name")?,
                type_oid: fields.u32()?,
                type_modifier: fields.u32()?.cast_signed(),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Relation { xid, oid, schema, name, replica_identity, columns })
}

fn truncate(fields: &mut Fields<'_>, in_stream: bool) -> Result<Truncate, DecodeError> {
    let xid = fields.xid(in_stream)?;
    let count = fields.u32()?;
    let flags = fields.u8()?;
    let relations = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
    Ok(Truncate { xid, cascade: flags & 1 != 0, restart_identity: flags & 2 != 0, relations })
}

fn logical<'a>(fields: &mut Fields<'a>, in_stream: bool) -> Result<LogicalMessage<'a>, DecodeError> {
    let xid = fields.xid(in_stream)?;
    let transactional = fields.u8()? & 1 != 0;
    let lsn = fields.lsn()?;
    let prefix = fields.text("prefix")?;
    let length = fields.u32()?;
    Ok(LogicalMessage { xid, transactional, lsn, prefix, content: fields.bytes(length as usize)? })
}

/// What is left of a message. Integers are big-endian.
struct Fields<'a> {
    kind: char,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn truncated(&self) -> DecodeError {
        DecodeError::Truncated { kind: self.kind }
    }

    fn malformed(&self, field: &'static str) -> DecodeError {
        DecodeError::Malformed { kind: self.kind, field }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn xid(&mut self, in_stream: bool) -> Result<Option<u32>, DecodeError> {
        if in_stream { self.u32().map(Some) } else { Ok(None) }
    }

    fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        Ok(Lsn(u64::from_be_bytes(self.array()?)))
    }

    fn time(&mut self) -> Result<Timestamp, DecodeError> {
        let microseconds = i64::from_be_bytes(self.array()?);
        microseconds
            .checked_add(POSTGRES_EPOCH_MICROSECONDS)
            .and_then(|since_1970| Timestamp::from_microsecond(since_1970).ok())
            .ok_or_else(|| self.malformed("time"))
    }

    /// Zero-terminated UTF-8.
    fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or_else(|| self.truncated())?;
        let text = std::str::from_utf8(&self.rest[..end]).map_err(|_| self.malformed(field))?;
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn schema(&mut self) -> Result<&'a str, DecodeError> {
        let name = self.text("schema")?;
        Ok(if name.is_empty() { "pg_catalog" } else { name })
    }

    /// A byte of flags of which none is defined.
    fn no_flags(&mut self) -> Result<(), DecodeError> {
        if self.u8()? == 0 { Ok(()) } else { Err(self.malformed("flags")) }
    }

    fn commit(&mut self) -> Result<Commit, DecodeError> {
        Ok(Commit { commit_lsn: self.lsn()?, end_lsn: self.lsn()?, commit_time: self.time()? })
    }

    fn prepare(&mut self) -> Result<Prepare<'a>, DecodeError> {
        Ok(Prepare {
            prepare_lsn: self.lsn()?,
            end_lsn: self.lsn()?,
            prepare_time: self.time()?,
            xid: self.u32()?,
            gid: self.text("gid")?,
        })
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, DecodeError> {
        let (tuple, rest) =
            Tuple::parse(self.rest).map_err(|source| DecodeError::Tuple { kind: self.kind, source })?;
        self.rest = rest;
        Ok(tuple)
    }

    fn old_tuple(&mut self, kind: u8) -> Result<OldTuple<'a>, DecodeError> {
        let tuple = self.tuple()?;
        Ok(if kind == b'K' { OldTuple::Key(tuple) } else { OldTuple::Full(tuple) })
    }
}

#[cfg(test)]
mod tests;
