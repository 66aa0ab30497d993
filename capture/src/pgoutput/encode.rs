//! From a [`Message`] to the bytes that PostgreSQL would send: the decoder's mirror, for tests.

use jiff::Timestamp;
use re_dms_shared::Lsn;

use super::Tuple;
use super::message::{ChangeKind, Commit, Message, OldTuple, Prepare, ReplicaIdentity};

/// The message as PostgreSQL would send it.
pub(crate) fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut out = Out(Vec::new());
    match message {
        Message::Begin(m) => {
            out.tag(b'B', None).lsn(m.final_lsn).time(m.commit_time).u32(m.xid);
        }
        Message::Commit(m) => {
            out.tag(b'C', None).bytes(&[0]).commit(m);
        }
        Message::Origin(m) => {
            out.tag(b'O', None).lsn(m.commit_lsn).text(m.name);
        }
        Message::Relation(m) => {
            out.tag(b'R', m.xid).u32(m.oid).schema(m.schema).text(m.name);
            out.bytes(match m.replica_identity {
                ReplicaIdentity::Default => b"d",
                ReplicaIdentity::Nothing => b"n",
                ReplicaIdentity::Full => b"f",
                ReplicaIdentity::Index => b"i",
            });
            out.bytes(&u16::try_from(m.columns.len()).unwrap().to_be_bytes());
            for column in &m.columns {
                out.bytes(&[u8::from(column.key)]).text(column.name).u32(column.type_oid);
                out.u32(column.type_modifier.cast_unsigned());
            }
        }
        Message::Type(m) => {
            out.tag(b'Y', m.xid).u32(m.oid).schema(m.schema).text(m.name);
        }
        Message::Change(m) => match m.kind {
            ChangeKind::Insert { new } => {
                out.tag(b'I', m.xid).u32(m.relation).tuple(b'N', new);
            }
            ChangeKind::Update { old, new } => {
                out.tag(b'U', m.xid).u32(m.relation);
                if let Some(old) = old {
                    out.old_tuple(old);
                }
                out.tuple(b'N', new);
            }
            ChangeKind::Delete { old } => {
                out.tag(b'D', m.xid).u32(m.relation).old_tuple(old);
            }
        },
        Message::Truncate(m) => {
            out.tag(b'T', m.xid).u32(u32::try_from(m.relations.len()).unwrap());
            out.bytes(&[u8::from(m.cascade) | u8::from(m.restart_identity) << 1]);
            for oid in &m.relations {
                out.u32(*oid);
            }
        }
        Message::Logical(m) => {
            out.tag(b'M', m.xid).bytes(&[u8::from(m.transactional)]).lsn(m.lsn).text(m.prefix);
            out.u32(u32::try_from(m.content.len()).unwrap()).bytes(m.content);
        }
        Message::StreamStart(m) => {
            out.tag(b'S', None).u32(m.xid).bytes(&[u8::from(m.first_block)]);
        }
        Message::StreamStop => {
            out.tag(b'E', None);
        }
        Message::StreamCommit(m) => {
            out.tag(b'c', None).u32(m.xid).bytes(&[0]).commit(&m.commit);
        }
        Message::StreamAbort(m) => {
            out.tag(b'A', None).u32(m.xid).u32(m.subxid);
            if let Some((lsn, time)) = m.aborted {
                out.lsn(lsn).time(time);
            }
        }
        Message::BeginPrepare(m) => {
            out.tag(b'b', None).lsn(m.prepare_lsn).lsn(m.end_lsn).time(m.prepare_time).u32(m.xid).text(m.gid);
        }
        Message::Prepare(m) => {
            out.tag(b'P', None).bytes(&[0]).prepare(m);
        }
        Message::CommitPrepared(m) => {
            out.tag(b'K', None).bytes(&[0]).commit(&m.commit).u32(m.xid).text(m.gid);
        }
        Message::RollbackPrepared(m) => {
            out.tag(b'r', None).bytes(&[0]).lsn(m.prepare_end_lsn).lsn(m.rollback_end_lsn);
            out.time(m.prepare_time).time(m.rollback_time).u32(m.xid).text(m.gid);
        }
        Message::StreamPrepare(m) => {
            out.tag(b'p', None).bytes(&[0]).prepare(&m.prepare);
        }
    }
    out.0
}

struct Out(Vec<u8>);

impl Out {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn tag(&mut self, tag: u8, xid: Option<u32>) -> &mut Self {
        self.0.push(tag);
        if let Some(xid) = xid {
            self.u32(xid);
        }
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    fn lsn(&mut self, lsn: Lsn) -> &mut Self {
        self.bytes(&lsn.0.to_be_bytes())
    }

    fn time(&mut self, time: Timestamp) -> &mut Self {
        self.bytes(&(time.as_microsecond() - 946_684_800_000_000).to_be_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes()).bytes(&[0])
    }

    fn schema(&mut self, schema: &str) -> &mut Self {
        self.text(if schema == "pg_catalog" { "" } else { schema })
    }

    fn commit(&mut self, commit: &Commit) -> &mut Self {
        self.lsn(commit.commit_lsn).lsn(commit.end_lsn).time(commit.commit_time)
    }

    fn prepare(&mut self, prepare: &Prepare<'_>) -> &mut Self {
        self.lsn(prepare.prepare_lsn).lsn(prepare.end_lsn).time(prepare.prepare_time);
        self.u32(prepare.xid).text(prepare.gid)
    }

    fn tuple(&mut self, tag: u8, tuple: Tuple<'_>) -> &mut Self {
        self.bytes(&[tag]).bytes(tuple.as_bytes())
    }

    fn old_tuple(&mut self, old: OldTuple<'_>) -> &mut Self {
        self.tuple(if matches!(old, OldTuple::Key(_)) { b'K' } else { b'O' }, old.tuple())
    }
}
