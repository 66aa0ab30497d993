//! The replication slot.

use std::fmt;
use std::time::Duration;

use super::reader::Reader;
use super::{ByteSize, plain_name, units};

/// The replication slot.
#[derive(Clone, Debug)]
pub struct SlotConfig {
    /// Its name.
    pub name: String,
    /// How far it follows.
    pub advance_on: AdvanceOn,
    /// How often the slot of an idle database moves on.
    pub idle_interval: Duration,
    /// Take a slot that exists though this stream has never used it.
    pub adopt: bool,
    /// Whether standbys keep a copy of it.
    pub failover: Failover,
    /// More WAL than this behind the slot's position is warned of.
    pub retained_wal_warn: ByteSize,
    /// Then follow what is staged instead of what is loaded, until it is less again.
    pub retained_wal_fallback: bool,
}

/// Whether standbys keep a copy of the slot, so that a promoted one has it (PostgreSQL 17 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// A slot that is made gets it where the server can; one that is there stays as it is.
    Auto,
    /// It must have it.
    On,
    /// It must not.
    Off,
}

/// The position up to which PostgreSQL may forget WAL (invariant 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdvanceOn {
    /// In Redshift's ledger.
    #[default]
    Loaded,
    /// Its manifest is on S3.
    Staged,
    /// Fsynced in the local WAL: losing the disk then loses data.
    Durable,
}

impl fmt::Display for AdvanceOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdvanceOn::Loaded => "loaded",
            AdvanceOn::Staged => "staged",
            AdvanceOn::Durable => "durable",
        })
    }
}

impl SlotConfig {
    pub(super) fn read(reader: &mut Reader, own_name: String) -> Self {
        Self {
            name: reader.or_default("slot.name", slot_name, own_name),
            advance_on: reader.or_default("slot.advance_on", advance_on, AdvanceOn::Loaded),
            idle_interval: reader.or_default("slot.idle_interval", units::duration, Duration::from_secs(10)),
            adopt: reader.or_default("slot.adopt", units::boolean, false),
            failover: reader.or_default("slot.failover", failover, Failover::Auto),
            retained_wal_warn: reader.or_default(
                "slot.retained_wal_warn",
                units::bytes,
                ByteSize::mebibytes(10 << 10),
            ),
            retained_wal_fallback: reader.or_default("slot.retained_wal_fallback", units::boolean, false),
        }
    }
}

fn slot_name(text: &str) -> Result<String, String> {
    if plain_name(text, 63) {
        Ok(text.to_owned())
    } else {
        Err("must be lower-case letters, digits and underscores, at most 63 long".into())
    }
}

fn advance_on(text: &str) -> Result<AdvanceOn, String> {
    match text {
        "loaded" => Ok(AdvanceOn::Loaded),
        "staged" => Ok(AdvanceOn::Staged),
        "durable" => Ok(AdvanceOn::Durable),
        _ => Err("must be loaded, staged or durable".into()),
    }
}

fn failover(text: &str) -> Result<Failover, String> {
    match text {
        "auto" => Ok(Failover::Auto),
        "true" => Ok(Failover::On),
        "false" => Ok(Failover::Off),
        _ => Err("must be auto, true or false".into()),
    }
}
