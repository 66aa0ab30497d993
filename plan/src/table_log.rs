//! Statements on the table log, and what it says: which targets are quarantined, how often one failed, which are done
//! where a segment's tables are committed one by one.
//!
//! Whoever adds rows holds the ledger's lock and has checked that the last row's number is the one that it read: what
//! was planned from the log holds until the end of the transaction.

mod pruning;
mod record;

pub(crate) use pruning::forget_loaded;
pub use pruning::{ended, prune};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

use re_dms_shared::manifest::Table;
use re_dms_shared::sql::{ident, literal};
use re_dms_shared::table_log::{
    COLUMNS, Event, Quarantine as Told, QuarantinedTable, Resync, qualified_name,
};

pub(super) use record::Record;
use record::{short, values};

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
    why: Why,
}

/// What a quarantine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The blame says so.
    Blamed,
    Paused,
    ReadAnew(ReadAnew),
}

/// How far a table that is read anew came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadAnew {
    /// The number of the row that says where its rows are, once they are.
    pub copied: Option<u64>,
    /// They are in.
    pub replaced: bool,
}

/// A table whose steps are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub target: Target,
    /// The number of the row that began it.
    pub since: u64,
    /// That row's segment.
    pub epoch: String,
    /// Its number.
    pub seq: u64,
    /// If it is being read anew.
    pub read_anew: Option<ReadAnew>,
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
            let why = Why::Blamed;
            self.quarantined.insert(target, Quarantine { change, epoch, seq, blame, why });
        } else if is(Event::Paused) || is(Event::Resync) {
            let why = if is(Event::Paused) { Why::Paused } else { Why::ReadAnew(ReadAnew::default()) };
            self.failures.remove(&target);
            self.quarantined.insert(target, Quarantine { change, epoch, seq, blame, why });
        } else if is(Event::Copied) || is(Event::Replaced) {
            let quarantine = self.quarantined.get_mut(&target);
            if let Some(Quarantine { why: Why::ReadAnew(read_anew), .. }) = quarantine {
                if is(Event::Copied) {
                    read_anew.copied = Some(change);
                } else {
                    read_anew.replaced = true;
                }
            }
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
    #[must_use]
    pub fn has_loaded(&self) -> bool {
        !self.loaded.is_empty()
    }

    /// Whether its rows are read anew, and are not in yet.
    #[must_use]
    pub fn is_read_anew(&self, target: &Target) -> bool {
        let why = self.quarantined.get(target).map(|quarantine| quarantine.why);
        matches!(why, Some(Why::ReadAnew(ReadAnew { replaced: false, .. })))
    }

    /// The quarantined target with this display form.
    #[must_use]
    pub fn waiting(&self, name: &str) -> Option<Waiting> {
        let mut all = self.quarantined.iter();
        let (target, quarantine) = all.find(|(target, _)| target.to_string() == name)?;
        let read_anew = match quarantine.why {
            Why::ReadAnew(read_anew) => Some(read_anew),
            Why::Blamed | Why::Paused => None,
        };
        let Quarantine { change, epoch, seq, .. } = quarantine;
        Some(Waiting { target: target.clone(), since: *change, epoch: epoch.clone(), seq: *seq, read_anew })
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
            paused: quarantine.why == Why::Paused,
            resync: match quarantine.why {
                Why::ReadAnew(ReadAnew { copied: Some(_), .. }) => Some(Resync::Loading),
                Why::ReadAnew(ReadAnew { copied: None, .. }) => Some(Resync::Reading),
                Why::Blamed | Why::Paused => None,
            },
        };
        // Somebody waits for those that were read anew, to have them loaded.
        let (anew, others): (Vec<_>, Vec<_>) =
            self.quarantined.iter().partition(|(_, quarantine)| matches!(quarantine.why, Why::ReadAnew(_)));
        let tables = anew.into_iter().chain(others).take(TABLES_TOLD).map(told).collect();
        Told { as_of: self.last_change, tables }
    }

    /// As if the segment with these bad tables had been loaded.
    pub fn learn_quarantine(&mut self, epoch: &str, seq: u64, bad: &BTreeMap<Target, Blame>) {
        for (target, blame) in bad {
            self.last_change += 1;
            let quarantine = Quarantine {
                change: self.last_change,
                epoch: epoch.to_owned(),
                seq,
                blame: blame.clone(),
                why: Why::Blamed,
            };
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
         WHERE \"event\" IN ('quarantined', 'held', 'paused', 'resync', 'copied', 'replaced', 'resumed') \
         OR (\"event\" = 'failed' AND \"epoch\" = {epoch} AND \"seq\" = {seq}) \
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

/// The row with this number, in the form of [`skipped`].
#[must_use]
pub fn copied(stream: &str, change: u64) -> String {
    format!(
        "SELECT \"change\", \"epoch\", \"seq\", \"bucket\", \"manifest_key\", \"manifest_sha256\" FROM {} \
         WHERE \"change\" = {change}",
        qualified_name(stream)
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
