//! What is announced: the stream's own segments, or those of a replay, which are made as their turn comes.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::{Stream, TryStreamExt as _};
use re_dms_shared::manifest::{Manifest, ManifestError, sha256_hex};
use re_dms_shared::message::{FORMAT, SegmentStaged};
use re_dms_shared::s3_layout::StreamLayout;

use super::derive::Derivation;
use super::refused;
use crate::aws::PutOnce;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::history::History;
use crate::segments::Archive;

/// A segment that can be announced.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) message: SegmentStaged,
    /// The segment of the history that it comes from; 0 where that is not known any more.
    pub(super) origin: u64,
}

/// Segments by number.
pub(super) trait Feed {
    /// The stream whose ledger they go into.
    fn stream(&self) -> &str;

    /// The first one that may not be loaded yet.
    fn first(&self) -> u64;

    /// Where to begin if the ledger lacks this one and what comes behind it.
    fn instead_of(&self, missing: u64) -> u64 {
        missing
    }

    /// This segment; none behind the last one.
    fn segment(&mut self, seq: u64, acks_url: &str) -> impl Future<Output = Result<Option<Ready>>>;
}

fn message(
    bucket: &str,
    manifest_key: String,
    acks_url: &str,
    manifest: &Manifest,
    sha256: String,
) -> SegmentStaged {
    SegmentStaged {
        format: FORMAT,
        stream: manifest.stream.clone(),
        epoch: manifest.epoch.clone(),
        seq: manifest.seq,
        bucket: bucket.to_owned(),
        manifest_key,
        manifest_sha256: sha256,
        ack_queue_url: acks_url.to_owned(),
    }
}

fn segment_key(layout: &StreamLayout, manifest: &Manifest) -> String {
    layout.segment(&manifest.epoch, manifest.seq).manifest()
}

fn unwritable(error: &ManifestError) -> Error {
    Error::fatal(Who::Stream, format!("a manifest can't be written: {error}"), "report this as a bug")
}

/// The stream's own.
pub(super) struct OwnFeed<'a> {
    archive: &'a Archive,
    first: u64,
    to: u64,
    /// What an empty ledger begins with, in place of its last segment and all before that.
    base: Option<SegmentStaged>,
}

impl<'a> OwnFeed<'a> {
    pub(super) fn new(archive: &'a Archive, to: u64) -> Self {
        Self { archive, first: 1, to, base: None }
    }

    pub(super) fn begin_at(&mut self, first: u64) {
        self.first = first;
    }

    /// Its manifest is written once, whoever restores by it.
    pub(super) async fn begin_with(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let objects = &self.archive.objects;
        let (key, manifest) = checkpoint.restoring();
        let mut json = Bytes::from(manifest.to_json().map_err(|error| unwritable(&error))?);
        if objects.put_once(&key, json.clone()).await? == PutOnce::Exists {
            let hint = "restore the object, or ask for the same again";
            let there = objects.get(&key).await?;
            json = there.ok_or_else(|| refused(format!("{key} vanished from S3"), hint))?;
        }
        self.base = Some(message(objects.bucket(), key, "", &manifest, sha256_hex(&json)));
        self.first = manifest.seq;
        Ok(())
    }
}

impl Feed for OwnFeed<'_> {
    fn stream(&self) -> &str {
        &self.archive.stream
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn instead_of(&self, missing: u64) -> u64 {
        match &self.base {
            Some(base) if missing == 1 => base.seq,
            _ => missing,
        }
    }

    async fn segment(&mut self, seq: u64, acks_url: &str) -> Result<Option<Ready>> {
        if seq > self.to {
            return Ok(None);
        }
        if let Some(base) = self.base.as_ref().filter(|base| base.seq == seq) {
            let message = SegmentStaged { ack_queue_url: acks_url.to_owned(), ..base.clone() };
            return Ok(Some(Ready { message, origin: seq }));
        }
        let Archive { objects, layout, .. } = self.archive;
        let staged = self.archive.history().segment(seq).await?;
        let staged = staged.ok_or_else(|| {
            refused(
                format!("segment {seq} is gone from S3"),
                "restore it: Redshift can't be brought beyond it",
            )
        })?;
        let key = segment_key(layout, &staged.manifest);
        let message = message(objects.bucket(), key, acks_url, &staged.manifest, staged.sha256);
        Ok(Some(Ready { message, origin: seq }))
    }
}

/// A replay's: derived from the history's one after the other, each written once.
pub(super) struct DerivedFeed<'a> {
    archive: &'a Archive,
    layout: StreamLayout,
    stream: String,
    derivation: Derivation,
    origins: Pin<Box<dyn Stream<Item = Result<Manifest>> + 'a>>,
    /// Derived and not made yet, with the segments that they come from.
    drafts: VecDeque<(Manifest, u64)>,
    /// The history's last one.
    to: u64,
    /// Loaded as far as receipts tell: what is there already is not written again.
    loaded: u64,
    /// How many are made.
    made: u64,
    is_end: bool,
}

impl<'a> DerivedFeed<'a> {
    pub(super) async fn new(
        config: &Config,
        archive: &'a Archive,
        stream: &str,
        derivation: Derivation,
        (origins, to): (Pin<Box<dyn Stream<Item = Result<Manifest>> + 'a>>, u64),
    ) -> Result<Self> {
        let layout = StreamLayout::new(&config.s3.prefix, stream);
        let history = History::new(&archive.objects, &layout, &archive.epoch);
        let loaded = match history.range().await? {
            Some((first, last)) => history.last_loaded(first, last).await?,
            None => 0,
        };
        Ok(Self {
            archive,
            layout,
            stream: stream.to_owned(),
            derivation,
            origins,
            drafts: VecDeque::new(),
            to,
            loaded,
            made: 0,
            is_end: false,
        })
    }

    /// Makes the next one; none at the end.
    async fn make(&mut self) -> Result<Option<Ready>> {
        while self.drafts.is_empty() && !self.is_end {
            match self.origins.try_next().await?.filter(|origin| origin.seq <= self.to) {
                Some(origin) => {
                    let drafts = self.derivation.drafts(&origin);
                    self.drafts.extend(drafts.into_iter().map(|draft| (draft, origin.seq)));
                }
                None => self.is_end = true,
            }
        }
        let Some((draft, origin)) = self.drafts.pop_front() else { return Ok(None) };
        let manifest = self.derivation.number(draft);
        let sha256 = self.write(&manifest).await?;
        self.derivation.made(manifest.seq, sha256.clone());
        self.made = manifest.seq;
        let bucket = self.archive.objects.bucket();
        let key = segment_key(&self.layout, &manifest);
        let message = message(bucket, key, "", &manifest, sha256);
        Ok(Some(Ready { message, origin }))
    }

    /// Returns the checksum of the one that is there.
    async fn write(&self, manifest: &Manifest) -> Result<String> {
        let json = manifest.to_json().map_err(|error| unwritable(&error))?;
        let history = History::new(&self.archive.objects, &self.layout, &self.archive.epoch);
        if manifest.seq > self.loaded {
            let key = self.layout.segment(&manifest.epoch, manifest.seq).manifest();
            let json = Bytes::from(json);
            if self.archive.objects.put_once(&key, json.clone()).await? == PutOnce::Written {
                return Ok(sha256_hex(&json));
            }
        } else if manifest.seq < self.loaded {
            // Only the last one's checksum is named by one that is not loaded.
            return Ok(sha256_hex(&json));
        }
        let there = history.segment(manifest.seq).await?.ok_or_else(|| {
            let hint = "choose another --stream NAME";
            refused(format!("segment {} of {} vanished from S3", manifest.seq, self.stream), hint)
        })?;
        // Another version of this program may write the same with other words.
        if (there.manifest.end_lsn, &there.manifest.steps) == (manifest.end_lsn, &manifest.steps) {
            return Ok(there.sha256);
        }
        let what = format!("segment {} of {} on S3 is another one", manifest.seq, self.stream);
        Err(refused(what, "give the replay another --stream NAME"))
    }
}

impl Feed for DerivedFeed<'_> {
    fn stream(&self) -> &str {
        &self.stream
    }

    fn first(&self) -> u64 {
        self.loaded + 1
    }

    async fn segment(&mut self, seq: u64, acks_url: &str) -> Result<Option<Ready>> {
        let mut found = None;
        while self.made < seq {
            match self.make().await? {
                None => break,
                ready => found = ready,
            }
        }
        if found.as_ref().is_none_or(|ready| ready.message.seq != seq) {
            if seq > self.made {
                return Ok(None);
            }
            // It is asked for once more.
            let history = History::new(&self.archive.objects, &self.layout, &self.archive.epoch);
            let staged = history.segment(seq).await?.ok_or_else(|| {
                let hint = "choose another --stream NAME";
                refused(format!("segment {seq} of {} vanished from S3", self.stream), hint)
            })?;
            let bucket = self.archive.objects.bucket();
            let key = segment_key(&self.layout, &staged.manifest);
            let message = message(bucket, key, "", &staged.manifest, staged.sha256);
            found = Some(Ready { message, origin: 0 });
        }
        Ok(found.map(|mut ready| {
            acks_url.clone_into(&mut ready.message.ack_queue_url);
            ready
        }))
    }
}
