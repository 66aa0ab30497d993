//! How long an invocation may still wait: what is not done by then is handed to the next one.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Kept free at the end for saying where things stand.
const MARGIN: Duration = Duration::from_secs(3);

/// The longest single wait: the Data API takes up to 30 s, connections in between may be cut earlier.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Pauses are so much shorter in unit tests, which run thousands of them.
const PACE: u32 = if cfg!(test) { 100 } else { 1 };

/// When the invocation ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// From the clock time at which the invocation is ended by force.
    #[must_use]
    pub fn at(end: SystemTime) -> Self {
        Self::after(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self { at: Instant::now() + time }
    }

    /// This one, or the one that leaves `patience` for waits, whichever comes first.
    #[must_use]
    pub fn no_later_than(&self, patience: Duration) -> Self {
        Self { at: self.at.min(Instant::now() + patience + MARGIN) }
    }

    /// What is left of the invocation.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// How long the next wait may take, in whole seconds; none if there is no time for one.
    #[must_use]
    pub fn next_wait(&self) -> Option<Duration> {
        let free = self.at.saturating_duration_since(Instant::now()).checked_sub(MARGIN)?;
        let wait = Duration::from_secs(free.min(LONGEST_WAIT).as_secs());
        (!wait.is_zero()).then_some(wait)
    }

    /// Sleeps, if there is time for it.
    pub async fn sleep(&self, time: Duration) -> bool {
        let fits = Instant::now() + time + MARGIN < self.at;
        if fits {
            tokio::time::sleep(time / PACE).await;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_end_before_the_invocation_does() {
        assert_eq!(Deadline::after(Duration::from_secs(300)).next_wait(), Some(LONGEST_WAIT));
        assert_eq!(Deadline::after(Duration::from_millis(8_500)).next_wait(), Some(Duration::from_secs(5)));
        assert_eq!(Deadline::after(Duration::from_millis(3_900)).next_wait(), None);
        assert_eq!(Deadline::at(SystemTime::UNIX_EPOCH).next_wait(), None);
        let patient = Deadline::after(Duration::from_secs(300)).no_later_than(Duration::from_millis(2_500));
        assert_eq!(patient.next_wait(), Some(Duration::from_secs(2)));
        assert!(!Deadline::after(Duration::from_secs(4)).sleep(Duration::from_secs(2)).await);
    }
}
