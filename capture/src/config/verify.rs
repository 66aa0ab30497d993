//! Comparing both sides.

use std::time::Duration;

use super::reader::Reader;
use super::units;

/// How both sides are compared.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// How often it is done by itself; never if none.
    pub interval: Option<Duration>,
    /// Per cent of the rows that are looked at then, about.
    pub sample: u8,
    /// How long the stream may be held while a snapshot is taken.
    pub max_hold: Duration,
}

impl VerifyConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            interval: reader.optional("verify.interval", interval),
            sample: reader.or_default("verify.sample", percent, 100),
            max_hold: reader.or_default("verify.max_hold", hold, Duration::from_secs(5)),
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text)?;
    if interval < Duration::from_secs(1) { Err("must be a second or more".into()) } else { Ok(interval) }
}

fn percent(text: &str) -> Result<u8, String> {
    let percent = text.parse().ok().filter(|percent| (1..=100).contains(percent));
    percent.ok_or_else(|| "must be a number from 1 to 100".into())
}

fn hold(text: &str) -> Result<Duration, String> {
    let hold = units::duration(text)?;
    if hold > Duration::from_secs(60) { Err("must be a minute or less".into()) } else { Ok(hold) }
}
