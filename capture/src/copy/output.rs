//! A table's rows as files on S3: cut at one size, written on the cores there are, each uploaded as soon as it is ready.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use re_dms_shared::manifest::{DataFile, Load, copy_manifest_json};
use re_dms_shared::s3_layout::CopyLayout;
use re_dms_shared::status::CopyStatus;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument as _;

use crate::aws::Objects;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::metrics::{count_load, upload};
use crate::progress::{Progress, Snapshot};
use crate::rows::{Codec, FileSummary, HashedColumns, LoadContext, render_copied};
use crate::stage::load;
use crate::threads;

/// The copy's part of `batch.max_memory`; the stream's own parts get the rest while it goes on.
pub(crate) const MEMORY_SHARE: usize = 4;

/// What all tables' files have in common.
pub(crate) struct Files {
    pub(super) objects: Objects,
    pub(super) layout: CopyLayout,
    pub(super) attempt: String,
    pub(super) progress: Arc<Progress>,
    codec: Codec,
    /// Text of PostgreSQL's in a file, about.
    pub(super) file_bytes: usize,
    /// Files that are being written or uploaded.
    permits: Arc<Semaphore>,
    account: Account,
}

/// What the tables are read for, and so where the progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The initial copy.
    Copy,
    /// Tables that are read anew.
    Resync,
}

impl Account {
    /// How far it is, if it goes on.
    pub(super) fn of(self, state: &mut Snapshot) -> &mut Option<CopyStatus> {
        match self {
            Account::Copy => &mut state.copy,
            Account::Resync => &mut state.resync,
        }
    }
}

impl Files {
    pub(crate) fn new(
        config: &Config,
        objects: Objects,
        layout: CopyLayout,
        attempt: String,
        (progress, account): (Arc<Progress>, Account),
    ) -> Self {
        let (workers, codec) = (config.copy.workers, config.batch.codec);
        let memory = config.batch.max_memory;
        let share = memory.bytes() - memory.without(MEMORY_SHARE).bytes();
        let file_bytes = file_bytes(workers, share).min(config.batch.max_file_bytes.bytes());
        let permits = Arc::new(Semaphore::new(workers + 1));
        Self { objects, layout, attempt, progress, codec, file_bytes, permits, account }
    }
}

impl Files {
    pub(super) fn account(&self) -> Account {
        self.account
    }
}

/// A file that is being read is there once for each worker; one that is being written three times at most: what was
/// read, its text, and that compressed. One more of the latter is under way than there are workers.
fn file_bytes(workers: usize, memory: usize) -> usize {
    (memory / (workers + 3 * (workers + 1))).max(64 << 10)
}

/// Where a table's rows go.
pub(super) struct Output {
    oid: u32,
    context: Arc<LoadContext>,
    hashed: Option<Arc<HashedColumns>>,
    /// What does not fill a file yet.
    rest: Mutex<Vec<u8>>,
    last_number: AtomicU32,
    rows: Arc<AtomicU64>,
    uploads: Mutex<JoinSet<Result<Staged>>>,
    staged: Mutex<Vec<Staged>>,
}

/// A file on S3.
struct Staged {
    file: DataFile,
    summary: FileSummary,
}

impl Output {
    pub(super) fn new(oid: u32, context: LoadContext, hashed: Option<HashedColumns>) -> Self {
        Self {
            oid,
            context: Arc::new(context),
            hashed: hashed.map(Arc::new),
            rest: Mutex::default(),
            last_number: AtomicU32::new(0),
            rows: Arc::default(),
            uploads: Mutex::default(),
            staged: Mutex::default(),
        }
    }

    /// Rows on S3.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Makes a file of these rows. Waits while too many are under way: that bounds memory.
    ///
    /// # Errors
    /// If an earlier one failed.
    pub(super) async fn write(&self, files: &Arc<Files>, lines: Vec<u8>) -> Result<()> {
        {
            let mut uploads = lock(&self.uploads);
            while let Some(ended) = uploads.try_join_next() {
                lock(&self.staged).push(done(ended)?);
            }
        }
        // Never closed.
        let permit = Arc::clone(&files.permits).acquire_owned().await;
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let (context, hashed) = (Arc::clone(&self.context), self.hashed.clone());
        let (files, oid, rows) = (Arc::clone(files), self.oid, Arc::clone(&self.rows));
        let staged = async move {
            let staged = stage(&files, oid, number, lines, &context, hashed).await;
            drop(permit);
            if let Ok(staged) = &staged {
                rows.fetch_add(staged.file.rows, Ordering::Relaxed);
            }
            staged
        };
        lock(&self.uploads).spawn(staged.in_current_span());
        Ok(())
    }

    /// Rows that are less than a file: they wait for others.
    pub(super) async fn write_rest(&self, files: &Arc<Files>, lines: Vec<u8>) -> Result<()> {
        let full = {
            let mut rest = lock(&self.rest);
            rest.extend_from_slice(&lines);
            if rest.len() < files.file_bytes { None } else { Some(std::mem::take(&mut *rest)) }
        };
        match full {
            Some(lines) => self.write(files, lines).await,
            None => Ok(()),
        }
    }

    /// Waits for all files, and says what they are.
    pub(super) async fn finish(&self, files: &Arc<Files>) -> Result<Load> {
        let rest = std::mem::take(&mut *lock(&self.rest));
        if !rest.is_empty() {
            self.write(files, rest).await?;
        }
        let mut uploads = std::mem::take(&mut *lock(&self.uploads));
        let mut staged = std::mem::take(&mut *lock(&self.staged));
        while let Some(ended) = uploads.join_next().await {
            staged.push(done(ended)?);
        }
        staged.sort_by(|a, b| a.file.key.cmp(&b.file.key));
        let table = self.context.shape().source_name();
        let (data, summaries): (Vec<_>, Vec<_>) =
            staged.into_iter().map(|staged| (staged.file, staged.summary)).unzip();
        let copy_manifest = files.layout.copy_manifest((self.oid, &table), &files.attempt);
        let json = Bytes::from(copy_manifest_json(files.objects.bucket(), &data));
        upload(&files.progress, || files.objects.put(&copy_manifest, json.clone())).await?;
        let load = load(&self.context, copy_manifest, (data, summaries), files.codec);
        count_load(files.progress.counted(), &table, &load);
        Ok(load)
    }
}

async fn stage(
    files: &Files,
    oid: u32,
    number: u32,
    lines: Vec<u8>,
    context: &Arc<LoadContext>,
    hashed: Option<Arc<HashedColumns>>,
) -> Result<Staged> {
    let table = context.shape().source_name();
    let (context, codec) = (Arc::clone(context), files.codec);
    let rendered =
        threads::low_priority(move || render_copied(&lines, &context, hashed.as_deref(), codec)).await?;
    let rendered = rendered.map_err(|error| Error::told(Who::Stream, false, &error))?;
    let key = files.layout.data((oid, &table), number, &files.attempt, codec.compression());
    let body = Bytes::from(rendered.bytes);
    upload(&files.progress, || files.objects.put(&key, body.clone())).await?;
    let (rows, bytes) = (rendered.summary.rows.total(), body.len() as u64);
    files.progress.update(|state| {
        state.rows_written += rows;
        state.bytes_written += bytes;
        if let Some(copy) = files.account.of(state) {
            copy.rows += rows;
        }
    });
    let file = DataFile { key, rows, bytes, sha256: rendered.sha256 };
    Ok(Staged { file, summary: rendered.summary })
}

fn done(ended: Result<Result<Staged>, JoinError>) -> Result<Staged> {
    ended.map_err(|error| broken(&error))?
}

fn broken(error: &JoinError) -> Error {
    Error::fatal(Who::Machine, format!("writing a file broke off: {error}"), "report this as a bug")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_small_against_their_share_of_memory() {
        for workers in 1..=32 {
            let memory = 64 << 20;
            let taken = file_bytes(workers, memory) * (workers + 3 * (workers + 1));
            assert!(taken <= memory && taken > memory / 2, "{workers} workers take {taken}");
        }
    }
}
