//! The life of one replication slot.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// Who a stream's positions belong to. A new slot is a new epoch; epochs never mix.
///
/// The text form names S3 folders and ledger rows: `{system}-{timeline}-{slot}-{lsn as 16 hex digits}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// The source cluster's system identifier (`IDENTIFY_SYSTEM`).
    pub system_identifier: String,
    /// The source's timeline when the slot was made.
    pub timeline: u32,
    /// The slot's name.
    pub slot: String,
    /// The slot's consistent point: changes committed after it are in the stream.
    pub consistent_point: Lsn,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Epoch { system_identifier, timeline, slot, consistent_point } = self;
        write!(f, "{system_identifier}-{timeline}-{slot}-{:016X}", consistent_point.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_names_a_folder() {
        let epoch = Epoch {
            system_identifier: "7412345678901234567".into(),
            timeline: 1,
            slot: "re_dms_main".into(),
            consistent_point: Lsn(0x15D_3A08),
        };
        assert_eq!(epoch.to_string(), "7412345678901234567-1-re_dms_main-00000000015D3A08");
    }
}
