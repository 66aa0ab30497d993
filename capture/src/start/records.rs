//! The two objects on S3 that say where a stream is beside its segments: `stream.json` and `position.json`.

use bytes::Bytes;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::{Epoch, Lsn};
use serde::{Deserialize, Serialize};

use crate::aws::Objects;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::source::Source;

/// The format of both.
const FORMAT: u32 = 1;

/// `stream.json`: which epoch the stream is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamRecord {
    format: u32,
    stream: String,
    slot: String,
    /// The publication was made for this stream by its first start, so that it goes with the stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) own_publication: bool,
    #[serde(flatten)]
    pub(crate) state: StreamState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum StreamState {
    /// The slot is about to be made, or was made a moment ago.
    Creating,
    /// The stream runs, or ran.
    Active {
        epoch: Epoch,
        /// The timeline that was followed last; none for the epoch's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeline: Option<u32>,
    },
}

impl StreamRecord {
    /// Of a stream that is about to be made, and so is a publication that is not there.
    pub(super) async fn creating(config: &Config, source: &Source) -> Result<Self> {
        let own_publication = source.publishes_all(&config.source.publication).await?.is_none();
        let (stream, slot) = (config.stream.clone(), config.slot.name.clone());
        Ok(Self { format: FORMAT, stream, slot, own_publication, state: StreamState::Creating })
    }

    /// The same stream, in this state.
    pub(super) fn with(self, state: StreamState) -> Self {
        Self { state, ..self }
    }

    /// The text that goes to S3.
    pub(super) fn json(&self) -> Bytes {
        Bytes::from(serde_json::json!(self).to_string())
    }

    /// What S3 has, if it has one.
    pub(crate) async fn read(objects: &Objects, layout: &StreamLayout) -> Result<Option<Self>> {
        let key = layout.stream_json();
        let Some(json) = objects.get(&key).await? else { return Ok(None) };
        let malformed = |what: String| {
            Error::fatal(
                Who::Stream,
                format!("{key}: {what}"),
                "was it changed by hand, or written by a newer re_dms?",
            )
        };
        let record: StreamRecord =
            serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
        if record.format > FORMAT {
            return Err(malformed(format!(
                "format {} is newer than this version reads ({FORMAT})",
                record.format
            )));
        }
        Ok(Some(record))
    }
}

/// The epoch that the stream is in; none if it has not begun.
///
/// # Errors
/// If S3 can't be read, or `stream.json` not understood.
pub async fn current_epoch(objects: &Objects, layout: &StreamLayout) -> Result<Option<Epoch>> {
    Ok(match StreamRecord::read(objects, layout).await?.map(|record| record.state) {
        Some(StreamState::Active { epoch, .. }) => Some(epoch),
        Some(StreamState::Creating) | None => None,
    })
}

/// `position.json`: how far an idle stream may be confirmed beyond its last segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PositionRecord {
    /// [`FORMAT`]
    format: u32,
    /// The position.
    pub lsn: Lsn,
}

impl PositionRecord {
    /// The text that goes to S3.
    #[must_use]
    pub fn json(lsn: Lsn) -> Bytes {
        let record = PositionRecord { format: FORMAT, lsn };
        Bytes::from(serde_json::json!(record).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_version_that_knew_no_timelines_is_read() {
        let json = r#"{"format":1,"stream":"main","slot":"re_dms_main","state":"active",
            "epoch":{"system_identifier":"7","timeline":3,"slot":"re_dms_main","consistent_point":"0/10"}}"#;
        let record: StreamRecord = serde_json::from_str(json).unwrap();
        let StreamState::Active { epoch, timeline } = &record.state else { panic!("{record:?}") };
        assert_eq!((epoch.timeline, *timeline), (3, None));
        let again: StreamRecord = serde_json::from_slice(&record.json()).unwrap();
        assert_eq!(again, record);
    }
}
