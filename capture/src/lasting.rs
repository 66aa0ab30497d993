//! Failures that are tried again are errors once they last: then they are logged as such, once, and so reported.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::Who;
use crate::progress::Snapshot;

/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Watches for as long as the process runs.
pub(crate) async fn watch(progress: watch::Receiver<Snapshot>, lasting: Duration) {
    let mut failures = Failures::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = progress.borrow().failures.clone();
        for (who, text) in failures.lasting(&now, Instant::now(), lasting) {
            tracing::error!(%who, error = text, lasting_s = lasting.as_secs(), "fails for long, and is still tried again");
        }
    }
}

/// Since when each of them lasts, and whether that was told.
#[derive(Debug, Default)]
struct Failures(Vec<(Who, Instant, bool)>);

impl Failures {
    /// Those that have just lasted long enough.
    fn lasting<'a>(
        &mut self,
        now: &'a [(Who, String)],
        at: Instant,
        lasting: Duration,
    ) -> Vec<(Who, &'a str)> {
        self.0.retain(|(who, ..)| now.iter().any(|(failing, _)| failing == who));
        let mut long = Vec::new();
        for (who, text) in now {
            match self.0.iter_mut().find(|(known, ..)| known == who) {
                None => self.0.push((*who, at, false)),
                Some((_, since, told)) if !*told && at.duration_since(*since) >= lasting => {
                    *told = true;
                    long.push((*who, text.as_str()));
                }
                Some(_) => {}
            }
        }
        long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_when_it_has_lasted_and_again_after_it_was_over() {
        let mut failures = Failures::default();
        let begin = Instant::now();
        let lasting = Duration::from_secs(300);
        let at = |seconds| begin + Duration::from_secs(seconds);
        let storage = [(Who::Storage, "away".to_owned())];
        let both = [(Who::Storage, "still away".to_owned()), (Who::Queue, "away".to_owned())];
        assert!(failures.lasting(&storage, at(0), lasting).is_empty());
        assert!(failures.lasting(&both, at(299), lasting).is_empty());
        assert_eq!(failures.lasting(&both, at(300), lasting), [(Who::Storage, "still away")]);
        assert!(failures.lasting(&both, at(400), lasting).is_empty(), "once");
        assert!(failures.lasting(&[], at(500), lasting).is_empty());
        assert!(failures.lasting(&storage, at(501), lasting).is_empty(), "it began anew");
        assert_eq!(failures.lasting(&storage, at(801), lasting).len(), 1);
    }
}
