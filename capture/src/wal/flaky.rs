//! A disk that does what a test tells it: it fills up, or its fdatasync fails.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::error::WalError;
use super::last_file::LastFile;
use super::log::LocalWal;

/// What the disk does next; shared with the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Bytes that still fit in one write; without it all do.
    room: Option<usize>,
    /// How the next fdatasync fails.
    sync_failure: Option<io::ErrorKind>,
}

struct Flaky {
    inner: Box<dyn LastFile>,
    disk: Disk,
}

impl Disk {
    /// Puts itself under a log.
    pub(crate) fn under(self, wal: &mut LocalWal) {
        wal.exchange_file(|inner| Box::new(Flaky { inner, disk: self }));
    }

    /// Of the next write only this much fits.
    pub(crate) fn leave(&self, bytes: usize) {
        self.0.lock().unwrap().room = Some(bytes);
    }

    pub(crate) fn make_room(&self) {
        self.0.lock().unwrap().room = None;
    }

    pub(crate) fn fail_next_sync(&self, kind: io::ErrorKind) {
        self.0.lock().unwrap().sync_failure = Some(kind);
    }

    fn room(&self) -> usize {
        self.0.lock().unwrap().room.unwrap_or(usize::MAX)
    }
}

impl LastFile for Flaky {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fits = self.disk.room().min(bytes.len());
        self.inner.write_at(&bytes[..fits], offset)?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&self, end: u64) -> io::Result<()> {
        self.inner.cut(end)
    }

    fn sync(&self) -> io::Result<()> {
        match self.disk.0.lock().unwrap().sync_failure.take() {
            Some(kind) => Err(kind.into()),
            None => self.inner.sync(),
        }
    }

    fn next(&self, folder: &Path, number: u64, epoch: &str) -> Result<(Box<dyn LastFile>, u64), WalError> {
        if self.disk.room() < 4096 {
            return Err(WalError::io("creating", folder)(io::ErrorKind::StorageFull.into()));
        }
        let (inner, size) = self.inner.next(folder, number, epoch)?;
        Ok((Box::new(Flaky { inner, disk: self.disk.clone() }), size))
    }
}
