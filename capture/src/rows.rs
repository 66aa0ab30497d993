//! Rows as files: the text of every value as `COPY` reads it, CSV, and gzip, in memory.
//!
//! Pure: a load of the [`batch`](crate::batch) goes in, finished files come out. What can't arrive exact meets a
//! policy and is counted by column: by default a value that Redshift has no form for becomes NULL, a text that is longer
//! than its column is cut. Key columns never do: a key that is not exact would lose its row, so that is an error.

mod csv;
mod error;
mod files;
mod json;
mod number;
mod renderer;
mod structure;
mod value;

pub use error::RenderError;
pub use files::RenderedFile;
pub use renderer::{RenderOptions, RenderedLoad, write_load};

#[cfg(test)]
mod tests;
