//! What a replay begins with.

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use re_dms_shared::manifest::{CopiedTables, Manifest};

use super::survey::End;
use super::{Request, Survey};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::segments::{Archive, TablePick};

/// What is there before the first segment that is replayed.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    start: Start,
    /// The initial copy's tables: segments that were staged beside it have steps that it holds already.
    copied: Option<CopiedTables>,
}

#[derive(Clone, Debug)]
enum Start {
    /// The state at this segment's end; 0 for nothing: what comes first then is the initial copy, if there was one.
    Given(u64),
    /// What was merged.
    Checkpoint(Box<Checkpoint>),
}

impl Base {
    /// What the request says, or the newest that may be used.
    pub(crate) async fn find(archive: &Archive, request: &Request, to: Option<u64>) -> Result<Self> {
        let start = if request.from.is_some() {
            Start::Given(Survey::first_with(archive, request).await?.saturating_sub(1))
        } else {
            let checkpoint = Checkpoint::newest(archive, to.unwrap_or(u64::MAX), &request.tables).await?;
            checkpoint.map_or(Start::Given(0), |found| Start::Checkpoint(Box::new(found)))
        };
        Ok(Self { start, copied: archive.copied().await? })
    }

    /// For a warehouse whose ledger lacks segments from `missing` on.
    pub(super) async fn in_place(archive: &Archive, missing: u64, to: u64) -> Result<Self> {
        // What was merged goes into an empty one alone.
        let checkpoint = match missing {
            1 => Checkpoint::newest(archive, to, &TablePick::default()).await?,
            _ => None,
        };
        let start = match checkpoint {
            Some(found) => Start::Checkpoint(Box::new(found)),
            None => Start::Given(missing.saturating_sub(1)),
        };
        // Which steps an initial copy holds already is looked at by the loader.
        Ok(Self { start, copied: None })
    }

    /// The checkpoint, if it is one.
    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.start {
            Start::Given(_) => None,
            Start::Checkpoint(checkpoint) => Some(checkpoint),
        }
    }

    /// Segments up to this one are not needed.
    pub(crate) fn seq(&self) -> u64 {
        match &self.start {
            Start::Given(seq) => *seq,
            Start::Checkpoint(checkpoint) => checkpoint.seq,
        }
    }

    pub(super) fn copied(&self) -> Option<&CopiedTables> {
        self.copied.as_ref()
    }

    /// Where a checkpoint ends.
    pub(super) fn end(&self) -> Option<End> {
        match &self.start {
            Start::Given(_) => None,
            Start::Checkpoint(found) => Some(End {
                seq: found.seq,
                sha256: found.manifest_sha256.clone(),
                lsn: found.end_lsn,
                committed_at: found.last_commit_time,
            }),
        }
    }

    /// As if they were an initial copy's.
    pub(super) fn images(&self) -> Vec<Manifest> {
        match &self.start {
            Start::Given(_) => Vec::new(),
            Start::Checkpoint(checkpoint) => checkpoint.manifests().collect(),
        }
    }

    /// All that is replayed, in order.
    pub(crate) fn origins<'a>(
        &self,
        archive: &'a Archive,
        first: u64,
    ) -> impl Stream<Item = Result<Manifest>> + use<'a> {
        let segments = archive.segments(first).map_ok(|stored| stored.manifest);
        stream::iter(self.images().into_iter().map(Ok)).chain(segments)
    }
}
