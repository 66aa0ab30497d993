//! How files are made.

use super::compress::Codec;
use crate::config::BatchConfig;

/// The files' size and compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Text in a file before compression, about; a load that is larger becomes several files of one size.
    pub max_file_bytes: usize,
    /// How they are compressed.
    pub codec: Codec,
}

impl RenderOptions {
    /// As it was configured. A file is made as a whole in memory, beside what it is made of: so it is small against
    /// what a batch may hold.
    #[must_use]
    pub fn new(config: &BatchConfig) -> Self {
        let most = config.max_memory.bytes() / 32;
        Self { max_file_bytes: config.max_file_bytes.bytes().min(most), codec: config.codec }
    }
}
