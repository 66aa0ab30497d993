//! PostgreSQL's logical decoding output plugin `pgoutput`: its messages, decoded without copying.
//!
//! Pure: bytes in, borrowed structures out. Source: PostgreSQL documentation, "Logical Replication Message Formats".

mod tuple;

pub use tuple::{Cell, Tuple, TupleError};
