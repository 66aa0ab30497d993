//! `re_dms destroy`: everything that a stream made, removed. First it is looked what there is ([`Plan::look`]), which changes
//! nothing; then it goes, in an order that can be begun again wherever it broke off: the source, Redshift, S3 (`stream.json`
//! last), this machine. Each part is told.

mod machine;
mod redshift;
mod source;

use std::time::Duration;

use re_dms_shared::Epoch;
use re_dms_shared::remove::RemovedTable;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::status::{CaptureState, CaptureStatus};

use crate::aws::{self, FolderSize, Objects, Queues};
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::start::{StreamRecord, StreamState};
use machine::Machine;
use source::SourceSide;

/// A capture that was heard of so long ago, beside its interval, is no more.
const SILENCE: Duration = Duration::from_secs(15);

/// What is to go, and what may not be asked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The tables in Redshift, too.
    pub tables: bool,
    /// A publication that the stream did not make, too.
    pub publication: bool,
    /// What is on the source.
    pub source: bool,
    /// What is in Redshift.
    pub redshift: bool,
    /// How long the loader may take for each request.
    pub patience: Duration,
}

/// What there is of a stream, and is to go.
pub struct Plan<'a> {
    config: &'a Config,
    options: Options,
    objects: Objects,
    queues: Queues,
    layout: StreamLayout,
    has_record: bool,
    source: Option<SourceSide>,
    tables: Vec<RemovedTable>,
    stored: FolderSize,
    machine: Machine,
}

impl<'a> Plan<'a> {
    /// Looks what there is. Nothing is changed by it.
    ///
    /// # Errors
    /// If a capture runs the stream, if it can't be looked, or if the source is not the stream's.
    pub async fn look(config: &'a Config, options: Options) -> Result<Self> {
        let machine = Machine::look(&config.data_dir)?;
        let sdk = aws::sdk_config(&config.aws).await;
        let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
        objects.check().await?;
        let queues = Queues::new(&sdk, &config.queues);
        let layout = StreamLayout::new(&config.s3.prefix, &config.stream);
        refuse_if_heard_of(config, &objects, &layout).await?;
        let record = StreamRecord::read(&objects, &layout).await?;
        let source = match options.source {
            true => Some(SourceSide::look(config, record.as_ref(), options.publication).await?),
            false => None,
        };
        let epoch = record.as_ref().and_then(active);
        let tables = match epoch {
            Some((epoch, timeline)) if options.redshift && options.tables => {
                redshift::tables(&objects, &layout, epoch, timeline).await?
            }
            _ => Vec::new(),
        };
        let stored = objects.folder_size(&layout.folder()).await?;
        let has_record = record.is_some();
        Ok(Self { config, options, objects, queues, layout, has_record, source, tables, stored, machine })
    }

    /// What is to go, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = match &self.source {
            Some(source) => source.lines(),
            None => vec!["source: is not asked, and keeps its slot, if it has one".to_owned()],
        };
        if self.options.redshift {
            let stream = &self.config.stream;
            lines.push(format!("Redshift: re_dms.ledger_{stream} and re_dms.tables_{stream}"));
            let drops = |table: &RemovedTable| format!("Redshift: the table {}.{}", table.schema, table.name);
            lines.extend(self.tables.iter().map(drops));
            if !self.options.tables {
                lines.push("Redshift: the stream's tables stay (--drop-tables)".to_owned());
            }
        } else {
            lines.push("Redshift: is not asked, and keeps what it has".to_owned());
        }
        let FolderSize { objects, bytes } = self.stored;
        let folder = format!("s3://{}/{}", self.objects.bucket(), self.layout.folder());
        lines.push(format!("S3: {folder}, {objects} objects with {bytes} bytes"));
        lines.extend(self.machine.lines());
        lines
    }

    /// Removes it, and tells each part that is done. What is told as left has to be done by hand.
    ///
    /// # Errors
    /// If something can't be removed: the same again goes on from there.
    pub async fn carry_out(mut self, tell: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let mut left = 0;
        if let Some(source) = self.source.take() {
            left = source.remove(self.config, tell).await?;
        }
        if self.options.redshift {
            redshift::remove(&self, tell).await?;
        }
        let folder = self.layout.folder();
        let record = self.layout.stream_json();
        let mut removed = self.objects.delete_folder(&folder, &record).await?;
        if self.has_record && left == 0 {
            // Without it nothing tells what is the stream's.
            self.objects.delete(&record).await?;
            removed += 1;
        }
        tell(format!("S3: {removed} objects removed"));
        self.machine.remove(tell)?;
        if left == 0 {
            return Ok(());
        }
        Err(Error::fatal(
            Who::Source,
            "not all that is on the source could be removed: see above. stream.json stays on S3 until it is",
            "run this again with a superuser in source.url (RE_DMS_SOURCE__URL), or do it by hand and run this again",
        ))
    }
}

fn active(record: &StreamRecord) -> Option<(&Epoch, u32)> {
    match &record.state {
        StreamState::Active { epoch, timeline } => Some((epoch, timeline.unwrap_or(epoch.timeline))),
        StreamState::Creating => None,
    }
}

/// A capture on another machine may have no connection to the source just now, and would make the stream anew.
async fn refuse_if_heard_of(config: &Config, objects: &Objects, layout: &StreamLayout) -> Result<()> {
    let Some(json) = objects.get(&layout.status_json()).await? else { return Ok(()) };
    let Ok(status) = serde_json::from_slice::<CaptureStatus>(&json) else { return Ok(()) };
    let age = jiff::Timestamp::now().duration_since(status.updated_at).as_secs_f64().max(0.0);
    let limit = (config.s3.status_interval.unwrap_or_default() + SILENCE).as_secs_f64();
    if status.state == CaptureState::Stopped || age > limit {
        return Ok(());
    }
    Err(Error::fatal(
        Who::Stream,
        format!("a capture of the stream {} was heard of {age:.0} s ago", config.stream),
        format!(
            "stop it, and keep its supervisor from starting it again; if it is dead already, wait for {:.0} s",
            limit - age + 1.0
        ),
    ))
}
