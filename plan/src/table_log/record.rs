//! Rows to be added to the table log.

use re_dms_shared::sql::{ident, literal};
use re_dms_shared::table_log::{COLUMNS, Event, qualified_name};

use super::super::StagedSegment;
use super::{Blame, Target};

/// Rows that one INSERT adds, so that its text stays well below the Data API's limit.
const ROWS_A_STATEMENT: usize = 25;

/// The longest reason and hint that are kept, in bytes: all of them travel in acknowledgements.
const REASON_BYTES: usize = 1000;

pub(super) fn values(event: Event, target: &Target, epoch: &str, seq: u64) -> String {
    format!(
        "{}, {}, {}, {}, {seq}",
        literal(event.word()),
        literal(&target.schema),
        literal(&target.name),
        literal(epoch)
    )
}

pub(super) fn short(text: &str) -> String {
    let end = text.floor_char_boundary(REASON_BYTES);
    literal(&text[..end])
}

/// Rows to be added by a plan.
pub(crate) struct Record {
    last_change: u64,
    rows: Vec<String>,
}

impl Record {
    /// The log's last row is `change`.
    pub(crate) fn after(change: u64) -> Self {
        Self { last_change: change, rows: Vec::new() }
    }

    pub(crate) fn quarantined(&mut self, segment: &StagedSegment<'_>, target: &Target, blame: &Blame) {
        let rest = format!("NULL, NULL, NULL, NULL, {}, {}", short(&blame.reason), short(&blame.hint));
        let event = if blame.held { Event::Held } else { Event::Quarantined };
        self.push(&values(event, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(crate) fn skipped(&mut self, segment: &StagedSegment<'_>, target: &Target) {
        self.placed(Event::Skipped, segment, target);
    }

    pub(crate) fn copied(&mut self, segment: &StagedSegment<'_>, target: &Target) {
        self.placed(Event::Copied, segment, target);
    }

    fn placed(&mut self, event: Event, segment: &StagedSegment<'_>, target: &Target) {
        let StagedSegment { bucket, manifest_key, manifest_sha256, .. } = segment;
        let place = [bucket, manifest_key, manifest_sha256].map(|text| literal(text)).join(", ");
        let rest = format!("{place}, NULL, NULL, NULL");
        self.push(&values(event, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(crate) fn resync(&mut self, segment: &StagedSegment<'_>, target: &Target) {
        let (reason, hint) = ("it is read anew from the source", "it comes back by itself");
        let rest = format!("NULL, NULL, NULL, NULL, {}, {}", short(reason), short(hint));
        self.push(&values(Event::Resync, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(crate) fn replaced(&mut self, target: &Target) {
        self.push(&values(Event::Replaced, target, "", 0), "NULL, NULL, NULL, NULL, NULL, NULL");
    }

    pub(crate) fn paused(&mut self, target: &Target, epoch: &str, first: u64) {
        let (reason, hint) = ("paused by `re_dms tables pause`", "`re_dms tables resume` lets it go on");
        let rest = format!("NULL, NULL, NULL, NULL, {}, {}", short(reason), short(hint));
        self.push(&values(Event::Paused, target, epoch, first), &rest);
    }

    pub(crate) fn replayed(&mut self, segment: &StagedSegment<'_>, target: &Target, skipped_by: u64) {
        let rest = format!("NULL, NULL, NULL, {skipped_by}, NULL, NULL");
        self.push(&values(Event::Replayed, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(crate) fn loaded(&mut self, epoch: &str, seq: u64, target: &Target) {
        self.push(&values(Event::Loaded, target, epoch, seq), "NULL, NULL, NULL, NULL, NULL, NULL");
    }

    /// The log's last row, once these are in it.
    pub(crate) fn last_change(&self) -> u64 {
        self.last_change
    }

    pub(crate) fn resumed(&mut self, target: &Target) {
        self.push(&values(Event::Resumed, target, "", 0), "NULL, NULL, NULL, NULL, NULL, NULL");
    }

    fn push(&mut self, values: &str, rest: &str) {
        self.last_change += 1;
        self.rows.push(format!("({}, {values}, {rest}, GETDATE())", self.last_change));
    }

    pub(crate) fn statements(&self, stream: &str) -> Vec<String> {
        let columns: Vec<_> = COLUMNS.iter().map(|(name, _)| ident(name)).collect();
        let insert = |rows: &[String]| {
            format!(
                "INSERT INTO {} ({}) VALUES {}",
                qualified_name(stream),
                columns.join(", "),
                rows.join(", ")
            )
        };
        self.rows.chunks(ROWS_A_STATEMENT).map(insert).collect()
    }
}
