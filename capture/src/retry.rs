//! Trying again: what may pass by itself is repeated with growing pauses for as long as it takes.

use std::future::Future;
use std::time::Duration;

use crate::error::Result;
use crate::progress::Progress;

/// Pauses that grow from half a second to half a minute, with jitter so that many captures don't knock together.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    /// Begins with the shortest pause.
    #[must_use]
    pub fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::random_range(0.75..1.25));
        self.next = (self.next * 2).min(Self::LONGEST);
        pause
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// Repeats `attempt` until it succeeds or fails for good. Failures show in the progress while they last; each is logged
/// once, where it is waited out.
///
/// # Errors
/// The first failure that is not worth repeating.
pub async fn until_done<T, F, A>(progress: &Progress, mut attempt: A) -> Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let mut backoff = Backoff::new();
    let mut failed = None;
    loop {
        match attempt().await {
            Ok(value) => {
                if let Some(who) = failed {
                    progress.succeeded(who);
                }
                return Ok(value);
            }
            Err(error) if error.retry => {
                let pause = backoff.pause();
                tracing::warn!(%error, retry_in_ms = pause.as_millis(), "will be tried again");
                progress.failing(error.who, error.to_string());
                failed = Some(error.who);
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
    }
}
