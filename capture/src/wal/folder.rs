//! The folder: its files' names, its lock, and making its entries durable.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::error::WalError;
use super::file::FileReader;
use super::format::file_header;

/// The name of the file that the writer locks.
const LOCK: &str = "lock";
/// The end of the name of a file whose header is not durable yet.
const UNFINISHED: &str = "new";

/// A file's path.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.wal"))
}

/// The numbers of the files that are there, ascending and without gaps.
pub(super) fn numbers(folder: &Path) -> Result<Vec<u64>, WalError> {
    let failed = || WalError::io("reading", folder);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        let digits =
            name.to_str().and_then(|name| name.strip_suffix(".wal")).filter(|digits| digits.len() == 16);
        numbers.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }
    numbers.sort_unstable();
    match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        Some(pair) => Err(WalError::Missing { path: path(folder, pair[0] + 1) }),
        None => Ok(numbers),
    }
}

/// The epoch of the files in `folder`, if it holds any: what [`LocalWal::open`](super::LocalWal::open) will insist on.
///
/// # Errors
/// If they can't be read.
pub fn stored_epoch(folder: &Path) -> Result<Option<String>, WalError> {
    if !folder.exists() {
        return Ok(None);
    }
    let Some(&first) = numbers(folder)?.first() else { return Ok(None) };
    Ok(Some(FileReader::open(&path(folder, first), first)?.1))
}

/// Makes the folder if need be, and locks it for as long as the result lives.
pub(super) fn lock(folder: &Path) -> Result<File, WalError> {
    fs::create_dir_all(folder).map_err(WalError::io("making the folder", folder))?;
    let path = folder.join(LOCK);
    let failed = |action| WalError::io(action, &path);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed("opening"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.is_empty();
            let holder = if known { format!(" (process {})", holder.trim()) } else { String::new() };
            return Err(WalError::Locked { folder: folder.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed("locking")(error)),
    }
    // Only for people to read: the lock itself goes with the process, and holds on a full disk as well.
    let named = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = named {
        tracing::debug!(path = %path.display(), %error, "the lock does not name its process");
    }
    Ok(file)
}

/// Locks a folder that is there; none if it is not.
///
/// # Errors
/// If somebody else has it locked, or it can't be written to.
pub fn lock_if_there(folder: &Path) -> Result<Option<File>, WalError> {
    if folder.is_dir() { lock(folder).map(Some) } else { Ok(None) }
}

/// Removes the local WAL's files, and the folder if nothing else is in it; says how many files of the log it was. Whoever calls
/// this holds the lock.
///
/// # Errors
/// If they can't be removed.
pub fn remove_files(folder: &Path) -> Result<u64, WalError> {
    remove_unfinished(folder)?;
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(WalError::io("reading", folder))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            fs::remove_file(&path).map_err(WalError::io("removing", &path))?;
            removed += 1;
        }
    }
    let lock = folder.join(LOCK);
    fs::remove_file(&lock).map_err(WalError::io("removing", &lock))?;
    // What somebody else put there stays, and so does the folder.
    let _ = fs::remove_dir(folder);
    Ok(removed)
}

/// Makes a file that holds only its header; both it and its name are durable when this returns. Returns its size, too.
pub(super) fn create(folder: &Path, number: u64, epoch: &str) -> Result<(File, u64), WalError> {
    let path = path(folder, number);
    let unfinished = path.with_extension(UNFINISHED);
    let header = file_header(number, epoch);
    let written = (|| {
        let mut file = File::options().create(true).truncate(true).write(true).open(&unfinished)?;
        file.write_all(&header)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        Ok(file)
    })();
    let file = written.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        WalError::io("creating", &path)(error)
    })?;
    sync(folder)?;
    Ok((file, header.len() as u64))
}

/// Removes what a crash while a file was made left behind.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), WalError> {
    for entry in fs::read_dir(folder).map_err(WalError::io("reading", folder))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(&path).map_err(WalError::io("removing", &path))?;
        }
    }
    Ok(())
}

/// What is left on the folder's disk for us; none if it does not say. A quota may leave less.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes the folder's entries durable.
pub(super) fn sync(folder: &Path) -> Result<(), WalError> {
    let synced = File::open(folder).and_then(|opened| opened.sync_all());
    synced.map_err(WalError::io("fsync of", folder))
}
