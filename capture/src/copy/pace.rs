//! The rate limit: whoever has read something waits until that much may have been read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all who read.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    /// When what was read so far may have been read.
    due: Mutex<Instant>,
}

/// A pause shorter than this is saved up.
const WORTH_A_PAUSE: Duration = Duration::from_millis(5);

impl Pace {
    /// No limit if none is given.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, due: Mutex::new(Instant::now()) }
    }

    /// Waits for as long as reading so many bytes should have taken.
    pub(crate) async fn took(&self, bytes: usize) {
        let pause = self.pause(bytes, Instant::now());
        if pause > WORTH_A_PAUSE {
            tokio::time::sleep(pause).await;
        }
    }

    fn pause(&self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used while nobody read is not saved up.
        *due = (*due).max(now) + Duration::from_secs(1).mul_f64(bytes as f64 / rate as f64);
        *due - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_readers_share_the_rate_and_idle_time_is_not_saved_up() {
        let pace = Pace::new(Some(1000));
        let now = Instant::now() + Duration::from_secs(100);
        assert_eq!(pace.pause(500, now), Duration::from_millis(500));
        assert_eq!(pace.pause(500, now), Duration::from_secs(1));
        assert_eq!(pace.pause(100, now + Duration::from_secs(9)), Duration::from_millis(100));
        assert_eq!(Pace::new(None).pause(1 << 40, now), Duration::ZERO);
    }
}
