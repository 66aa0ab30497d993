//! PostgreSQL's logical decoding output plugin `pgoutput`: its messages, decoded without copying.
//!
//! Pure: bytes in, borrowed structures out. Source: PostgreSQL documentation, "Logical Replication Message Formats",
//! protocol versions 1 to 4. [`decode`] is the door; rows stay in their encoding ([`Tuple`]) and are walked in place.

mod decode;
#[cfg(test)]
pub(crate) mod encode;
mod message;
mod tuple;

pub use decode::{DecodeError, decode};
pub use message::{
    Begin, BeginPrepare, Change, ChangeKind, Commit, CommitPrepared, LogicalMessage, Message, OldTuple,
    Origin, Prepare, Relation, RelationColumn, ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit,
    StreamPrepare, StreamStart, Truncate, Type,
};
pub use tuple::{Cell, Tuple, TupleError};
