//! What travels through SQS. Bodies are JSON, `format` first, unknown fields ignored.

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::table_log::Quarantine;

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

/// Capture or command line to loader, through the stream's FIFO group: something is to be done with a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRequest {
    /// [`FORMAT`]
    pub format: u32,
    /// What is to be done.
    pub request: TableAction,
    /// The stream's name.
    pub stream: String,
    /// The epoch that the answer goes to.
    pub epoch: String,
    /// Schema and name in Redshift, with a dot between them.
    pub table: String,
    /// The queue that the capture reads acknowledgements from.
    pub ack_queue_url: String,
}

impl TableRequest {
    /// A request as this version writes it.
    #[must_use]
    pub fn new(request: TableAction, stream: &str, epoch: &str, table: &str, ack_queue_url: &str) -> Self {
        Self {
            format: FORMAT,
            request,
            stream: stream.to_owned(),
            epoch: epoch.to_owned(),
            table: table.to_owned(),
            ack_queue_url: ack_queue_url.to_owned(),
        }
    }
}

/// What is to be done with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableAction {
    /// Load what was skipped while it was quarantined, and end its quarantine.
    Resume,
    /// The same, and changes of its definition that were held are done.
    Approve,
    /// Let it stand still: its changes collect on S3 until it is resumed.
    Pause,
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
    /// The stream's quarantined tables; none where the loader could not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
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
    /// The answer to [`TableAction::Resume`]; `seq` means nothing.
    Resumed {
        /// The table.
        table: String,
        /// Whether more was skipped than there was time for: ask again. The stream's segments go in between.
        more: bool,
        /// Whether it was [`TableAction::Approve`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        approved: bool,
    },
    /// Not applied. A segment comes again from the queue; a request (`seq` 0) does not.
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
            Outcome::Resumed { table: "s.t".into(), more: true, approved: false },
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
                quarantine: Some(Quarantine::default()),
            };
            let json = serde_json::to_string(&ack).unwrap();
            assert_eq!(serde_json::from_str::<SegmentAck>(&json).unwrap(), ack);
        }
    }

    #[test]
    fn acks_of_older_loaders_tell_nothing_of_tables() {
        let json = r#"{"format":1,"stream":"main","epoch":"E","seq":4,"end_lsn":"0/10",
            "outcome":{"result":"loaded"},"rows":1,"duration_ms":2}"#;
        assert_eq!(serde_json::from_str::<SegmentAck>(json).unwrap().quarantine, None);
    }
}
