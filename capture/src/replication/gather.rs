//! Reading in large gulps.
//!
//! A client that wakes for every message slows the server's sender down, because each wake-up costs both of them. So the
//! kernel is asked to gather: while data flows, the socket counts as readable only from [`GULP`] bytes on. When that
//! much does not come within [`PATIENCE`], the mark is lowered to one byte: what is there is read, and on a quiet
//! stream the next message is read as soon as it comes.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::socket::LowWaterMark;

/// How many bytes the kernel gathers before it wakes us.
const GULP: usize = 64 << 10;

/// How long it may gather.
const PATIENCE: Duration = Duration::from_millis(1);

/// The read buffer's size: room for what comes in while a gulp is worked on.
const BLOCK: usize = 512 << 10;

/// Below this much room a new block is taken.
const LEAST_ROOM: usize = 128 << 10;

/// When to read: see the [module's words](self).
pub(super) struct Gathering {
    mark: LowWaterMark,
    /// The mark is raised, until then.
    raised_until: Option<Instant>,
}

impl Gathering {
    pub(super) fn new(mark: LowWaterMark) -> Self {
        Self { mark, raised_until: None }
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
        loop {
            let read = source.read_buf(buffer);
            let count = match self.raised_until {
                None => read.await?,
                Some(until) => match timeout_at(until, read).await {
                    Ok(count) => count?,
                    Err(_elapsed) => {
                        self.mark.set(1);
                        self.raised_until = None;
                        continue;
                    }
                },
            };
            self.raise();
            return Ok(count);
        }
    }

    fn raise(&mut self) {
        let raised = self.raised_until.is_some() || self.mark.set(GULP);
        self.raised_until = raised.then(|| Instant::now() + PATIENCE);
    }
}
