//! A new base for replays: every table as it is at the end of a segment, made from the base before and the segments since by
//! merging files, on this machine, in bounded memory (ADR 18). Neither PostgreSQL nor Redshift is asked.
//!
//! [`steps`] puts each table's steps aside on disk; [`merge`] does them over [`spill`] files; [`image`] writes what comes out.

mod files;
mod image;
mod merge;
mod record;
mod rows;
mod shape;
mod spill;
mod steps;

use std::path::PathBuf;

use bytes::Bytes;
use re_dms_shared::Lsn;
use uuid::Uuid;

use crate::aws::PutOnce;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::replay::{self, Base, Survey};
use crate::segments::{Archive, Point, TablePick};
use image::Images;
use merge::Merge;
pub(crate) use record::{Checkpoint, Image};
use steps::Scratch;

/// What a checkpoint is made of.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these tables.
    pub tables: TablePick,
    /// As of this point; of the last segment that is there.
    pub to: Option<Point>,
    /// A folder with room for twice the tables' rows; the system's own for temporary files.
    pub scratch: Option<PathBuf>,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The state is that of this segment's end.
    pub seq: u64,
    /// Where it ends.
    pub end_lsn: Lsn,
    /// Tables.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
}

/// Makes a checkpoint; tells each table that is done.
///
/// # Errors
/// If what is needed is not on S3, or a table's history holds what can't be merged.
pub async fn checkpoint(config: &Config, request: &Request, mut tell: impl FnMut(&str, u64)) -> Result<Made> {
    let archive = Archive::open(config).await?;
    let wanted =
        replay::Request { to: request.to, tables: request.tables.clone(), ..replay::Request::default() };
    let to = Survey::end(&archive, &wanted).await?;
    let base = Base::find(&archive, &wanted, to).await?;
    let survey = Survey::make(&archive, &wanted, to, &base).await?;
    if !survey.unfinished.is_empty() {
        return Err(Error::fatal(
            Who::Stream,
            format!("a table is being read anew at the end of segment {}", survey.to),
            "ask again once `re_dms tables list` has none, or give an earlier --to",
        ));
    }
    let attempt = Uuid::new_v4().simple().to_string()[..8].to_owned();
    let folder = request.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let mut scratch = Scratch::make(folder.join(format!("re_dms-checkpoint-{attempt}")))?;
    scratch.fill(&archive, &survey, &base).await?;

    let layout = archive.layout.checkpoint(&archive.epoch, survey.to, &attempt);
    let files = layout.files();
    let mut images = Vec::new();
    let mut rows = 0;
    for oid in &survey.oids {
        let (mut bytes, mut last) = (0, None);
        for step in scratch.steps(*oid)? {
            let step = step?;
            bytes += step.bytes();
            last = Some(step.step.table);
        }
        let mut merge =
            Merge::new(&archive.objects, scratch.folder(), bytes, config.batch.max_memory.bytes());
        for step in scratch.steps(*oid)? {
            merge.step(&step?).await?;
        }
        let Some(last) = last.filter(|_| merge.is_there()) else { continue };
        let place = (&archive.objects, &files, attempt.as_str());
        let mut out = Images::new(place, config, &last, merge.columns());
        merge.finish(&last, &mut out).await?;
        let (table, load) = out.finish().await?;
        rows += load.rows.total();
        tell(&format!("{}.{}", table.schema, table.name), load.rows.total());
        images.push(Image { table, load });
    }
    let tables = images.len();
    let record = Checkpoint::new(&archive, &survey, &request.tables, images);
    let json = Bytes::from(serde_json::json!(record).to_string());
    if archive.objects.put_once(&layout.record(), json).await? == PutOnce::Exists {
        let what = format!("{} is there already", layout.record());
        return Err(Error::fatal(Who::Storage, what, "ask for it again"));
    }
    Ok(Made { seq: survey.to, end_lsn: survey.end_lsn, tables, rows })
}
