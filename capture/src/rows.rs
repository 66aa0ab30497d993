//! Rows as files: the text of every value as `COPY` reads it, CSV, and gzip or zstd, in memory.
//!
//! Pure: a load of the [`batch`](crate::batch) is [split] into the rows of its files, and each of these
//! [becomes a file](FileRows::render), in any order and on any thread. What can't arrive exact meets a
//! policy and is counted by column: by default a value that Redshift has no form for becomes NULL, a text that is longer
//! than its column is cut. Key columns never do: a key that is not exact would lose its row, so that is an error.

mod compress;
mod constant;
mod copied;
mod csv;
mod error;
mod huffman;
mod json;
mod number;
mod options;
mod present;
mod renderer;
mod split;
mod structure;
mod value;

pub use compress::Codec;
pub use constant::{Constant, constant};
pub use copied::{HashedColumns, copied_rows, render_copied};
pub(crate) use csv::{NULL as NULL_FIELD, push_bare_row};
pub use error::RenderError;
pub use options::{FileSize, RenderOptions};
pub use renderer::{FileSummary, RenderedFile};
pub use split::{FileRows, LoadContext, LoadSummary, split};

#[cfg(test)]
pub(crate) mod tests;
