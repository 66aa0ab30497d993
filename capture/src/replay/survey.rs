//! Reading the history before anything is done: which tables are meant, where to stop, and whether all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{Action, Manifest, Step};

use super::base::Base;
use super::derive::{Derivation, Names};
use super::{Oids, Request, refused};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::segments::{Archive, Point, Stored};

/// Objects that are looked for at the same time.
const LOOKS: usize = 16;

/// What a replay needs, all of which is on S3.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// The first segment that is read.
    pub(crate) first: u64,
    /// The last one.
    pub(crate) to: u64,
    /// Where that one ends.
    pub(crate) end_lsn: Lsn,
    /// Its manifest's checksum.
    pub(crate) sha256: String,
    /// When its last transaction was committed.
    pub(crate) committed_at: Timestamp,
    /// The tables that are meant, however they were called.
    pub(crate) oids: Oids,
    /// Where tables begin to be read anew whose rows come before the end: segments and numbers of these steps.
    pub(super) waits: BTreeSet<(u64, u32)>,
    /// Tables whose rows, read anew, come behind the end.
    pub(crate) unfinished: Oids,
    /// Schemas in Redshift that the stream's tables were in.
    pub(super) target_schemas: BTreeSet<String>,
    /// In the files that are needed.
    pub(super) rows: u64,
    /// In the files that are needed.
    pub(super) bytes: u64,
}

/// What one table needs.
#[derive(Clone, Debug, Default)]
struct Needs {
    is_meant: bool,
    rows: u64,
    bytes: u64,
    /// What is gone, the first few.
    gone: Vec<String>,
}

impl Survey {
    pub(crate) async fn make(
        archive: &Archive,
        request: &Request,
        to: Option<u64>,
        base: &Base,
    ) -> Result<Self> {
        let first = base.seq() + 1;
        let mut reading = Reading {
            request,
            needs: BTreeMap::new(),
            schemas: BTreeSet::new(),
            names: Names::default(),
            waits: BTreeSet::new(),
            waiting: BTreeMap::new(),
            last: None,
        };
        for image in base.images() {
            reading.steps(archive, &image, &BTreeMap::new()).await?;
        }
        reading.last = base.end();
        let mut stored = pin!(archive.segments(first));
        while let Some(segment) = stored.try_next().await? {
            if to.is_some_and(|to| segment.manifest.seq > to) {
                break;
            }
            reading.take(archive, &segment, first).await?;
        }
        let last = reading.last.as_ref().map_or(first - 1, |last| last.seq);
        if let Some(to) = to.filter(|to| last < *to) {
            let what = format!(
                "segment {} of {} is not on S3, and the replay goes up to {to}",
                last + 1,
                archive.stream
            );
            return Err(refused(what, "`re_dms segments list` shows what is there"));
        }
        if reading.last.is_none() {
            return Err(refused(
                format!("segment {first} of {} is not on S3", archive.stream),
                "`re_dms segments list` shows what is there",
            ));
        }
        reading.finish(base, first)
    }

    /// How the segments of another stream are made from these.
    pub(crate) fn derivation(&self, stream: &str, into: Option<&str>, base: &Base) -> Derivation {
        Derivation::new(stream, into, self.oids.clone(), base.copied().cloned(), self.waits.clone())
    }

    /// The last segment that is asked for, if an end was: of a time, the one before the first that holds anything later.
    pub(crate) async fn end(archive: &Archive, request: &Request) -> Result<Option<u64>> {
        let to = match request.to {
            None => return Ok(None),
            Some(Point::Segment(seq)) => return Ok(Some(seq)),
            Some(to) => to,
        };
        let (mut last, mut next) = (None, u64::MAX);
        let mut stored = pin!(archive.segments(0));
        while let Some(segment) = stored.try_next().await? {
            let manifest = &segment.manifest;
            // The initial copy's times are those of the copying.
            if manifest.copy.is_none() && to.is_before_end_of(manifest) {
                next = manifest.seq;
                break;
            }
            last = Some(manifest.seq);
        }
        if last.is_some() {
            return Ok(last);
        }
        if next == 1 {
            return Err(refused("nothing on S3 was committed up to then", "give a later --to"));
        }
        // What was merged may be just that, and its segments may be gone.
        let before = next.saturating_sub(1);
        let checkpoint = Checkpoint::newest(archive, before, &request.tables).await?;
        let fits = |found: &Checkpoint| {
            (found.seq == before || next == u64::MAX) && !to.is_before(found.last_commit_time)
        };
        match checkpoint.filter(fits) {
            Some(found) => Ok(Some(found.seq)),
            None => Err(gone("whatever was committed up to then")),
        }
    }

    /// The first segment that holds anything from the point on that was asked for.
    pub(super) async fn first_with(archive: &Archive, request: &Request) -> Result<u64> {
        let from = match request.from {
            Some(Point::Segment(seq)) => return Ok(seq.max(1)),
            Some(from) => from,
            None => return Ok(1),
        };
        let mut stored = pin!(archive.segments(0));
        while let Some(segment) = stored.try_next().await? {
            if segment.manifest.copy.is_none() && !from.is_after(&segment.manifest) {
                return Ok(segment.manifest.seq);
            }
        }
        Err(refused(
            "no segment holds anything from that time on",
            "`re_dms segments list` shows what is there",
        ))
    }
}

/// Where the history was read to.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) seq: u64,
    pub(super) sha256: String,
    pub(super) lsn: Lsn,
    pub(super) committed_at: Timestamp,
}

struct Reading<'a> {
    request: &'a Request,
    needs: BTreeMap<u32, Needs>,
    schemas: BTreeSet<String>,
    names: Names,
    waits: BTreeSet<(u64, u32)>,
    /// By table, where it began to be read anew.
    waiting: BTreeMap<u32, (u64, u32)>,
    last: Option<End>,
}

impl Reading<'_> {
    async fn take(&mut self, archive: &Archive, segment: &Stored, first: u64) -> Result<()> {
        let manifest = &segment.manifest;
        let expected = self.last.as_ref().map_or(first, |last| last.seq + 1);
        if manifest.seq != expected {
            return Err(gone(&format!("segment {expected} of {}", archive.stream)));
        }
        let named = manifest.predecessor.as_ref().map(|before| &before.sha256);
        if let (Some(before), Some(named)) = (&self.last, named)
            && *named != before.sha256
        {
            let what = format!("segment {expected} does not follow the segment {} that is on S3", before.seq);
            return Err(refused(what, "an object was changed: restore it"));
        }
        self.last = Some(End {
            seq: manifest.seq,
            sha256: segment.sha256.clone(),
            lsn: manifest.end_lsn,
            committed_at: manifest.last_commit_time,
        });
        self.steps(archive, manifest, &segment.objects).await
    }

    async fn steps(
        &mut self,
        archive: &Archive,
        manifest: &Manifest,
        listed: &BTreeMap<String, u64>,
    ) -> Result<()> {
        for step in &manifest.steps {
            self.schemas.insert(step.table.target_schema.to_ascii_lowercase());
            self.names.see(step);
            let missing = missing_files(archive, listed, step).await?;
            let needs = self.needs.entry(step.table.oid).or_default();
            needs.is_meant |= self.request.tables.step(step);
            match &step.action {
                Action::Resync => {
                    self.waiting.insert(step.table.oid, (manifest.seq, step.number));
                }
                Action::Replace(_) => self.waits.extend(self.waiting.remove(&step.table.oid)),
                Action::Load(_) | Action::Chunk(_) | Action::Truncate | Action::Schema(_) => {}
            }
            if let Some(load) = step.action.load() {
                needs.rows += load.rows.total();
                needs.bytes += load.files.iter().map(|file| file.bytes).sum::<u64>();
            }
            needs.gone.extend(missing.into_iter().take(3_usize.saturating_sub(needs.gone.len())));
        }
        Ok(())
    }

    fn finish(self, base: &Base, first: u64) -> Result<Survey> {
        let End { seq: to, sha256, lsn: end_lsn, committed_at } = self.last.unwrap_or_default();
        let meant: BTreeMap<_, _> = self.needs.into_iter().filter(|(_, needs)| needs.is_meant).collect();
        if let Some(key) = meant.values().flat_map(|needs| &needs.gone).next() {
            return Err(gone(key));
        }
        let collides = |(one, other): &(u32, u32)| meant.contains_key(one) && meant.contains_key(other);
        if let Some((_, both)) = self.names.collisions.iter().find(|(pair, _)| collides(pair))
            && self.request.into.is_some()
        {
            let what = format!("{both} would be one table in the schema that all go into");
            return Err(refused(what, "pick tables with --table, and replay the others into another schema"));
        }
        let early = base.copied().into_iter().flat_map(|copied| &copied.tables);
        let latest = early.filter(|table| meant.contains_key(&table.oid)).map(|table| table.snapshot).max();
        // Without an end that was asked for, what there is may well be the copy alone.
        if let Some(snapshot) = latest.filter(|snapshot| self.request.to.is_some() && end_lsn < *snapshot) {
            let what =
                format!("segment {to} ends at {end_lsn}, before the initial copy's snapshot at {snapshot}");
            return Err(refused(what, "the copy is the oldest state there is: give a later --to"));
        }
        Ok(Survey {
            first,
            to,
            end_lsn,
            sha256,
            committed_at,
            rows: meant.values().map(|needs| needs.rows).sum(),
            bytes: meant.values().map(|needs| needs.bytes).sum(),
            waits: self.waits,
            unfinished: self.waiting.into_keys().filter(|oid| meant.contains_key(oid)).collect(),
            oids: meant.into_keys().collect(),
            target_schemas: self.schemas,
        })
    }
}

fn gone(what: &str) -> crate::error::Error {
    refused(
        format!("{what} is gone from S3, or was changed: the replay needs it"),
        "restore it (a versioned bucket has it), begin behind it with --from, or end no earlier than a checkpoint that is there: \
         segments.retention lets go what lies before the oldest",
    )
}

/// Objects of a step that are not there, or not of their size.
async fn missing_files(
    archive: &Archive,
    listed: &BTreeMap<String, u64>,
    step: &Step,
) -> Result<Vec<String>> {
    let Some(load) = step.action.load() else { return Ok(Vec::new()) };
    if load.rows.total() == 0 {
        return Ok(Vec::new());
    }
    let files = load.files.iter().map(|file| (file.key.as_str(), Some(file.bytes)));
    let all = files.chain([(load.copy_manifest.as_str(), None)]);
    let looks = all.map(|(key, bytes)| async move {
        let found = match listed.get(key) {
            Some(found) => Some(*found),
            // The initial copy's are elsewhere.
            None => archive.objects.size(key).await?,
        };
        let is_there = found.is_some_and(|found| bytes.is_none_or(|bytes| bytes == found));
        Ok((!is_there).then(|| key.to_owned()))
    });
    let missing: Vec<Option<String>> = stream::iter(looks).buffered(LOOKS).try_collect().await?;
    Ok(missing.into_iter().flatten().collect())
}
