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

/// How long it may gather while much comes: a pause…
const LONG_PAUSE: Duration = Duration::from_millis(4);
/// …follows if that much came after the last one.
const MUCH: usize = 8 << 10;

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
    /// Bytes since the last pause.
    since_pause: usize,
}

impl Gathering {
    pub(super) fn new(tuning: Tuning) -> Self {
        let pauses = tuning.is_own_host() && tuning.limit_window(WINDOW);
        Self { tuning, pauses, until: None, since_pause: 0 }
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
            let pause = if self.pauses && self.since_pause > MUCH { LONG_PAUSE } else { PATIENCE };
            self.until = Some(Instant::now() + pause);
            self.since_pause = 0;
        }
        Ok(count)
    }
}
