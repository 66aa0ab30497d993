//! `segments.retention`: what no replay to a time within it needs is tagged as expendable, and nothing else.
//!
//! A replay begins with a checkpoint and goes on with the segments behind it. So the newest checkpoint of all tables that is
//! older than the retention is what all replays within it may begin with: segments up to it, and older checkpoints, may go.
//! Without such a checkpoint nothing may. Nor may what is not loaded, what a table that stands still lacks, and the newest
//! segment, from which the stream takes its next number.
//!
//! What may go is written down first ([`Expendable`]), so that nobody takes a folder that is half gone for a segment, and tagged
//! then; a manifest last, so that whoever goes on after a crash finds all that is left to be tagged.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use re_dms_shared::table_log::QuarantinedTable;

use super::expendable::Expendable;
use super::lost::AT_ONCE;
use super::{Archive, Lost, Stored, TablePick};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// Tables that stand still, of which the loader tells no more than these.
const MOST_TOLD: usize = 50;

/// What tables that stand still lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacked {
    /// Nobody has told which there are.
    Unknown,
    /// Nothing before this segment; nothing at all if none.
    From(Option<u64>),
}

impl Lacked {
    /// By what the loader told, of segments of this epoch.
    #[must_use]
    pub fn by(epoch: &str, told: bool, tables: &[QuarantinedTable]) -> Self {
        if !told || tables.len() >= MOST_TOLD {
            return Self::Unknown;
        }
        // One that has stood still since an earlier epoch lacks all of this one.
        let since = |table: &QuarantinedTable| if table.since_epoch == epoch { table.since_seq } else { 1 };
        Self::From(tables.iter().map(since).min())
    }
}

/// Why not more may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There is no checkpoint that replays within the retention could begin with.
    NoCheckpoint,
    /// Not all files of the checkpoint as of this segment are there.
    BrokenCheckpoint(u64),
    /// Replays begin with the checkpoint as of this segment.
    Needed(u64),
    /// What comes is not loaded.
    NotLoaded,
    /// It is the stream's last segment.
    Newest,
    /// A table that stands still lacks it.
    Lacked,
    /// Nobody knows which tables stand still.
    Unknown,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::NoCheckpoint => f.write_str(
                "no checkpoint of all tables is older than segments.retention: `re_dms segments checkpoint` makes one, which is \
                 old enough in time",
            ),
            Kept::BrokenCheckpoint(seq) => {
                write!(f, "files of the checkpoint as of segment {seq} are gone: `re_dms segments checkpoint` makes another one")
            }
            Kept::Needed(seq) => write!(f, "replays begin with the checkpoint as of segment {seq}"),
            Kept::NotLoaded => f.write_str("what comes then is not loaded"),
            Kept::Newest => f.write_str("the newest segment stays"),
            Kept::Lacked => {
                f.write_str("a table that stands still lacks what comes then: `re_dms tables list` shows it")
            }
            Kept::Unknown => f.write_str(
                "it is not known which tables stand still: the capture must be running, and `re_dms tables list` say fewer than 50",
            ),
        }
    }
}

/// What was found, and tagged unless it was only to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Segments up to this one are expendable; 0 for none.
    pub up_to: u64,
    /// Objects that became so now, and their size.
    pub now: Lost,
    /// Why those behind are not.
    pub kept: Kept,
}

/// Tags what no replay to a time within the retention needs, or only counts it.
///
/// # Errors
/// If S3 can't be read, or refuses.
pub async fn expire(
    archive: &Archive,
    retention: Duration,
    lacked: Lacked,
    dry_run: bool,
) -> Result<Expired> {
    let Archive { objects, layout, epoch, .. } = archive;
    let known = Expendable::read(objects, layout, epoch).await?;
    let nothing = |kept| Expired { up_to: known.up_to, now: Lost::default(), kept };
    let Some(base) = base(archive, retention).await? else { return Ok(nothing(Kept::NoCheckpoint)) };
    if !base.is_whole(archive).await? {
        return Ok(nothing(Kept::BrokenCheckpoint(base.seq)));
    }
    let history = archive.history();
    let Some((first, last)) = history.range().await? else { return Ok(nothing(Kept::Newest)) };
    let loaded = history.last_loaded(first, last).await?;
    let (up_to, kept) = last_to_go(base.seq, loaded, last, lacked);
    let up_to = up_to.max(known.up_to);
    if up_to == known.tagged && base.seq <= known.checkpoints {
        return Ok(nothing(kept));
    }
    let Some(stays) = history.segment(up_to + 1).await? else { return Ok(nothing(Kept::Newest)) };
    // What the first that stays names is what all behind it name, or newer.
    let stays = stays.manifest.shapes;
    let mut tags = Tags { archive, dry_run, found: Lost::default() };
    let plan = Expendable { up_to, ..known.clone() };
    if !dry_run {
        plan.write(objects, layout, epoch).await?;
    }
    let mut stored = pin!(archive.segments(known.tagged + 1));
    while let Some(segment) = stored.try_next().await? {
        if segment.manifest.seq > up_to {
            break;
        }
        tags.segment(&segment, stays.as_deref()).await?;
    }
    if base.seq > known.checkpoints {
        tags.checkpoints_before(base.seq).await?;
    }
    // What `copied.json` names lies elsewhere.
    let of_segments = layout.segments(epoch);
    let is_over = |before: &String| Some(before) != stays.as_ref() && before.starts_with(&of_segments);
    if let Some(before) = known.shapes.filter(is_over) {
        tags.all(vec![(before, 0)]).await?;
    }
    if !dry_run {
        let checkpoints = base.seq.max(known.checkpoints);
        let done = Expendable { tagged: up_to, checkpoints, shapes: stays, ..plan };
        done.write(objects, layout, epoch).await?;
    }
    Ok(Expired { up_to, now: tags.found, kept })
}

/// The checkpoint that replays to any time within the retention may begin with, or with a newer one.
pub(super) async fn base(archive: &Archive, retention: Duration) -> Result<Option<Checkpoint>> {
    let retention = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
    let Ok(begin) = Timestamp::now().checked_sub(retention) else { return Ok(None) };
    let all = TablePick::default();
    Checkpoint::newest_of(archive, |found| found.has(&all) && found.last_commit_time <= begin).await
}

/// The last segment that may go, and why no more.
fn last_to_go(base: u64, loaded: u64, last: u64, lacked: Lacked) -> (u64, Kept) {
    let since = match lacked {
        Lacked::Unknown => return (0, Kept::Unknown),
        Lacked::From(since) => since.unwrap_or(u64::MAX),
    };
    let limits = [
        (since.saturating_sub(1), Kept::Lacked),
        // From the last that is loaded a start takes how far that is.
        (loaded.saturating_sub(1), Kept::NotLoaded),
        (last.saturating_sub(1), Kept::Newest),
        (base, Kept::Needed(base)),
    ];
    limits.into_iter().min_by_key(|(seq, _)| *seq).unwrap_or((0, Kept::Unknown))
}

/// Tags objects, and counts them.
struct Tags<'a> {
    archive: &'a Archive,
    dry_run: bool,
    found: Lost,
}

impl Tags<'_> {
    /// All of a segment: its folder, and files of it that lie elsewhere. The manifest comes last.
    async fn segment(&mut self, segment: &Stored, stays: Option<&str>) -> Result<()> {
        let Archive { layout, .. } = self.archive;
        let manifest = layout.segment(&segment.manifest.epoch, segment.manifest.seq).manifest();
        let mut objects = segment.objects.clone();
        for load in segment.manifest.steps.iter().filter_map(|step| step.action.load()) {
            objects.entry(load.copy_manifest.clone()).or_default();
            objects.extend(load.files.iter().map(|file| (file.key.clone(), file.bytes)));
        }
        objects.retain(|key, _| Some(key.as_str()) != stays);
        let last = objects.remove(&manifest).map(|bytes| (manifest, bytes));
        self.all(objects.into_iter().collect()).await?;
        self.all(last.into_iter().collect()).await
    }

    /// Checkpoints as of an earlier segment, each one's record last.
    async fn checkpoints_before(&mut self, seq: u64) -> Result<()> {
        let folder = self.archive.layout.checkpoints(&self.archive.epoch);
        let is_early = |key: &str| {
            let number = key.strip_prefix(&folder).and_then(|rest| rest.split('-').next());
            number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| number < seq)
        };
        let objects = self.archive.below(&folder).await?;
        let objects = objects.into_iter().filter(|object| is_early(&object.key));
        let (records, files): (Vec<_>, Vec<_>) =
            objects.map(|object| (object.key, object.bytes)).partition(|(key, _)| key.ends_with(".json"));
        self.all(files).await?;
        self.all(records).await
    }

    async fn all(&mut self, keys: Vec<(String, u64)>) -> Result<()> {
        self.found.files += keys.len() as u64;
        self.found.bytes += keys.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if self.dry_run {
            return Ok(());
        }
        let objects = &self.archive.objects;
        let tag = |(key, _): (String, u64)| async move { objects.tag_expendable(&key).await };
        futures_util::stream::iter(keys.into_iter().map(tag)).buffer_unordered(AT_ONCE).try_collect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_in_any_way_stays() {
        let none = Lacked::From(None);
        assert_eq!(last_to_go(40, 100, 100, none), (40, Kept::Needed(40)));
        assert_eq!(last_to_go(40, 100, 100, Lacked::From(Some(30))), (29, Kept::Lacked));
        assert_eq!(last_to_go(40, 100, 100, Lacked::From(Some(42))), (40, Kept::Needed(40)));
        assert_eq!(last_to_go(40, 40, 100, none), (39, Kept::NotLoaded));
        assert_eq!(last_to_go(40, 40, 40, none), (39, Kept::NotLoaded));
        assert_eq!(last_to_go(40, 100, 40, none), (39, Kept::Newest));
        assert_eq!(last_to_go(40, 0, 40, none), (0, Kept::NotLoaded));
        assert_eq!(last_to_go(40, 100, 100, Lacked::Unknown), (0, Kept::Unknown));
        assert_eq!(last_to_go(40, 100, 100, Lacked::From(Some(1))), (0, Kept::Lacked));
    }

    #[test]
    fn what_tables_that_stand_still_lack_has_to_be_known() {
        let table = |epoch: &str, since_seq| QuarantinedTable {
            table: "public.t".into(),
            since_epoch: epoch.into(),
            since_seq,
            reason: String::new(),
            hint: String::new(),
            held: false,
            paused: false,
            resync: None,
        };
        assert_eq!(Lacked::by("E", false, &[]), Lacked::Unknown);
        assert_eq!(Lacked::by("E", true, &[]), Lacked::From(None));
        assert_eq!(Lacked::by("E", true, &[table("E", 9), table("E", 7)]), Lacked::From(Some(7)));
        assert_eq!(Lacked::by("E", true, &[table("E", 9), table("D", 70)]), Lacked::From(Some(1)));
        assert_eq!(Lacked::by("E", true, &vec![table("E", 9); 50]), Lacked::Unknown);
    }
}
