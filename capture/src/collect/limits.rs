//! How large a batch may become, and how long it may wait.

use std::time::Duration;

use crate::config::{AdvanceOn, BatchConfig};
use crate::copy::MEMORY_SHARE;

/// When to cut and when to hand on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub(super) interval: Duration,
    /// Not under a policy that lets the slot move before the loader: there a batch that waits holds the slot back.
    pub(super) grow_while_behind: bool,
    /// A batch of this size is cut at the next commit.
    pub(super) batch_bytes: usize,
    /// A batch of this size is handed on in the middle of a transaction.
    pub(super) spill_bytes: usize,
    /// A transaction with more than this is not held in memory until its commit: it is read back from the local WAL.
    pub(super) transaction_bytes: usize,
    /// What a batch may have, and what all of these are shares of.
    max_bytes: usize,
    memory: usize,
}

impl Limits {
    /// Shares `max_memory` out: a batch that grows, one that waits and one that is being written; the rest for the
    /// transaction at hand and the frames on their way.
    #[must_use]
    pub fn new(config: &BatchConfig, policy: AdvanceOn) -> Self {
        let memory = config.max_memory.bytes();
        Self {
            interval: config.interval,
            grow_while_behind: policy == AdvanceOn::Loaded,
            batch_bytes: config.max_bytes.bytes().min(memory / 4),
            spill_bytes: memory / 4,
            transaction_bytes: memory / 8,
            max_bytes: config.max_bytes.bytes(),
            memory,
        }
    }

    /// The same while tables are read beside the stream, or not any more: their files get a part of the memory.
    pub(super) fn beside_reading(self, reads: bool) -> Self {
        let memory = if reads { self.memory - self.memory / MEMORY_SHARE } else { self.memory };
        Self { batch_bytes: self.max_bytes.min(memory / 4), spill_bytes: memory / 4, ..self }
    }
}
