//! When the capture calls itself stalled.

use std::time::Duration;

use super::reader::Reader;
use super::units;

/// When the capture calls itself stalled.
#[derive(Clone, Debug)]
pub struct WatchdogConfig {
    /// A part that does nothing for so long though nobody holds it up hangs.
    pub patience: Duration,
}

impl WatchdogConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { patience: reader.or_default("watchdog.patience", units::duration, Duration::from_secs(120)) }
    }
}
