//! Comparing both sides.

use std::time::Duration;

use super::reader::Reader;
use super::units;

/// How both sides are compared.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// How long the stream may be held while a snapshot is taken.
    pub max_hold: Duration,
}

impl VerifyConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { max_hold: reader.or_default("verify.max_hold", units::duration, Duration::from_secs(5)) }
    }
}
