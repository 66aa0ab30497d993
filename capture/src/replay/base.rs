//! What a replay begins with.

use re_dms_shared::manifest::CopiedTables;

use super::Request;
use crate::error::Result;
use crate::segments::Archive;

/// What is there before the first segment that is replayed.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// Nothing: the history is replayed from its first segment, which is the initial copy's if there was one.
    Beginning(Option<CopiedTables>),
    /// What the target holds already: the state at the end of this segment.
    Given(u64),
}

impl Base {
    pub(super) async fn find(archive: &Archive, request: &Request) -> Result<Self> {
        if request.from.is_some() {
            let first = super::Survey::first_with(archive, request).await?;
            return Ok(Base::Given(first.saturating_sub(1)));
        }
        Ok(Base::Beginning(archive.copied().await?))
    }

    /// Segments up to this one are not needed.
    pub(super) fn seq(&self) -> u64 {
        match self {
            Base::Beginning(_) => 0,
            Base::Given(seq) => *seq,
        }
    }

    pub(super) fn copied(&self) -> Option<CopiedTables> {
        match self {
            Base::Beginning(copied) => copied.clone(),
            Base::Given(_) => None,
        }
    }
}
