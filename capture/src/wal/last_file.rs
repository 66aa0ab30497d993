//! What the writer does to the file that it appends to. A trait, so that a test can make a disk fail where a real one does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::WalError;
use super::folder;

/// The last file of the local WAL.
pub(super) trait LastFile: Send {
    /// Writes all of `bytes`; on failure any part of them may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Takes away what lies behind `end`, from the file and from the kernel's memory of it.
    fn cut(&self, end: u64) -> io::Result<()>;

    /// Makes the file's contents durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes the file after this one: see [`folder::create`].
    fn next(&self, folder: &Path, number: u64, epoch: &str) -> Result<(Box<dyn LastFile>, u64), WalError>;
}

impl LastFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn cut(&self, end: u64) -> io::Result<()> {
        self.set_len(end)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn next(&self, folder: &Path, number: u64, epoch: &str) -> Result<(Box<dyn LastFile>, u64), WalError> {
        let (file, size) = folder::create(folder, number, epoch)?;
        Ok((Box::new(file), size))
    }
}
