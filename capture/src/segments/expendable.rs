//! What nobody needs any more, as it is written down on S3 (`retention.json`): segments up to a number are tagged as expendable, so
//! that each of their objects may vanish at any moment, in any order. Whoever looks for segments begins behind them.

use re_dms_shared::s3_layout::StreamLayout;
use serde::{Deserialize, Serialize};

use crate::aws::Objects;
use crate::error::{Error, Result, Who};

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// `retention.json`; without one nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expendable {
    pub(super) format: u32,
    /// Segments up to this one are expendable; 0 for none.
    pub(crate) up_to: u64,
    /// Of these the ones up to here have all of their tags.
    pub(crate) tagged: u64,
    /// So are checkpoints as of an earlier segment than this.
    #[serde(default)]
    pub(crate) checkpoints: u64,
    /// The file of theirs that later segments name: the tables' shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shapes: Option<String>,
}

impl Expendable {
    pub(crate) async fn read(objects: &Objects, layout: &StreamLayout, epoch: &str) -> Result<Self> {
        let key = layout.retention_json(epoch);
        let Some(json) = objects.get(&key).await? else { return Ok(Self::default()) };
        let hint = "was it changed by hand, or written by a newer re_dms?";
        let wrong = |what: String| Error::fatal(Who::Stream, format!("{key}: {what}"), hint);
        let read: Self = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        if read.format > FORMAT {
            return Err(wrong(format!("format {} is newer than this version reads", read.format)));
        }
        Ok(read)
    }

    pub(crate) async fn write(&self, objects: &Objects, layout: &StreamLayout, epoch: &str) -> Result<()> {
        let json = serde_json::json!(Self { format: FORMAT, ..self.clone() }).to_string();
        objects.put(&layout.retention_json(epoch), json.into()).await
    }
}
