//! `replay.json`: what a replay was asked for. Whoever goes on with it must want the same.

use bytes::Bytes;
use re_dms_shared::s3_layout::StreamLayout;
use serde::{Deserialize, Serialize};

use super::base::Base;
use super::survey::Survey;
use super::{Request, refused};
use crate::aws::PutOnce;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::segments::Archive;

const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReplayRecord {
    format: u32,
    /// The replay's own name.
    stream: String,
    /// Whose history.
    of: String,
    epoch: String,
    /// The state that the replay begins with is that of this segment's end; 0 for the beginning.
    base: u64,
    /// The last segment.
    to: u64,
    /// Patterns; none for all.
    tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    into: Option<String>,
}

impl ReplayRecord {
    pub(super) fn new(
        archive: &Archive,
        request: &Request,
        name: &str,
        base: &Base,
        survey: &Survey,
    ) -> Self {
        Self {
            format: FORMAT,
            stream: name.to_owned(),
            of: archive.stream.clone(),
            epoch: archive.epoch.clone(),
            base: base.seq(),
            to: survey.to,
            tables: request.tables.texts(),
            into: request.into.clone(),
        }
    }

    /// Writes it, or finds that it is the same as the one that is there.
    pub(super) async fn write(&self, archive: &Archive, config: &Config) -> Result<()> {
        let layout = StreamLayout::new(&config.s3.prefix, &self.stream);
        if archive.objects.exists(&layout.stream_json()).await? {
            let what = format!("{} is a live stream's name", self.stream);
            return Err(refused(what, "give the replay another --stream NAME"));
        }
        let key = layout.replay_json();
        let json = Bytes::from(serde_json::json!(self).to_string());
        if archive.objects.put_once(&key, json).await? == PutOnce::Written {
            return Ok(());
        }
        let there = archive.objects.get(&key).await?.unwrap_or_default();
        let there: ReplayRecord = serde_json::from_slice(&there).map_err(|error| {
            let hint = "was it changed by hand, or written by a newer re_dms?";
            Error::fatal(Who::Stream, format!("{key}: {error}"), hint)
        })?;
        if there == *self {
            return Ok(());
        }
        let tables = if there.tables.is_empty() { "all tables".to_owned() } else { there.tables.join(", ") };
        let into = there.into.map_or_else(String::new, |into| format!(" into {into}"));
        let what = format!(
            "the replay {} is there already, of something else: {tables} of {} from {} to segment {}{into}",
            self.stream,
            there.of,
            there.base + 1,
            there.to,
        );
        Err(refused(
            what,
            "ask for the same to go on with it (--from and --to by segment), or give another --stream NAME",
        ))
    }
}
