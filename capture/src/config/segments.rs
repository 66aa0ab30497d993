//! How long segments are kept.

use std::time::Duration;

use super::reader::Reader;
use super::units;

/// How long segments are kept.
#[derive(Clone, Debug)]
pub struct SegmentsConfig {
    /// How far back replays must be able to go; for ever if none.
    pub retention: Option<Duration>,
}

impl SegmentsConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { retention: reader.optional("segments.retention", units::duration) }
    }
}
