//! A second connection to the source, beside the stream: how much WAL does the slot retain, and is the server stopping?
//!
//! It is a replication connection that never streams. Such a one does not keep a server from its smart shutdown, and a
//! fast one ends it at once, also while the stream itself can't be read: that is how a shutdown is noticed then.

mod retained;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::Config;
use crate::progress::Progress;
use crate::receive;
use crate::replication::{Failure, ReplicationClient, ReplicationError, ServerError};
use crate::retry::Backoff;
use retained::{Limits, Retained};

/// How often the slot is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that the source is left alone when it does not let us in.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the connection says about the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// There is none, or it has not been asked yet.
    #[default]
    Unknown,
    /// It answers, and is not about to stop.
    Up,
    /// It is stopping, or coming up again.
    Stopping,
}

/// Watches over the slot for as long as the process runs.
#[derive(Debug)]
pub struct SlotWatch {
    config: Arc<Config>,
    progress: Arc<Progress>,
    server: watch::Sender<Server>,
}

impl SlotWatch {
    /// The watch, and what it says about the server.
    #[must_use]
    pub fn new(config: Arc<Config>, progress: Arc<Progress>) -> (Self, watch::Receiver<Server>) {
        let (server, heard) = watch::channel(Server::Unknown);
        (Self { config, progress, server }, heard)
    }

    /// Never ends. What it can't find out it tries again: the stream's own connection says what is wrong.
    pub async fn run(self) {
        let mut backoff = Backoff::new();
        let mut told = false;
        loop {
            match self.connect().await {
                Ok(mut client) => {
                    let since = Instant::now();
                    self.server.send_replace(Server::Up);
                    let error = self.look_on(&mut client).await;
                    tracing::debug!(%error, "the connection that watches the slot ended");
                    self.server.send_replace(Server::Unknown);
                    if since.elapsed() > LONGEST_PAUSE {
                        backoff = Backoff::new();
                        // At once again: the answer tells a server that stops from one that ended only this connection.
                        continue;
                    }
                }
                Err(error) => {
                    let failure = error.server().map(ServerError::failure);
                    let stopping = failure == Some(Failure::Shutdown);
                    self.server.send_replace(if stopping { Server::Stopping } else { Server::Unknown });
                    // Everything else keeps the stream from running as well, and is told there.
                    if failure == Some(Failure::Limit) && !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the WAL that the slot retains is not watched: it takes a second sender");
                    }
                    tracing::debug!(%error, "the slot can't be watched");
                }
            }
            tokio::time::sleep(backoff.pause().min(LONGEST_PAUSE)).await;
        }
    }

    async fn connect(&self) -> Result<ReplicationClient, ReplicationError> {
        ReplicationClient::connect(&receive::connect_params(&self.config).await?).await
    }

    async fn look_on(&self, client: &mut ReplicationClient) -> ReplicationError {
        let sql = retained::query(&self.config.slot.name);
        let limits = Limits::new(&self.config.slot);
        loop {
            match client.simple_query(&sql).await {
                Ok(rows) => {
                    if let Some(retained) = rows.first().and_then(|row| Retained::parse(row)) {
                        self.publish(&limits, &retained);
                    }
                }
                Err(error) => return error,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                error = client.ended() => return error,
            }
        }
    }

    fn publish(&self, limits: &Limits, retained: &Retained) {
        let before = self.progress.now();
        let judged = limits.judge(retained, before.loaded, before.policy);
        match (&before.warning, &judged.warning) {
            (None, Some(warning)) => tracing::warn!(slot = %self.config.slot.name, "{warning}"),
            (Some(_), None) => {
                tracing::info!(slot = %self.config.slot.name, "the slot retains no more WAL than it may");
            }
            _ => {}
        }
        if judged.policy != before.policy {
            tracing::warn!(
                slot = %self.config.slot.name, retained_bytes = retained.bytes(),
                "the slot follows what is {} now, and not what is {}", judged.policy, before.policy
            );
        }
        self.progress.update(|state| {
            state.retained_bytes = Some(retained.bytes());
            state.server_wal_end = state.server_wal_end.max(retained.wal_end);
            state.warning = judged.warning;
            state.policy = judged.policy;
        });
    }
}
