//! How the pipeline is set up for a history: small, so that much happens.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// The capture's settings, drawn from the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// How far the slot follows.
    pub advance_on: &'static str,
    interval: &'static str,
    max_memory: &'static str,
    max_bytes: &'static str,
    max_file_bytes: &'static str,
    decoding_work_mem: &'static str,
    idle_interval: &'static str,
    compression: &'static str,
}

impl Parameters {
    /// Draws them.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed ^ 0x005e_7714_6500_0000);
        let mut one_of = |choices: &[&'static str]| choices.choose(random).copied().unwrap_or_default();
        Self {
            advance_on: one_of(&["loaded", "loaded", "loaded", "staged", "durable"]),
            interval: one_of(&["20ms", "200ms", "200ms", "1s", "4s"]),
            // An eighth is for a transaction, a quarter for a batch: from a few rows to more than there is.
            max_memory: one_of(&["128KiB", "1MiB", "8MiB", "256MiB"]),
            max_bytes: one_of(&["16KiB", "128KiB"]),
            max_file_bytes: one_of(&["4KiB", "64KiB", "32MiB"]),
            decoding_work_mem: one_of(&["64KiB", "64KiB", "1MiB", "64MiB"]),
            idle_interval: one_of(&["200ms", "1s"]),
            compression: one_of(&["gzip", "zstd"]),
        }
    }

    /// Is nothing lost with the capture's disk?
    #[must_use]
    pub fn disk_may_be_lost(&self) -> bool {
        self.advance_on != "durable"
    }

    /// As a capture config to merge in.
    #[must_use]
    pub fn to_toml(&self) -> String {
        format!(
            "[source]\ndecoding_work_mem = \"{}\"\n[slot]\nadvance_on = \"{}\"\nidle_interval = \"{}\"\n\
             [batch]\ninterval = \"{}\"\nmax_memory = \"{}\"\nmax_bytes = \"{}\"\nmax_file_bytes = \"{}\"\n\
             compression = \"{}\"\n\
             [queues]\nresend_after = \"5s\"\n",
            self.decoding_work_mem,
            self.advance_on,
            self.idle_interval,
            self.interval,
            self.max_memory,
            self.max_bytes,
            self.max_file_bytes,
            self.compression
        )
    }
}
