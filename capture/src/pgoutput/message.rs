//! What pgoutput says: one structure a message, borrowing from the frame that it came in.

use jiff::Timestamp;
use re_dms_shared::Lsn;

use super::Tuple;

/// One message of the plugin.
///
/// Changes carry an `xid` only inside a streamed block (between [`Message::StreamStart`] and [`Message::StreamStop`]):
/// outside of one they belong to the transaction that [`Message::Begin`] opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A committed transaction begins.
    Begin(Begin),
    /// The transaction that [`Message::Begin`] opened is complete.
    Commit(Commit),
    /// The transaction was first made on another server.
    Origin(Origin<'a>),
    /// A table's shape: sent before its first change, and again after it changed.
    Relation(Relation<'a>),
    /// A type that is not built in.
    Type(Type<'a>),
    /// A row was inserted, updated or deleted.
    Change(Change<'a>),
    /// Tables were emptied.
    Truncate(Truncate),
    /// `pg_logical_emit_message`
    Logical(LogicalMessage<'a>),
    /// A block of a transaction that is still in progress begins.
    StreamStart(StreamStart),
    /// The block ends; the transaction may go on in a later one.
    StreamStop,
    /// A streamed transaction was committed.
    StreamCommit(StreamCommit),
    /// A streamed transaction, or a part of it, was rolled back.
    StreamAbort(StreamAbort),
    /// A transaction that was prepared for two-phase commit begins.
    BeginPrepare(BeginPrepare<'a>),
    /// The transaction that [`Message::BeginPrepare`] opened is complete, and prepared.
    Prepare(Prepare<'a>),
    /// A prepared transaction was committed.
    CommitPrepared(CommitPrepared<'a>),
    /// A prepared transaction was rolled back.
    RollbackPrepared(RollbackPrepared<'a>),
    /// A streamed transaction was prepared.
    StreamPrepare(StreamPrepare<'a>),
}

/// A committed transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record begins. Confirming this position makes the server send the transaction again; what is
    /// confirmed is [`Commit::end_lsn`].
    pub final_lsn: Lsn,
    /// When it was committed.
    pub commit_time: Timestamp,
    /// Its number.
    pub xid: u32,
}

/// A transaction is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record begins.
    pub commit_lsn: Lsn,
    /// Where its commit record ends: the position to be confirmed.
    pub end_lsn: Lsn,
    /// When it was committed.
    pub commit_time: Timestamp,
}

/// Where a transaction was first made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its commit's position there.
    pub commit_lsn: Lsn,
    /// The replication origin's name.
    pub name: &'a str,
}

/// What identifies a table's rows in updates and deletes: `pg_class.relreplident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// The whole row.
    Full,
    /// A chosen unique index.
    Index,
}

/// A table's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The transaction, inside a streamed block: see [`Message`].
    pub xid: Option<u32>,
    /// `pg_class.oid`
    pub oid: u32,
    /// Its schema. pgoutput leaves `pg_catalog` out; here it is spelled.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What identifies its rows.
    pub replica_identity: ReplicaIdentity,
    /// The columns that are published, in the table's order. Generated ones are left out.
    pub columns: Vec<RelationColumn<'a>>,
}

/// A column of a [`Relation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Part of the replica identity. With [`ReplicaIdentity::Full`] every column is.
    pub key: bool,
    /// Its name.
    pub name: &'a str,
    /// `pg_attribute.atttypid`
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`
    pub type_modifier: i32,
}

/// A type that is not built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type<'a> {
    /// The transaction, inside a streamed block: see [`Message`].
    pub xid: Option<u32>,
    /// `pg_type.oid`
    pub oid: u32,
    /// Its schema. pgoutput leaves `pg_catalog` out; here it is spelled.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// What is known of a row before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// The replica identity's columns; the others are null.
    Key(Tuple<'a>),
    /// Every column ([`ReplicaIdentity::Full`]).
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    /// The row, of whichever kind.
    #[must_use]
    pub fn tuple(self) -> Tuple<'a> {
        match self {
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => tuple,
        }
    }
}

/// A row was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The transaction, inside a streamed block: see [`Message`].
    pub xid: Option<u32>,
    /// The [`Relation::oid`] of its table.
    pub relation: u32,
    /// How.
    pub kind: ChangeKind<'a>,
}

/// How a row was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind<'a> {
    /// A new row.
    Insert {
        /// The row.
        new: Tuple<'a>,
    },
    /// A row has new values.
    Update {
        /// Only there when the replica identity's columns changed, or it is the whole row.
        old: Option<OldTuple<'a>>,
        /// The row as it is now; TOASTed values that the update left alone may be missing.
        new: Tuple<'a>,
    },
    /// A row is gone.
    Delete {
        /// What identifies it.
        old: OldTuple<'a>,
    },
}

/// Tables were emptied, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// The transaction, inside a streamed block: see [`Message`].
    pub xid: Option<u32>,
    /// `TRUNCATE … CASCADE`. The tables that it reached are in the list if they are published.
    pub cascade: bool,
    /// `TRUNCATE … RESTART IDENTITY`
    pub restart_identity: bool,
    /// The [`Relation::oid`]s.
    pub relations: Vec<u32>,
}

/// `pg_logical_emit_message`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// The transaction, inside a streamed block: see [`Message`].
    pub xid: Option<u32>,
    /// Part of the transaction around it; otherwise sent at once, whatever becomes of the transaction.
    pub transactional: bool,
    /// Its position.
    pub lsn: Lsn,
    /// Whom it is for.
    pub prefix: &'a str,
    /// What it says.
    pub content: &'a [u8],
}

/// A block of a transaction that is still in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The transaction.
    pub xid: u32,
    /// It is the transaction's first block.
    pub first_block: bool,
}

/// A streamed transaction was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The transaction.
    pub xid: u32,
    /// As in [`Message::Commit`].
    pub commit: Commit,
}

/// A streamed transaction, or a part of it, was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The transaction.
    pub xid: u32,
    /// The subtransaction whose changes are void; the same as `xid` if all are.
    pub subxid: u32,
    /// Position and time of the rollback: only with protocol 4 and `streaming = parallel`.
    pub aborted: Option<(Lsn, Timestamp)>,
}

/// A transaction that was prepared begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginPrepare<'a> {
    /// Where the record of its PREPARE begins.
    pub prepare_lsn: Lsn,
    /// Where it ends.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: Timestamp,
    /// The transaction.
    pub xid: u32,
    /// The user's name for it.
    pub gid: &'a str,
}

/// A transaction is complete, and prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// Where the record of its PREPARE begins.
    pub prepare_lsn: Lsn,
    /// Where it ends.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: Timestamp,
    /// The transaction.
    pub xid: u32,
    /// The user's name for it.
    pub gid: &'a str,
}

/// A prepared transaction was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// As in [`Message::Commit`].
    pub commit: Commit,
    /// The transaction.
    pub xid: u32,
    /// The user's name for it.
    pub gid: &'a str,
}

/// A prepared transaction was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// Where the record of its PREPARE ends.
    pub prepare_end_lsn: Lsn,
    /// Where the record of its rollback ends.
    pub rollback_end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: Timestamp,
    /// When it was rolled back.
    pub rollback_time: Timestamp,
    /// The transaction.
    pub xid: u32,
    /// The user's name for it.
    pub gid: &'a str,
}

/// A streamed transaction was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPrepare<'a> {
    /// As for one that was not streamed.
    pub prepare: Prepare<'a>,
}
