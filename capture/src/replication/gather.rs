//! Reading in large gulps.
//!
//! The server sends every message by itself, and a client that takes each as it comes slows the sender down: most of the
//! sender's time goes into the network's layers and into waking the reader. So what comes is gathered while data flows, and
//! on a quiet stream the next message is read as soon as it comes.
//!
//! From another host the kernel is asked to gather: the socket counts as readable only from [`GULP`] bytes on, or after
//! [`PATIENCE`]. On the server's own host more can be had: the socket takes no more than [`WINDOW`], and nothing is read for
//! a while. Then the server's messages wait in its own send buffer, where they cost nothing, and come over in large pieces.
//! That takes a way without delay, since each window costs a turn there and back.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::socket::Tuning;

/// How many bytes the kernel gathers before it wakes us.
const GULP: usize = 64 << 10;

/// How long it may gather.
const PATIENCE: Duration = Duration::from_millis(1);

/// How much the server on our own host may send without being read.
const WINDOW: usize = 32 << 10;

/// How much it should gather in a pause: longer ones follow if less came, and shorter ones if more did, so that its send
/// buffer never fills up.
const ENOUGH: usize = 256 << 10;

/// How long it may gather at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// As little as this since the last pause is a stream of single small transactions: none of them should wait.
const LITTLE: usize = 8 << 10;

/// A read of less than this took all that was there.
const LEAST: usize = 8 << 10;

/// The read buffer's size: room for what comes in while a gulp is worked on.
const BLOCK: usize = 512 << 10;

/// Below this much room a new block is taken.
const LEAST_ROOM: usize = 128 << 10;

/// When to read: see the [module's words](self).
pub(super) struct Gathering {
    tuning: Tuning,
    /// The server is on our own host.
    pauses: bool,
    /// Data is gathered until then.
    until: Option<Instant>,
    /// The last pause.
    pause: Duration,
    /// Bytes since it began.
    since_pause: usize,
}

impl Gathering {
    pub(super) fn new(tuning: Tuning) -> Self {
        let pauses = tuning.is_own_host() && tuning.limit_window(WINDOW);
        Self { tuning, pauses, until: None, pause: PATIENCE, since_pause: 0 }
    }

    /// Reads at least one byte into `buffer`; 0 means that the peer closed. Nothing is lost if the future is dropped.
    pub(super) async fn fill(
        &mut self,
        source: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> io::Result<usize> {
        if buffer.capacity() - buffer.len() < LEAST_ROOM {
            buffer.reserve(BLOCK);
        }
        if let Some(until) = self.until {
            if self.pauses {
                sleep_until(until).await;
            } else if let Ok(count) = timeout_at(until, source.read_buf(buffer)).await {
                return count.inspect(|_| self.until = Some(Instant::now() + PATIENCE));
            }
            self.until = None;
            self.tuning.set_mark(1);
        }
        let count = source.read_buf(buffer).await?;
        self.since_pause += count;
        // More may be there already: the server sends the next window when one was read.
        let gathers = !self.pauses || count < LEAST;
        if gathers && self.tuning.set_mark(GULP) {
            self.pause = if self.pauses { next_pause(self.pause, self.since_pause) } else { PATIENCE };
            self.until = Some(Instant::now() + self.pause);
            self.since_pause = 0;
        }
        Ok(count)
    }
}

/// How long to gather after this much came since the last pause began.
fn next_pause(last: Duration, count: usize) -> Duration {
    if count <= LITTLE {
        return PATIENCE;
    }
    let fitting = last.as_secs_f64() * ENOUGH as f64 / count as f64;
    Duration::from_secs_f64(fitting).clamp(PATIENCE, LONGEST_PAUSE.min(last * 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses one after the other while the server sends so many bytes in a microsecond, that is MB a second.
    fn pauses(rate: u128) -> Vec<Duration> {
        let next = |last: &Duration| {
            let count = usize::try_from(last.as_micros() * rate).unwrap();
            Some(next_pause(*last, count))
        };
        std::iter::successors(Some(PATIENCE), next).take(20).collect()
    }

    #[test]
    fn pauses_grow_until_they_gather_enough() {
        let longest = *pauses(30).last().unwrap();
        assert!((Duration::from_millis(8)..Duration::from_millis(9)).contains(&longest), "{longest:?}");
        assert_eq!(pauses(10).last(), Some(&LONGEST_PAUSE));
        assert_eq!(pauses(10)[1], PATIENCE * 2);
    }

    #[test]
    fn pauses_are_short_when_little_or_very_much_comes() {
        assert!(pauses(5).iter().all(|pause| *pause == PATIENCE));
        assert!(pauses(1000).iter().all(|pause| *pause == PATIENCE));
    }
}
