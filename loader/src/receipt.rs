//! The receipt, `loaded.json`, beside a manifest: for people and for a capture that lost its disk. The ledger is the
//! authority; a missing receipt means nothing.

use jiff::Timestamp;
use re_dms_shared::Lsn;
use serde::{Deserialize, Serialize};

/// The format that this build writes.
pub const FORMAT: u32 = 1;

/// That a segment is in Redshift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`FORMAT`]
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// The epoch's text form.
    pub epoch: String,
    /// The segment.
    pub seq: u64,
    /// The segment's end.
    pub end_lsn: Lsn,
    /// The manifest that was loaded.
    pub manifest_sha256: String,
    /// Rows taken from files.
    pub rows: u64,
    /// When the loader knew of the commit.
    pub loaded_at: Timestamp,
    /// From reading the manifest to the commit; absent if an earlier invocation loaded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The program that loaded it, with its version.
    pub loaded_by: String,
}

/// This program, with its version.
#[must_use]
pub fn loaded_by() -> String {
    format!("re_dms loader {}", env!("CARGO_PKG_VERSION"))
}
