//! gzip files of about equal size, one member each, built up in memory.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use re_dms_shared::manifest::sha256_hex;

use super::error::RenderError;

/// Text is handed to the compressor in blocks of this size: many rows a call, and still in the processor's cache.
const BLOCK: usize = 64 * 1024;

/// A finished data file.
#[derive(Debug)]
pub struct RenderedFile {
    /// Its bytes: one gzip member.
    pub gz: Vec<u8>,
    /// Rows in it.
    pub rows: u64,
    /// Of `gz`: 64 lower-case hex digits.
    pub sha256: String,
}

/// Spreads rows over files.
pub(super) struct FileWriter {
    level: Compression,
    /// A file is full when the rows in it took this many bytes in memory.
    file_bytes: usize,
    encoder: GzEncoder<Vec<u8>>,
    rows: u64,
    consumed: usize,
    files: Vec<RenderedFile>,
}

impl FileWriter {
    /// `total` bytes of rows in memory are to become files of at most about `max_file_bytes` of text each, all of
    /// about the same size: Redshift's slices read a file each.
    pub(super) fn new(total: usize, max_file_bytes: usize, level: u32) -> Self {
        let files = total.div_ceil(max_file_bytes.max(1)).max(1);
        let level = Compression::new(level.min(9));
        Self {
            level,
            file_bytes: total.div_ceil(files),
            encoder: GzEncoder::new(Vec::new(), level),
            rows: 0,
            consumed: 0,
            files: Vec::new(),
        }
    }

    /// After each row: takes the text if there is enough of it, or if the file is full. `row_bytes` is what the row
    /// took in memory.
    pub(super) fn row_done(&mut self, text: &mut Vec<u8>, row_bytes: usize) -> Result<(), RenderError> {
        self.rows += 1;
        self.consumed += row_bytes;
        if self.consumed >= self.file_bytes {
            self.finish_file(text)?;
        } else if text.len() >= BLOCK {
            self.encoder.write_all(text)?;
            text.clear();
        }
        Ok(())
    }

    /// The files, in the order of their rows.
    pub(super) fn finish(mut self, text: &mut Vec<u8>) -> Result<Vec<RenderedFile>, RenderError> {
        if self.rows > 0 {
            self.finish_file(text)?;
        }
        Ok(self.files)
    }

    fn finish_file(&mut self, text: &mut Vec<u8>) -> Result<(), RenderError> {
        self.encoder.write_all(text)?;
        text.clear();
        let next = GzEncoder::new(Vec::new(), self.level);
        let gz = std::mem::replace(&mut self.encoder, next).finish()?;
        let sha256 = sha256_hex(&gz);
        self.files.push(RenderedFile { gz, rows: std::mem::take(&mut self.rows), sha256 });
        self.consumed = 0;
        Ok(())
    }
}
