//! An epoch's segments on S3, in order, however many there are: listed by pages, manifests read some ahead.

use std::collections::{BTreeMap, VecDeque};

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use re_dms_shared::manifest::{CopiedTables, Manifest};
use re_dms_shared::s3_layout::StreamLayout;

use crate::aws::{self, Objects, StoredObject};
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::history::{History, StagedSegment};
use crate::start::{StreamRecord, StreamState};

/// Manifests that are read at the same time.
const AHEAD: usize = 16;

/// Where a stream's history lies.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(crate) objects: Objects,
    pub(crate) layout: StreamLayout,
    pub(crate) stream: String,
    pub(crate) epoch: String,
}

/// A segment as S3 has it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it is.
    pub manifest: Manifest,
    /// Its manifest's checksum.
    pub sha256: String,
    /// All objects in its folder, with their sizes.
    pub objects: BTreeMap<String, u64>,
    /// Whether the loader's receipt is there.
    pub is_loaded: bool,
}

impl Archive {
    /// The stream that the config is for, in the epoch that it is in.
    ///
    /// # Errors
    /// If S3 can't be read, or no stream was ever begun there.
    pub async fn open(config: &Config) -> Result<Self> {
        let sdk = aws::sdk_config(&config.aws).await;
        let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
        let layout = StreamLayout::new(&config.s3.prefix, &config.stream);
        let record = StreamRecord::read(&objects, &layout).await?;
        let Some(StreamRecord { state: StreamState::Active { epoch, .. }, .. }) = record else {
            let what = format!("there is no stream {} in bucket {}", config.stream, config.s3.bucket);
            let hint = "it is made by the first `re_dms run`; else correct stream, s3.bucket or s3.prefix";
            return Err(Error::fatal(Who::Stream, what, hint));
        };
        Ok(Self { objects, layout, stream: config.stream.clone(), epoch: epoch.to_string() })
    }

    /// What finds single segments.
    pub(crate) fn history(&self) -> History<'_> {
        History::new(&self.objects, &self.layout, &self.epoch)
    }

    /// All segments from this one on that have a manifest.
    pub fn segments(&self, from: u64) -> impl Stream<Item = Result<Stored>> + '_ {
        let prefix = self.layout.segments(&self.epoch);
        let folders = Folders {
            objects: &self.objects,
            after: format!("{prefix}{from:012}"),
            prefix,
            page: VecDeque::new(),
            is_end: false,
        };
        let folders = stream::try_unfold(folders, |mut folders| async move {
            Ok(folders.next().await?.map(|folder| (folder, folders)))
        });
        let read = move |folder: Result<Folder>| async move { self.read(folder?).await };
        folders.map(read).buffered(AHEAD).try_filter_map(|stored| async move { Ok(stored) })
    }

    /// The initial copy's tables, once it is done.
    pub(crate) async fn copied(&self) -> Result<Option<CopiedTables>> {
        let key = self.layout.copied_json(&self.epoch);
        let Some(json) = self.objects.get(&key).await? else { return Ok(None) };
        let wrong = |what: String| {
            Error::fatal(
                Who::Stream,
                format!("{key}: {what}"),
                "was it changed by hand, or written by a newer re_dms?",
            )
        };
        let copied: CopiedTables = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        if copied.format > CopiedTables::FORMAT {
            return Err(wrong(format!("format {} is newer than this version reads", copied.format)));
        }
        Ok(Some(copied))
    }

    /// None for what an attempt left that died before its manifest.
    async fn read(&self, folder: Folder) -> Result<Option<Stored>> {
        let segment = self.layout.segment(&self.epoch, folder.seq);
        if !folder.objects.contains_key(&segment.manifest()) {
            return Ok(None);
        }
        let Some(StagedSegment { manifest, sha256 }) = self.history().segment(folder.seq).await? else {
            return Ok(None);
        };
        let is_loaded = folder.objects.contains_key(&segment.receipt());
        Ok(Some(Stored { manifest, sha256, objects: folder.objects, is_loaded }))
    }
}

struct Folder {
    seq: u64,
    objects: BTreeMap<String, u64>,
}

/// Folder by folder, from one page of the listing to the next.
struct Folders<'a> {
    objects: &'a Objects,
    prefix: String,
    after: String,
    page: VecDeque<StoredObject>,
    is_end: bool,
}

impl Folders<'_> {
    async fn next(&mut self) -> Result<Option<Folder>> {
        let mut found: Option<Folder> = None;
        loop {
            if self.page.is_empty() && !self.is_end {
                self.page = self.objects.page_after(&self.prefix, &self.after).await?.into();
                match self.page.back() {
                    Some(last) => self.after.clone_from(&last.key),
                    None => self.is_end = true,
                }
            }
            let Some(object) = self.page.front() else { return Ok(found) };
            let name = object.key.strip_prefix(&self.prefix).and_then(|rest| rest.split_once('/'));
            let seq = name.and_then(|(folder, _)| folder.parse().ok());
            match (&mut found, seq) {
                (Some(folder), Some(seq)) if folder.seq != seq => return Ok(found),
                (Some(folder), Some(_)) => {
                    folder.objects.insert(object.key.clone(), object.bytes);
                }
                (None, Some(seq)) => {
                    let objects = BTreeMap::from([(object.key.clone(), object.bytes)]);
                    found = Some(Folder { seq, objects });
                }
                // Not ours.
                (_, None) => {}
            }
            self.page.pop_front();
        }
    }
}
