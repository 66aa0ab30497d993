//! What a replay begins with.

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use re_dms_shared::manifest::{CopiedTables, Manifest};

use super::{Request, Survey};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::segments::{Archive, Point};

/// What is there before the first segment that is replayed.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// Nothing: the history is replayed from its first segment, which is the initial copy's if there was one.
    Beginning(Option<CopiedTables>),
    /// What was merged.
    Checkpoint(Box<Checkpoint>),
    /// What the target holds already: the state at the end of this segment.
    Given(u64),
}

impl Base {
    /// The newest that may be used.
    pub(crate) async fn find(archive: &Archive, request: &Request) -> Result<Self> {
        if request.from.is_some() {
            let first = Survey::first_with(archive, request).await?;
            return Ok(Base::Given(first.saturating_sub(1)));
        }
        let to = match request.to {
            None => u64::MAX,
            Some(Point::Segment(seq)) => seq,
            Some(Point::Time(_)) => Survey::last_before(archive, request).await?,
        };
        match Checkpoint::newest(archive, to, &request.tables).await? {
            Some(checkpoint) => Ok(Base::Checkpoint(Box::new(checkpoint))),
            None => Ok(Base::Beginning(archive.copied().await?)),
        }
    }

    /// Segments up to this one are not needed.
    pub(crate) fn seq(&self) -> u64 {
        match self {
            Base::Beginning(_) => 0,
            Base::Checkpoint(checkpoint) => checkpoint.seq,
            Base::Given(seq) => *seq,
        }
    }

    /// Whose steps are to be left out, where segments were staged beside the initial copy.
    pub(super) fn copied(&self) -> Option<CopiedTables> {
        match self {
            Base::Beginning(copied) => copied.clone(),
            // Behind every snapshot.
            Base::Checkpoint(_) | Base::Given(_) => None,
        }
    }

    /// As if they were an initial copy's.
    pub(super) fn images(&self) -> Vec<Manifest> {
        match self {
            Base::Checkpoint(checkpoint) => checkpoint.manifests().collect(),
            Base::Beginning(_) | Base::Given(_) => Vec::new(),
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
