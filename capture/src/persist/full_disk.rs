//! A full disk is waited out. What was appended is kept and written once there is room; meanwhile nothing more is taken,
//! so that PostgreSQL is not read from, and hears from us all the same. What is durable already goes on to S3 and to
//! Redshift, which lets files go: often that is the room.
//!
//! Only a lack of room is waited out. After any other failure of a write or an fdatasync nobody knows what is on the disk:
//! the process ends, and the next start reads what is there ([ADR 10](../../../docs/adr/0010-a-full-disk-is-waited-out.md)).

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Arrival, Persister, disk};
use crate::error::{Error, Result, Who};
use crate::wal::WalError;

/// How often it is looked whether there is room.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the log says again that there is none.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// All that was appended is durable.
    Durable,
    /// There was no room up to the end of the process. PostgreSQL sends again what was appended.
    Stopped,
}

impl Persister {
    /// Makes durable what was appended, however long the disk is full before.
    pub(super) fn sync(&mut self, arrivals: &mpsc::Receiver<Arrival>) -> Result<Synced> {
        let mut since = None;
        let mut told_at: Option<Instant> = None;
        loop {
            let error = match self.wal.sync() {
                Ok(_) => break,
                Err(error @ WalError::DiskFull { .. }) => told(&error),
                Err(error) => return Err(disk(&error)),
            };
            since.get_or_insert_with(Instant::now);
            self.progress.update(|state| state.disk_full = true);
            if told_at.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                tracing::error!(%error, "no more changes are taken until there is room");
                told_at = Some(Instant::now());
            }
            self.progress.failing(Who::Machine, error.to_string());
            if arrivals.is_closed() {
                return Ok(Synced::Stopped);
            }
            thread::sleep(LOOK_EVERY);
            self.forget()?;
        }
        if let Some(since) = since {
            self.progress.update(|state| state.disk_full = false);
            self.progress.succeeded(Who::Machine);
            tracing::info!(waited_ms = since.elapsed().as_millis(), "there is room on the disk again");
        }
        Ok(Synced::Durable)
    }
}

fn told(error: &WalError) -> Error {
    Error::told(Who::Machine, true, error)
}
