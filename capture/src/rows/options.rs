//! How files are made.

use super::compress::Codec;
use crate::config::BatchConfig;

/// The files' size and compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// How large they are.
    pub size: FileSize,
    /// How they are compressed.
    pub codec: Codec,
}

/// How large files are, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSize {
    /// Text in a file before compression, about; a load that is larger becomes several files of one size.
    pub max_bytes: usize,
    /// Of how many a load has a multiple then: each of Redshift's slices reads a file at a time.
    pub slices: usize,
}

impl FileSize {
    /// How many files a load of so many bytes becomes.
    pub(super) fn files(self, bytes: usize) -> usize {
        match bytes.div_ceil(self.max_bytes.max(1)) {
            0 | 1 => 1,
            files => files.next_multiple_of(self.slices.max(1)),
        }
    }
}

impl RenderOptions {
    /// As it was configured. A file is made as a whole in memory, beside what it is made of: so it is small against
    /// what a batch may hold.
    #[must_use]
    pub fn new(config: &BatchConfig) -> Self {
        let most = config.max_memory.bytes() / 32;
        let size =
            FileSize { max_bytes: config.max_file_bytes.bytes().min(most), slices: config.redshift_slices };
        Self { size, codec: config.codec }
    }
}
