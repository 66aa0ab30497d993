//! One round of the initial copy: its tables become segments.

use std::sync::Arc;

use re_dms_shared::Lsn;
use re_dms_shared::manifest::Load;
use tokio::sync::{Mutex, watch};

use super::output::{Account, Files};
use super::reader::{Finished, Reading};
use super::round::{Round, RoundTable};
use super::segments::Segments;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::progress::Progress;
use crate::retry::Backoff;
use crate::source::Source;

/// One round of the copy.
pub struct Copier {
    config: Arc<Config>,
    reading: Reading,
    numbered: Numbered,
    progress: Arc<Progress>,
}

/// Gives each table that was read the next number.
struct Numbered {
    segments: Mutex<Segments>,
    snapshot: Lsn,
    shapes: String,
}

impl Finished for Numbered {
    async fn finished(&self, table: &RoundTable, load: Option<Load>) -> Result<()> {
        self.segments.lock().await.add(table, self.snapshot, &self.shapes, load).await
    }
}

impl Copier {
    /// Will copy what is left into these segments.
    #[must_use]
    pub fn new(config: Arc<Config>, round: Round, segments: Segments) -> Self {
        let progress = Arc::clone(&segments.progress);
        let identity = &segments.identity;
        let files = Files::new(
            &config,
            segments.objects.clone(),
            segments.layout.copy(&identity.epoch),
            identity.attempt.clone(),
            (Arc::clone(&progress), Account::Copy),
        );
        let done = (segments.state.done.len() as u64, segments.state.segments());
        let Round { snapshot, shapes, readers, tables } = round;
        Self {
            reading: Reading::new(Arc::clone(&config), readers, tables, files, done),
            numbered: Numbered { segments: Mutex::new(segments), snapshot, shapes },
            config,
            progress,
        }
    }

    /// Copies until nothing is left, and ends when told to stop.
    ///
    /// # Errors
    /// Most of them say that the stream is to be started over: what is left is read under a new snapshot.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let copied = tokio::select! {
            copied = self.reading.read_all(&self.numbered) => copied,
            _ = stop.wait_for(|&stop| stop) => return Ok(()),
        };
        match copied {
            Ok(0) => {
                tracing::info!("the initial copy is done");
                self.progress.update(|state| state.copy = None);
                drop(self);
                let _ = stop.wait_for(|&stop| stop).await;
                Ok(())
            }
            Ok(tables) => Err(Error::passing(
                Who::Source,
                format!("{tables} tables were changed between the snapshot of their copy and its turn"),
                "they are read under a new one",
            )
            .starting_over()),
            Err(error) if error.retry => {
                tracing::warn!(%error, "the copy is interrupted: what is left of it is read under a new snapshot");
                self.progress.failing(error.who, error.to_string());
                tokio::select! {
                    () = self.reachable() => Err(error.starting_over()),
                    _ = stop.wait_for(|&stop| stop) => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until the source lets us in.
    async fn reachable(&self) {
        let mut backoff = Backoff::new();
        loop {
            tokio::time::sleep(backoff.pause()).await;
            if Source::connect(&self.config.source).await.is_ok() {
                return;
            }
        }
    }
}
