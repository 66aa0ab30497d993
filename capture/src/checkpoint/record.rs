//! `checkpoint.json`: which tables were merged, as of which segment. Written last: what is not named by one is never read.

use std::collections::HashMap;

use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{
    Action, COPY_FORMAT, CopiedTable, Load, Manifest, Predecessor, RESTORE_FORMAT, Step, Table,
};
use re_dms_shared::s3_layout::CheckpointLayout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Who};
use crate::replay::Survey;
use crate::segments::{Archive, TablePick};
use crate::stage::CAPTURED_BY;

const FORMAT: u32 = 1;

/// A base that replays may begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    format: u32,
    stream: String,
    epoch: String,
    /// The state is that of this segment's end.
    pub(crate) seq: u64,
    /// The segment's manifest.
    pub(crate) manifest_sha256: String,
    /// Where it ends.
    pub(crate) end_lsn: Lsn,
    /// When the segment's last transaction was committed.
    pub(crate) last_commit_time: Timestamp,
    /// When it was made.
    made_at: Timestamp,
    /// By what.
    made_by: String,
    /// Patterns; none for all tables.
    tables: Vec<String>,
    /// The tables that are there then.
    pub(crate) images: Vec<Image>,
    /// Its own key, once it is there.
    #[serde(skip)]
    key: String,
}

/// One table's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// What it is.
    pub(crate) table: Table,
    /// Inserts alone, in files of the table's columns, as an initial copy's.
    pub(crate) load: Load,
}

impl Checkpoint {
    pub(super) fn new(archive: &Archive, survey: &Survey, tables: &TablePick, images: Vec<Image>) -> Self {
        Self {
            format: FORMAT,
            stream: archive.stream.clone(),
            epoch: archive.epoch.clone(),
            seq: survey.to,
            manifest_sha256: survey.sha256.clone(),
            end_lsn: survey.end_lsn,
            last_commit_time: survey.committed_at,
            made_at: Timestamp::now(),
            made_by: CAPTURED_BY.to_owned(),
            tables: tables.texts(),
            images,
            key: String::new(),
        }
    }

    /// The newest one as of `to` or before that has these tables.
    pub(crate) async fn newest(archive: &Archive, to: u64, tables: &TablePick) -> Result<Option<Self>> {
        Self::newest_of(archive, |found| found.seq <= to && found.has(tables)).await
    }

    /// The newest one of which this is true.
    pub(crate) async fn newest_of(archive: &Archive, is: impl Fn(&Self) -> bool) -> Result<Option<Self>> {
        let folder = archive.layout.checkpoints(&archive.epoch);
        let mut found = Vec::new();
        let mut after = folder.clone();
        loop {
            let page = archive.objects.page_after(&folder, &after).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            found.extend(
                page.into_iter().map(|object| object.key).filter(|key| key.ends_with("/checkpoint.json")),
            );
        }
        // By number, which comes first in the name.
        for key in found.into_iter().rev() {
            let Some(json) = archive.objects.get(&key).await? else { continue };
            let wrong = |what: String| {
                Error::fatal(
                    Who::Stream,
                    format!("{key}: {what}"),
                    "was it changed by hand, or written by a newer re_dms?",
                )
            };
            let mut record: Checkpoint =
                serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
            if record.format > FORMAT {
                return Err(wrong(format!("format {} is newer than this version reads", record.format)));
            }
            if is(&record) {
                record.key = key;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Whether all files that it names are there.
    pub(crate) async fn is_whole(&self, archive: &Archive) -> Result<bool> {
        let folder = self.key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let there = archive.below(&format!("{folder}/")).await?;
        let there: HashMap<_, _> = there.iter().map(|object| (object.key.as_str(), object.bytes)).collect();
        let loads = || self.images.iter().map(|image| &image.load).filter(|load| load.rows.total() > 0);
        let files = loads().flat_map(|load| &load.files);
        Ok(loads().all(|load| there.contains_key(load.copy_manifest.as_str()))
            && files
                .map(|file| (file.key.as_str(), file.bytes))
                .all(|(key, bytes)| there.get(key) == Some(&bytes)))
    }

    /// Whether replays of these tables may begin with it.
    pub(crate) fn has(&self, tables: &TablePick) -> bool {
        let wanted = tables.texts();
        self.tables.is_empty() || (!wanted.is_empty() && wanted.iter().all(|one| self.tables.contains(one)))
    }

    /// Each table as if it were an initial copy's.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = Manifest> + use<'_> {
        self.images.iter().map(|image| Manifest {
            format: COPY_FORMAT,
            copy: Some(CopiedTable {
                oid: image.table.oid,
                schema: image.table.schema.clone(),
                name: image.table.name.clone(),
                snapshot: self.end_lsn,
            }),
            ..self.manifest(std::iter::once(image))
        })
    }

    /// All tables at once, for a ledger that has nothing, and where on S3 that is to be.
    pub(crate) fn restoring(&self) -> (String, Manifest) {
        let segment = Predecessor { seq: self.seq, sha256: self.manifest_sha256.clone() };
        let manifest = Manifest {
            format: RESTORE_FORMAT,
            first_commit_time: self.last_commit_time,
            last_commit_time: self.last_commit_time,
            restores: Some(segment),
            ..self.manifest(self.images.iter())
        };
        (CheckpointLayout::of_record(&self.key).manifest(), manifest)
    }

    fn manifest<'a>(&self, images: impl Iterator<Item = &'a Image>) -> Manifest {
        let steps = images.zip(1..).map(|(Image { table, load }, number)| Step {
            number,
            table: table.clone(),
            action: Action::Load(load.clone()),
        });
        Manifest {
            format: COPY_FORMAT,
            stream: self.stream.clone(),
            epoch: self.epoch.clone(),
            seq: self.seq,
            predecessor: None,
            start_lsn: self.end_lsn,
            end_lsn: self.end_lsn,
            first_commit_time: self.made_at,
            last_commit_time: self.made_at,
            transactions: 0,
            captured_by: self.made_by.clone(),
            shapes: None,
            copy: None,
            after_copy: None,
            restores: None,
            steps: steps.collect(),
        }
    }
}
