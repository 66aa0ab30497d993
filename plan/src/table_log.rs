//! Statements on the table log, and what it says: which targets are quarantined, how often one failed, which are done
//! where a segment's tables are committed one by one.
//!
//! Whoever adds rows holds the ledger's lock and has checked that the last row's number is the one that it read: what
//! was planned from the log holds until the end of the transaction.

mod pruning;

pub(crate) use pruning::forget_loaded;
pub use pruning::{ended, prune};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

use re_dms_shared::manifest::Table;
use re_dms_shared::sql::{ident, literal};
use re_dms_shared::table_log::{COLUMNS, Event, Quarantine as Told, QuarantinedTable, qualified_name};

use super::StagedSegment;

/// Rows that one INSERT adds, so that its text stays well below the Data API's limit.
const ROWS_A_STATEMENT: usize = 25;

/// The longest reason and hint that are kept, in bytes: all of them travel in acknowledgements.
const REASON_BYTES: usize = 1000;

/// Quarantined tables that a message names.
const TABLES_TOLD: usize = 50;

/// A table in Redshift.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    schema: String,
    name: String,
}

impl Target {
    /// By its names.
    #[must_use]
    pub fn new(schema: &str, name: &str) -> Self {
        Self { schema: schema.to_ascii_lowercase(), name: name.to_ascii_lowercase() }
    }

    /// A step's.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        Self::new(&table.target_schema, &table.target_name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Why a table can't be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// What went wrong, without row values.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// Nothing went wrong: a change of its definition waits for approval.
    pub held: bool,
}

/// A stream's table log, as far as a segment needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLog {
    read_at: SystemTime,
    /// The segment that it was read for: its epoch and number.
    of: (String, u64),
    last_change: u64,
    quarantined: BTreeMap<Target, Quarantine>,
    failures: BTreeMap<Target, Failures>,
    /// Segments, from that one on, with the targets that they are done with.
    loaded: BTreeSet<(u64, Target)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Quarantine {
    change: u64,
    epoch: String,
    seq: u64,
    blame: Blame,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Failures {
    count: u32,
    last: Blame,
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its number.
    pub change: u64,
    /// Its event's word.
    pub event: String,
    /// What it is about.
    pub target: Target,
    /// The segment's epoch.
    pub epoch: String,
    /// The segment.
    pub seq: u64,
    /// Why.
    pub blame: Blame,
}

impl Default for TableLog {
    fn default() -> Self {
        Self::new(SystemTime::UNIX_EPOCH, "", 0)
    }
}

impl TableLog {
    /// Without a row, for one segment of an epoch.
    #[must_use]
    pub fn new(read_at: SystemTime, epoch: &str, seq: u64) -> Self {
        Self {
            read_at,
            of: (epoch.to_owned(), seq),
            last_change: 0,
            quarantined: BTreeMap::new(),
            failures: BTreeMap::new(),
            loaded: BTreeSet::new(),
        }
    }

    /// Takes the rows of [`read`], in order.
    pub fn add(&mut self, row: LogRow) {
        let LogRow { change, event, target, epoch, seq, blame } = row;
        self.last_change = self.last_change.max(change);
        let is = |of: Event| event == of.word();
        // The last row is always read, whatever segment it is about.
        let of_epoch = self.of.0 == epoch;
        if is(Event::Failed) && of_epoch && self.of.1 == seq {
            let failures = self.failures.entry(target).or_default();
            failures.count += 1;
            failures.last = blame;
        } else if is(Event::Quarantined) || is(Event::Held) {
            let blame = Blame { held: is(Event::Held), ..blame };
            self.quarantined.insert(target, Quarantine { change, epoch, seq, blame });
        } else if is(Event::Resumed) {
            self.quarantined.remove(&target);
            self.failures.remove(&target);
        } else if is(Event::Loaded) && of_epoch && self.of.1 <= seq {
            self.loaded.insert((seq, target));
        }
    }

    /// The last row's number; 0 for none.
    #[must_use]
    pub fn last_change(&self) -> u64 {
        self.last_change
    }

    /// Whether its steps are skipped.
    #[must_use]
    pub fn is_quarantined(&self, target: &Target) -> bool {
        self.quarantined.contains_key(target)
    }

    /// Whether the segment with this number, that was asked for or comes after it, is done with the target.
    #[must_use]
    pub fn is_loaded(&self, seq: u64, target: &Target) -> bool {
        self.loaded.contains(&(seq, target.clone()))
    }

    /// As if no segment had been begun.
    pub(super) fn without_loaded(&self) -> Self {
        Self { loaded: BTreeSet::new(), ..self.clone() }
    }

    /// Whether any segment is done with some of its targets.
    pub(super) fn has_loaded(&self) -> bool {
        !self.loaded.is_empty()
    }

    /// The quarantined target with this display form, and the number of the row that began its quarantine.
    #[must_use]
    pub fn quarantined_target(&self, name: &str) -> Option<(Target, u64)> {
        let mut all = self.quarantined.iter();
        let found = all.find(|(target, _)| target.to_string() == name);
        found.map(|(target, quarantine)| (target.clone(), quarantine.change))
    }

    /// When the API took the question: a clock shared with the statements that follow.
    #[must_use]
    pub fn read_at(&self) -> SystemTime {
        self.read_at
    }

    /// How often the segment that was asked for could not be loaded for the target's sake.
    #[must_use]
    pub fn failures(&self, target: &Target) -> u32 {
        self.failures.get(target).map_or(0, |failures| failures.count)
    }

    /// Those that failed so often or more, and why they did last.
    #[must_use]
    pub fn failed_often(&self, times: u32) -> BTreeMap<Target, Blame> {
        let often = self.failures.iter().filter(|(_, failures)| failures.count >= times);
        often.map(|(target, failures)| (target.clone(), failures.last.clone())).collect()
    }

    /// All that are quarantined, for people: as many as fit into a message.
    #[must_use]
    pub fn told(&self) -> Told {
        let told = |(target, quarantine): (&Target, &Quarantine)| QuarantinedTable {
            table: target.to_string(),
            since_epoch: quarantine.epoch.clone(),
            since_seq: quarantine.seq,
            reason: quarantine.blame.reason.clone(),
            hint: quarantine.blame.hint.clone(),
            held: quarantine.blame.held,
        };
        let tables = self.quarantined.iter().take(TABLES_TOLD).map(told).collect();
        Told { as_of: self.last_change, tables }
    }

    /// As if the segment with these bad tables had been loaded.
    pub fn learn_quarantine(&mut self, epoch: &str, seq: u64, bad: &BTreeMap<Target, Blame>) {
        for (target, blame) in bad {
            self.last_change += 1;
            let quarantine =
                Quarantine { change: self.last_change, epoch: epoch.to_owned(), seq, blame: blame.clone() };
            self.quarantined.insert(target.clone(), quarantine);
        }
    }
}

/// What makes the log.
#[must_use]
pub fn ensure(stream: &str) -> String {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, ty)| format!("{} {ty}", ident(name))).collect();
    format!("CREATE TABLE IF NOT EXISTS {} ({})", qualified_name(stream), columns.join(", "))
}

/// What [`TableLog`] is made of, for one segment of an epoch. The last row is always among it.
#[must_use]
pub fn read(stream: &str, epoch: &str, seq: u64) -> String {
    let (log, epoch) = (qualified_name(stream), literal(epoch));
    format!(
        "SELECT \"change\", \"event\", \"target_schema\", \"target_name\", \"epoch\", \"seq\", \"reason\", \"hint\" FROM {log} \
         WHERE \"event\" IN ('quarantined', 'held', 'resumed') OR (\"event\" = 'failed' AND \"epoch\" = {epoch} AND \"seq\" = {seq}) \
         OR (\"event\" = 'loaded' AND \"epoch\" = {epoch} AND \"seq\" >= {seq}) \
         OR \"change\" = (SELECT MAX(\"change\") FROM {log}) ORDER BY \"change\""
    )
}

/// Up to `limit` rows that say where the target was skipped since the row `since` and not replayed yet.
#[must_use]
pub fn skipped(stream: &str, target: &Target, since: u64, limit: usize) -> String {
    let log = qualified_name(stream);
    let of_target = format!(
        "\"target_schema\" = {} AND \"target_name\" = {}",
        literal(&target.schema),
        literal(&target.name)
    );
    format!(
        "SELECT \"change\", \"epoch\", \"seq\", \"bucket\", \"manifest_key\", \"manifest_sha256\" FROM {log} \
         WHERE \"event\" = 'skipped' AND {of_target} AND \"change\" > (SELECT COALESCE(MAX(\"replays\"), {since}) FROM {log} \
         WHERE \"event\" = 'replayed' AND {of_target} AND \"change\" > {since}) ORDER BY \"change\" LIMIT {limit}"
    )
}

/// A FROM item with the last row's number.
pub(super) fn last_change(stream: &str) -> String {
    format!("(SELECT COALESCE(MAX(\"change\"), 0) AS \"change\" FROM {}) AS \"t\"", qualified_name(stream))
}

/// A condition on [`last_change`].
pub(super) fn is_last_change(change: u64) -> String {
    format!("\"t\".\"change\" = {change}")
}

/// Divides by zero unless `change` is the log's last row.
pub(super) fn guard(stream: &str, change: u64) -> String {
    format!("SELECT 1 / COUNT(*) FROM {} WHERE {}", last_change(stream), is_last_change(change))
}

/// Notes a failure, unless somebody did that already: `known` is how many there were.
#[must_use]
pub fn note_failure(
    stream: &str,
    epoch: &str,
    seq: u64,
    target: &Target,
    blame: &Blame,
    known: u32,
) -> [String; 2] {
    let log = qualified_name(stream);
    let columns: Vec<_> = COLUMNS.iter().map(|(name, _)| ident(name)).collect();
    let values = values(Event::Failed, target, epoch, seq);
    let this = format!(
        "\"event\" = 'failed' AND \"target_schema\" = {} AND \"target_name\" = {} AND \"epoch\" = {} AND \"seq\" = {seq}",
        literal(&target.schema),
        literal(&target.name),
        literal(epoch)
    );
    let insert = format!(
        "INSERT INTO {log} ({}) SELECT \"t\".\"change\" + 1, {values}, NULL, NULL, NULL, NULL, {}, {}, GETDATE() FROM {}, \
         (SELECT COUNT(*) AS \"n\" FROM {log} WHERE {this}) AS \"f\" WHERE \"f\".\"n\" = {known}",
        columns.join(", "),
        short(&blame.reason),
        short(&blame.hint),
        last_change(stream)
    );
    [super::ledger::lock(stream), insert]
}

fn values(event: Event, target: &Target, epoch: &str, seq: u64) -> String {
    format!(
        "{}, {}, {}, {}, {seq}",
        literal(event.word()),
        literal(&target.schema),
        literal(&target.name),
        literal(epoch)
    )
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(REASON_BYTES);
    literal(&text[..end])
}

/// Rows to be added by a plan.
pub(super) struct Record {
    last_change: u64,
    rows: Vec<String>,
}

impl Record {
    /// The log's last row is `change`.
    pub(super) fn after(change: u64) -> Self {
        Self { last_change: change, rows: Vec::new() }
    }

    pub(super) fn quarantined(&mut self, segment: &StagedSegment<'_>, target: &Target, blame: &Blame) {
        let rest = format!("NULL, NULL, NULL, NULL, {}, {}", short(&blame.reason), short(&blame.hint));
        let event = if blame.held { Event::Held } else { Event::Quarantined };
        self.push(&values(event, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(super) fn skipped(&mut self, segment: &StagedSegment<'_>, target: &Target) {
        let StagedSegment { bucket, manifest_key, manifest_sha256, .. } = segment;
        let place = [bucket, manifest_key, manifest_sha256].map(|text| literal(text)).join(", ");
        let rest = format!("{place}, NULL, NULL, NULL");
        self.push(&values(Event::Skipped, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(super) fn replayed(&mut self, segment: &StagedSegment<'_>, target: &Target, skipped_by: u64) {
        let rest = format!("NULL, NULL, NULL, {skipped_by}, NULL, NULL");
        self.push(&values(Event::Replayed, target, &segment.manifest.epoch, segment.manifest.seq), &rest);
    }

    pub(super) fn loaded(&mut self, epoch: &str, seq: u64, target: &Target) {
        self.push(&values(Event::Loaded, target, epoch, seq), "NULL, NULL, NULL, NULL, NULL, NULL");
    }

    /// The log's last row, once these are in it.
    pub(super) fn last_change(&self) -> u64 {
        self.last_change
    }

    pub(super) fn resumed(&mut self, target: &Target) {
        self.push(&values(Event::Resumed, target, "", 0), "NULL, NULL, NULL, NULL, NULL, NULL");
    }

    fn push(&mut self, values: &str, rest: &str) {
        self.last_change += 1;
        self.rows.push(format!("({}, {values}, {rest}, GETDATE())", self.last_change));
    }

    pub(super) fn statements(&self, stream: &str) -> Vec<String> {
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
