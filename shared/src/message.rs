//! What travels through SQS. Bodies are JSON, `format` first, unknown fields ignored.

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// The format of both messages that this build writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Capture to loader, through the stream's FIFO group: a segment is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStaged {
    /// [`FORMAT`]
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// The epoch's text form.
    pub epoch: String,
    /// The segment's number in its epoch, from 1.
    pub seq: u64,
    /// The bucket that holds the segment.
    pub bucket: String,
    /// Where its manifest is.
    pub manifest_key: String,
    /// The manifest's checksum: 64 lower-case hex digits.
    pub manifest_sha256: String,
    /// The queue that the capture reads acknowledgements from.
    pub ack_queue_url: String,
}

/// Loader to capture: what became of a segment. A hint, never an authority: it may come twice, late or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentAck {
    /// [`FORMAT`]
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// The epoch's text form.
    pub epoch: String,
    /// The segment that the message was about.
    pub seq: u64,
    /// The segment's end.
    pub end_lsn: Lsn,
    /// What happened.
    pub outcome: Outcome,
    /// Rows taken from files, over all steps.
    pub rows: u64,
    /// From reading the manifest to the commit.
    pub duration_ms: u64,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// Its data and its ledger row were committed just now.
    Loaded,
    /// The ledger had it: nothing was done.
    AlreadyLoaded,
    /// Refused: the ledger lacks a segment before it. Capture sends again from `missing` on.
    Gap {
        /// The first segment that the ledger lacks.
        missing: u64,
    },
    /// Not applied; the queue delivers it again.
    Failed {
        /// What went wrong. Never holds a row value.
        error: String,
        /// What to do about it.
        hint: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_survive_json() {
        let outcomes = [
            Outcome::Loaded,
            Outcome::AlreadyLoaded,
            Outcome::Gap { missing: 3 },
            Outcome::Failed { error: "e".into(), hint: "h".into() },
        ];
        for outcome in outcomes {
            let ack = SegmentAck {
                format: FORMAT,
                stream: "main".into(),
                epoch: "E".into(),
                seq: 4,
                end_lsn: Lsn(16),
                outcome,
                rows: 1,
                duration_ms: 2,
            };
            let json = serde_json::to_string(&ack).unwrap();
            assert_eq!(serde_json::from_str::<SegmentAck>(&json).unwrap(), ack);
        }
    }
}
