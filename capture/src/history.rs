//! What an epoch left on S3: its last segment and how far it was loaded. Found in a logarithmic number of requests,
//! however long the history is, also when its oldest segments have expired.

use re_dms_shared::manifest::{Manifest, sha256_hex};
use re_dms_shared::s3_layout::{StreamLayout, seq_of_manifest_key};

use crate::aws::Objects;
use crate::error::{Error, Result, Who};
use crate::relations::KnownTables;
use crate::segments::Expendable;

/// A segment as S3 has it.
#[derive(Clone, Debug)]
pub struct StagedSegment {
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest's checksum.
    pub sha256: String,
}

/// Reads tables' shapes from S3, which `named_by` names: a segment, or the initial copy.
///
/// # Errors
/// If they are not there, or can't be read or understood.
pub async fn read_shapes(objects: &Objects, key: &str, named_by: &str) -> Result<KnownTables> {
    let json = objects.get(key).await?.ok_or_else(|| {
        Error::fatal(
            Who::Stream,
            format!("{key} vanished from S3, which {named_by} names"),
            "restore it: without it changes of tables' definitions can't be followed",
        )
    })?;
    KnownTables::from_json(key, &json)
}

/// An epoch's segments on S3.
#[derive(Debug)]
pub struct History<'a> {
    objects: &'a Objects,
    layout: &'a StreamLayout,
    epoch: &'a str,
}

impl<'a> History<'a> {
    /// Of one epoch.
    #[must_use]
    pub fn new(objects: &'a Objects, layout: &'a StreamLayout, epoch: &'a str) -> Self {
        Self { objects, layout, epoch }
    }

    /// One segment; none if it has no manifest.
    ///
    /// # Errors
    /// If S3 can't be read, or the manifest not understood.
    pub async fn segment(&self, seq: u64) -> Result<Option<StagedSegment>> {
        let key = self.layout.segment(self.epoch, seq).manifest();
        let Some(json) = self.objects.get(&key).await? else { return Ok(None) };
        let manifest = Manifest::from_json(&json).map_err(|error| {
            Error::fatal(
                Who::Stream,
                format!("{key}: {error}"),
                "was it changed by hand, or written by a newer re_dms?",
            )
        })?;
        Ok(Some(StagedSegment { manifest, sha256: sha256_hex(&json) }))
    }

    /// Has the loader written its receipt?
    ///
    /// # Errors
    /// If S3 can't be read.
    pub async fn is_loaded(&self, seq: u64) -> Result<bool> {
        self.objects.exists(&self.layout.segment(self.epoch, seq).receipt()).await
    }

    /// The first and the last segment that have a manifest, behind those that are expendable: of these any object may be gone.
    ///
    /// # Errors
    /// If S3 can't be read.
    pub async fn range(&self) -> Result<Option<(u64, u64)>> {
        let expendable = Expendable::read(self.objects, self.layout, self.epoch).await?.up_to;
        let begin = if expendable == 0 { 0 } else { expendable + 1 };
        let Some(first) = self.next_folder(begin).await? else { return Ok(None) };
        let mut low = first;
        let mut step = 1;
        // Gallop until nothing comes at or after low + step, then halve the gap.
        let mut high = loop {
            match self.next_folder(low + step).await? {
                Some(found) => {
                    low = found;
                    step *= 2;
                }
                None => break low + step,
            }
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.next_folder(middle).await? {
                Some(found) => low = found,
                None => high = middle,
            }
        }
        // The newest folder may hold only files of an attempt that died before its manifest.
        while low >= first {
            if self.objects.exists(&self.layout.segment(self.epoch, low).manifest()).await? {
                return Ok(Some((first, low)));
            }
            low -= 1;
        }
        Ok(None)
    }

    /// The last segment of `first..=last` that has a receipt. Segments are loaded in order, so that receipts are too.
    ///
    /// # Errors
    /// If S3 can't be read.
    pub async fn last_loaded(&self, first: u64, last: u64) -> Result<u64> {
        let (mut loaded, mut unknown) = (first - 1, last + 1);
        while unknown - loaded > 1 {
            let middle = loaded + (unknown - loaded) / 2;
            if self.is_loaded(middle).await? {
                loaded = middle;
            } else {
                unknown = middle;
            }
        }
        Ok(loaded)
    }

    /// The first segment folder numbered `seq` or higher.
    async fn next_folder(&self, seq: u64) -> Result<Option<u64>> {
        let folders = self.layout.segments(self.epoch);
        let key = self.objects.first_key_after(&folders, &format!("{folders}{seq:012}")).await?;
        let folder = key.as_deref().and_then(|key| key.rsplit_once('/')).map(|(folder, _)| folder);
        Ok(folder.and_then(|folder| seq_of_manifest_key(&format!("{folder}/manifest.json"))))
    }
}
