//! Signs of life of the pipeline's parts: each beats whenever it gets on, and says what it waits for while it does. From that
//! the [watchdog](crate::watchdog) tells a part that hangs from one that has nothing to do or that somebody else holds up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The parts, in the order of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The replication connection.
    Receiver,
    /// The local WAL's thread.
    LocalWal,
    /// The collector's thread.
    Collector,
    /// The stager.
    Stager,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Part; 4] = [Part::Receiver, Part::LocalWal, Part::Collector, Part::Stager];

    /// In a word or two.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Receiver => "receiver",
            Part::LocalWal => "local WAL",
            Part::Collector => "collector",
            Part::Stager => "stager",
        }
    }
}

/// What a part may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// That the part before hands it something.
    Input,
    /// That the part behind takes something.
    Next,
    /// PostgreSQL.
    Source,
    /// The disk.
    Disk,
    /// S3.
    Storage,
}

/// How many kinds of waiting there are.
const WAITS: usize = 5;

/// One part's signs of life.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    /// How often it began to wait for the next part.
    handed: AtomicU64,
    waits: [AtomicU32; WAITS],
}

/// A moment's look at a [`Pulse`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Grows whenever the part gets on.
    pub beats: u64,
    /// Grows whenever it begins to wait for the next part.
    pub handed: u64,
    waits: [bool; WAITS],
}

impl Seen {
    /// Whether it waits for this.
    #[must_use]
    pub fn waits_for(&self, wait: Wait) -> bool {
        self.waits[wait as usize]
    }

    /// Whether it waits for anything.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waits.contains(&true)
    }
}

impl Pulse {
    /// It gets on.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// It waits for this, until what is returned is dropped.
    #[must_use]
    pub fn waits_for(&self, wait: Wait) -> Waiting<'_> {
        self.beat();
        if wait == Wait::Next {
            self.handed.fetch_add(1, Ordering::Relaxed);
        }
        let counter = &self.waits[wait as usize];
        counter.fetch_add(1, Ordering::Relaxed);
        Waiting { pulse: self, counter }
    }

    /// How it is.
    #[must_use]
    pub fn look(&self) -> Seen {
        let waits = std::array::from_fn(|wait| self.waits[wait].load(Ordering::Relaxed) > 0);
        let (beats, handed) = (self.beats.load(Ordering::Relaxed), self.handed.load(Ordering::Relaxed));
        Seen { beats, handed, waits }
    }
}

/// A part waits for something as long as this lives.
#[derive(Debug)]
pub struct Waiting<'a> {
    pulse: &'a Pulse,
    counter: &'a AtomicU32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
        self.pulse.beat();
    }
}
