//! What the stream says about one row, borrowed from it.

use crate::pgoutput::{OldTuple, Tuple};

/// A change of one row.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A new row.
    Insert {
        /// The row; every cell is there.
        new: Tuple<'a>,
    },
    /// A changed row.
    Update {
        /// What it was: only sent if the key changed, was TOASTed, or the table has REPLICA IDENTITY FULL.
        old: Option<OldTuple<'a>>,
        /// What it is.
        new: Tuple<'a>,
    },
    /// A row that is gone.
    Delete {
        /// What it was. Only its key columns are looked at.
        old: Tuple<'a>,
    },
}
