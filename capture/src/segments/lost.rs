//! What attempts left that died, or that lost a race: files on S3 that nobody names. They are tagged, so that a rule of the
//! bucket's may remove them after some days, and nothing else.
//!
//! Whoever reads files finds them by a manifest, and a manifest is never written twice. So in a segment's folder everything
//! that its manifest does not name is lost, as soon as there is one. The folder of an initial copy and of tables that were read
//! anew also has what is being read just now: while anything is, it is left alone, and what is young there is never taken for
//! lost. A segment's folder without a manifest is left alone, too: somebody may be at it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use re_dms_shared::manifest::Manifest;
use re_dms_shared::s3_layout::{SegmentLayout, StreamLayout};
use tokio::sync::watch;

use super::{Archive, Stored};
use crate::aws::StoredObject;
use crate::error::Result;
use crate::progress::Snapshot;
use crate::relations::KnownTables;

/// Objects that are tagged at the same time.
pub(super) const AT_ONCE: usize = 16;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that nobody names.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

/// Tags all that is lost in the stream's epoch, or only counts it. `min_age`: how old a file must be that somebody may still
/// be about to name.
///
/// # Errors
/// If S3 can't be read, or refuses tags.
pub async fn tag_lost(archive: &Archive, min_age: Duration, dry_run: bool) -> Result<Lost> {
    let Archive { objects, layout, epoch, .. } = archive;
    let before = SystemTime::now().checked_sub(min_age).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut lost = Vec::new();
    let mut named = BTreeSet::new();
    let mut shapes = None;
    let mut segments = pin!(archive.segments(0));
    while let Some(segment) = segments.try_next().await? {
        lost.extend(unnamed(layout, &segment));
        named.extend(names(&segment.manifest).map(str::to_owned));
        shapes = segment.manifest.shapes;
    }
    let is_old = |object: &StoredObject| object.modified_at.is_some_and(|at| at < before);
    if !archive.is_reading(shapes.as_deref()).await? {
        named.extend(archive.copied().await?.map(|copied| copied.shapes));
        let copies = archive.below(&layout.copy(epoch).folder()).await?;
        lost.extend(copies.into_iter().filter(|object| is_old(object) && !named.contains(&object.key)));
    }
    lost.extend(unfinished(archive.below(&layout.checkpoints(epoch)).await?).into_iter().filter(is_old));
    let found = Lost { files: lost.len() as u64, bytes: lost.iter().map(|object| object.bytes).sum() };
    if !dry_run {
        let tags = lost.into_iter().map(|object| async move { objects.tag_expendable(&object.key).await });
        futures_util::stream::iter(tags).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
    Ok(found)
}

/// Tags what attempts before this one left in the last segment's folder, and in that of this one's first segment, once it is
/// there: nobody works at two segments at a time.
pub(super) async fn tag_after_a_start(archive: &Archive, last: u64, mut progress: watch::Receiver<Snapshot>) {
    tag_in_segment(archive, last).await;
    if progress.wait_for(|state| state.segments_staged > last).await.is_ok() {
        tag_in_segment(archive, last + 1).await;
    }
}

async fn tag_in_segment(archive: &Archive, seq: u64) {
    let tagged = async {
        let mut segments = pin!(archive.segments(seq));
        let Some(segment) = segments.try_next().await? else { return Ok(Lost::default()) };
        let mut tagged = Lost::default();
        // The stream may have gone on, but not before its number.
        for object in unnamed(&archive.layout, &segment).filter(|_| segment.manifest.seq == seq) {
            archive.objects.tag_expendable(&object.key).await?;
            tagged = Lost { files: tagged.files + 1, bytes: tagged.bytes + object.bytes };
        }
        Ok::<_, crate::error::Error>(tagged)
    };
    match tagged.await {
        Ok(Lost { files: 0, .. }) => {}
        Ok(Lost { files, bytes }) => {
            tracing::info!(
                segment = seq,
                files,
                bytes,
                "files of an attempt that died are tagged as expendable"
            );
        }
        Err(error) => {
            tracing::warn!(
                segment = seq, %error,
                "files of an attempt that died can't be tagged (hint: the role needs s3:PutObjectTagging; `re_dms segments \
                 clean` does it later)"
            );
        }
    }
}

/// What the segment's folder holds beside what it is made of.
fn unnamed(layout: &StreamLayout, segment: &Stored) -> impl Iterator<Item = StoredObject> {
    let Stored { manifest, objects, .. } = segment;
    let own: SegmentLayout = layout.segment(&manifest.epoch, manifest.seq);
    let mut named: BTreeSet<&str> = names(manifest).collect();
    let (manifest_key, receipt) = (own.manifest(), own.receipt());
    named.extend([manifest_key.as_str(), receipt.as_str()]);
    let unnamed: Vec<_> = objects
        .iter()
        .filter(|(key, _)| !named.contains(key.as_str()))
        .map(|(key, bytes)| StoredObject { key: key.clone(), bytes: *bytes, modified_at: None })
        .collect();
    unnamed.into_iter()
}

/// All keys that a manifest names.
pub(super) fn names(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let loads = manifest.steps.iter().filter_map(|step| step.action.load());
    let files = loads.flat_map(|load| {
        std::iter::once(load.copy_manifest.as_str()).chain(load.files.iter().map(|file| file.key.as_str()))
    });
    files.chain(manifest.shapes.as_deref())
}

/// What belongs to no checkpoint that was finished.
fn unfinished(objects: Vec<StoredObject>) -> Vec<StoredObject> {
    let folder = |key: &str| key.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let finished: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.key.ends_with("/checkpoint.json"))
        .filter_map(|object| folder(&object.key))
        .collect();
    objects
        .into_iter()
        .filter(|object| folder(&object.key).is_none_or(|of| !finished.contains(&of)))
        .collect()
}

impl Archive {
    /// Whether tables are being read, or wait for it: `shapes` are those of the last segment.
    async fn is_reading(&self, shapes: Option<&str>) -> Result<bool> {
        let has_copy = self.objects.exists(&self.layout.copy_json(&self.epoch)).await?;
        if has_copy && self.copied().await?.is_none() {
            return Ok(true);
        }
        let Some(key) = shapes else { return Ok(false) };
        let Some(json) = self.objects.get(key).await? else { return Ok(true) };
        Ok(KnownTables::from_json(key, &json)?.has_wishes())
    }

    /// All objects below this prefix.
    pub(crate) async fn below(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        let mut all: Vec<StoredObject> = Vec::new();
        loop {
            let after = all.last().map_or("", |object| object.key.as_str());
            let page = self.objects.page_after(prefix, after).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_without_its_record_is_none() {
        let object = |key: &str| StoredObject { key: key.into(), bytes: 1, modified_at: None };
        let all = ["c/1-a/checkpoint.json", "c/1-a/x.csv.gz", "c/2-b/x.csv.gz"].map(object).to_vec();
        let lost: Vec<_> = unfinished(all).into_iter().map(|object| object.key).collect();
        assert_eq!(lost, ["c/2-b/x.csv.gz"]);
    }
}
