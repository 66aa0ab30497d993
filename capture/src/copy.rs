//! The initial copy: the rows that the source's tables hold when a stream is created.
//!
//! Each table becomes one segment, read under one snapshot of the source; these segments have the epoch's first numbers.
//! The stream goes on meanwhile: its segments have the numbers behind them, and are loaded behind them. What is in a
//! table's snapshot is left out of the stream (`Relations::is_copied`), so that nothing is lost and nothing comes twice.
//!
//! What is done is on S3, so that neither a crash nor a lost disk begins again: [`CopyState`]. What is not done is read
//! again by the next [`Round`], under a new snapshot. See ADR 16. Tables that are read anew later on are read by the same
//! [`Reading`]: see [`resync`](crate::resync).

mod board;
mod copier;
mod output;
mod pace;
mod reader;
mod round;
mod segments;
mod state;

pub use copier::Copier;
pub(crate) use output::MEMORY_SHARE;
pub(crate) use output::{Account, Files};
pub(crate) use pace::Pace;
pub(crate) use reader::{Finished, Reading};
pub use round::Round;
pub(crate) use round::{Readers, RoundTable, take_snapshot};
pub use segments::Segments;
pub use state::{CopyState, CopyTable};
