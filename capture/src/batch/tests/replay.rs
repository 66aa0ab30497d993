//! The proof of the compaction: random histories go through batches and rendered files into an imitation of the
//! loader, which must end up with what a plain map says after every change by itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use re_dms_shared::manifest::Layout;

use super::*;
use crate::rows::tests::{RenderedLoad, unpacked, write_load};

/// Two key columns and three others.
const COLUMNS: &str = "AcBde";
/// Where a row has what only Redshift knows of it: a column that the source has dropped.
const KEPT: usize = 5;
const KEY: [usize; 2] = [0, 2];
const OTHERS: [usize; 3] = [1, 3, 4];

type Row = Vec<Option<String>>;
type Key = [u8; 2];

/// What happens; whatever the table's state does not allow is turned into what it does.
#[derive(Clone, Debug)]
enum Event {
    /// Sets the key's row, as insert or update. Columns beyond `changed` keep their value where there is a row and
    /// come as unchanged.
    Write {
        key: Key,
        values: [Option<u8>; 3],
        changed: [bool; 3],
        sent: Sent,
    },
    Rekey {
        key: Key,
        to: Key,
        values: [Option<u8>; 3],
        changed: [bool; 3],
        sent: Sent,
    },
    Delete {
        key: Key,
    },
    Truncate,
    /// The batch is cut, the next one begins.
    Cut,
}

/// What an update says about the row before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Nothing, if the key stays; else the old key.
    Least,
    /// The old key, and the new one's columns that did not change are unchanged TOAST.
    KeyAndToastedKey,
    /// REPLICA IDENTITY FULL.
    Full,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = || [0..3_u8, 0..2_u8];
    let values = || prop::array::uniform3(prop::option::weighted(0.9, 0..50_u8));
    let changed = || prop::array::uniform3(prop::bool::weighted(0.6));
    let sent =
        || prop_oneof![8 => Just(Sent::Least), 1 => Just(Sent::KeyAndToastedKey), 1 => Just(Sent::Full)];
    let event = prop_oneof![
        6 => (key(), values(), changed(), sent())
            .prop_map(|(key, values, changed, sent)| Event::Write { key, values, changed, sent }),
        5 => (key(), key(), values(), changed(), sent())
            .prop_map(|(key, to, values, changed, sent)| Event::Rekey { key, to, values, changed, sent }),
        3 => key().prop_map(|key| Event::Delete { key }),
        1 => prop::bool::weighted(0.2).prop_map(|yes| if yes { Event::Truncate } else { Event::Cut }),
    ];
    prop::collection::vec(event, 0..60)
}

fn row_of(key: Key, values: [Option<String>; 3]) -> Row {
    let mut row = vec![None; 5];
    for (position, part) in KEY.into_iter().zip(key) {
        row[position] = Some(part.to_string());
    }
    for (position, value) in OTHERS.into_iter().zip(values) {
        row[position] = value;
    }
    row
}

/// The row before with changed columns replaced, and as the stream shows it: unchanged cells left out.
fn changed_row(
    before: &Row,
    key: Key,
    values: [Option<u8>; 3],
    changed: [bool; 3],
    toasted_key: bool,
) -> (Row, Vec<TestCell>) {
    let after = std::array::from_fn(|at| {
        if changed[at] { values[at].map(|value| value.to_string()) } else { before[OTHERS[at]].clone() }
    });
    let after = row_of(key, after);
    let mut shown: Vec<TestCell> = after.iter().cloned().map(Some).collect();
    for at in 0..3 {
        // NULL is never TOASTed.
        if !changed[at] && after[OTHERS[at]].is_some() {
            shown[OTHERS[at]] = None;
        }
    }
    if toasted_key {
        for position in KEY {
            if before[position] == after[position] {
                shown[position] = None;
            }
        }
    }
    (after, shown)
}

/// The source: a plain map, and the batch that follows it.
struct Source {
    shape: Arc<TableShape>,
    rows: BTreeMap<Key, Row>,
    batch: Batch,
}

impl Source {
    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Write { key, values, changed, sent } => match self.rows.get(&key).cloned() {
                None => {
                    let mut row = row_of(key, values.map(|value| value.map(|value| value.to_string())));
                    let new = bytes_of(&row.iter().cloned().map(Some).collect::<Vec<_>>());
                    self.batch
                        .apply(&self.shape, ChangeKind::Insert { new: Tuple::from_checked(&new) })
                        .unwrap();
                    row.push(None);
                    self.rows.insert(key, row);
                }
                Some(before) => self.update(&before, key, key, values, changed, sent),
            },
            Event::Rekey { key, to, values, changed, sent } => {
                if let Some(before) = self.rows.get(&key).cloned()
                    && (key == to || !self.rows.contains_key(&to))
                {
                    self.update(&before, key, to, values, changed, sent);
                }
            }
            Event::Delete { key } => {
                if self.rows.remove(&key).is_some() {
                    let old = old_key(key);
                    self.batch
                        .apply(
                            &self.shape,
                            ChangeKind::Delete { old: OldTuple::Key(Tuple::from_checked(&old)) },
                        )
                        .unwrap();
                }
            }
            Event::Truncate => {
                self.rows.clear();
                self.batch.truncate(&self.shape);
            }
            Event::Cut => {}
        }
    }

    fn update(
        &mut self,
        before: &Row,
        from: Key,
        to: Key,
        values: [Option<u8>; 3],
        changed: [bool; 3],
        sent: Sent,
    ) {
        let (mut after, shown) = changed_row(before, to, values, changed, sent == Sent::KeyAndToastedKey);
        let (old_key, new) = (old_key(from), bytes_of(&shown));
        let full = bytes_of(&before[..KEPT].iter().cloned().map(Some).collect::<Vec<_>>());
        after.push(before[KEPT].clone());
        let old = match sent {
            Sent::Full => Some(OldTuple::Full(Tuple::from_checked(&full))),
            Sent::Least if from == to => None,
            Sent::Least | Sent::KeyAndToastedKey => Some(OldTuple::Key(Tuple::from_checked(&old_key))),
        };
        let change = ChangeKind::Update { old, new: Tuple::from_checked(&new) };
        self.batch.apply(&self.shape, change).unwrap();
        self.rows.remove(&from);
        self.rows.insert(to, after);
    }
}

fn old_key(key: Key) -> Vec<u8> {
    bytes_of(&row_of(key, [None, None, None]).into_iter().map(Some).collect::<Vec<_>>())
}

/// Redshift and the loader: a heap of rows, because Redshift does not keep keys unique by itself.
#[derive(Default)]
struct Target {
    rows: Vec<Row>,
}

impl Target {
    fn apply(&mut self, step: &StepData) {
        match &step.action {
            StepAction::Truncate => self.rows.clear(),
            StepAction::Schema(_) | StepAction::Resync | StepAction::Replace(_) | StepAction::Chunk(_) => {
                unreachable!("not here")
            }
            StepAction::Load(load) => {
                // Small files, so that loads of several come up.
                let rendered = write_load(&step.shape, load, 150).unwrap();
                self.load(&rendered);
            }
        }
    }

    fn load(&mut self, load: &RenderedLoad) {
        let staged = staged_rows(load);
        let of = |codes: &str| -> Vec<&Row> {
            staged.iter().filter(|row| codes.contains(row[0].as_deref().unwrap())).collect()
        };
        if load.rows.moves > 0 {
            assert_eq!(load.rows.total(), load.rows.moves, "moves do not share a load with anything else");
        }
        let keys: BTreeSet<_> = staged.iter().map(|row| (&row[2], &row[4])).collect();
        assert_eq!(keys.len(), staged.len(), "a key occurs at most once in a load");

        let mut inserted = Vec::new();
        for row in of("dr") {
            let gone: Vec<Row> =
                self.rows.extract_if(.., |target| has_key(target, &row[2], &row[4])).collect();
            if row[0].as_deref() == Some("r") {
                let kept = gone.first().and_then(|row| row[KEPT].clone());
                inserted.push([&row[2..], &[kept]].concat());
            }
        }
        // One statement for each set: within it all rows change at the same time.
        for (number, present) in load.present_sets.iter().enumerate() {
            let before = self.rows.clone();
            for row in of("um").into_iter().filter(|row| row[1] == Some(number.to_string())) {
                let is_move = row[0].as_deref() == Some("m");
                let (first, second) = if is_move { (&row[7], &row[8]) } else { (&row[2], &row[4]) };
                let mut hits = 0;
                for at in (0..before.len()).filter(|&at| has_key(&before[at], first, second)) {
                    hits += 1;
                    for &column in present {
                        self.rows[at][column] = row[2 + column].clone();
                    }
                }
                assert_eq!(hits, 1, "an update finds its row");
            }
        }
        inserted.extend(of("i").into_iter().map(|row| [&row[2..], &[None]].concat()));
        self.rows.extend(inserted);
    }
}

fn has_key(row: &Row, first: &Option<String>, second: &Option<String>) -> bool {
    row[KEY[0]] == *first && row[KEY[1]] == *second
}

/// The staging table's rows, read back from the files.
pub(super) fn staged_rows(load: &RenderedLoad) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in &load.files {
        let text = unpacked(file);
        let before = rows.len();
        for record in csv::ReaderBuilder::new().has_headers(false).from_reader(&text[..]).records() {
            let field = |field: &str| (field != "\0").then(|| field.to_owned());
            rows.push(record.unwrap().iter().map(field).collect());
        }
        assert_eq!((rows.len() - before) as u64, file.summary.rows.total());
    }
    assert_eq!(rows.len() as u64, load.rows.total());
    rows
}

/// With `keeps`, a column is dropped on the source at the first cut, and kept in Redshift.
fn check(events: &[Event], mut keeps: bool) {
    let mut source = Source { shape: shape(COLUMNS), rows: BTreeMap::new(), batch: Batch::new() };
    let mut target = Target::default();
    for event in events.iter().chain([&Event::Cut]) {
        source.apply(event);
        if matches!(event, Event::Cut) {
            for step in std::mem::take(&mut source.batch).into_steps() {
                target.apply(&step);
            }
            let mut loaded = target.rows.clone();
            loaded.sort();
            let mut expected: Vec<Row> = source.rows.values().cloned().collect();
            expected.sort();
            assert_eq!(loaded, expected);
            if std::mem::take(&mut keeps) {
                let kept = source.shape.columns()[1].clone();
                let shape = TableShape::clone(&source.shape).with_target(Layout::default(), vec![kept]);
                source.shape = Arc::new(shape);
                let label = |row: &Row| Some(format!("of {:?}", (&row[KEY[0]], &row[KEY[1]])));
                for row in target.rows.iter_mut().chain(source.rows.values_mut()) {
                    row[KEPT] = label(row);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn loads_end_where_the_changes_end(events in events()) {
        check(&events, false);
    }

    #[test]
    fn what_only_redshift_has_of_a_row_stays_with_it(events in events()) {
        check(&events, true);
    }
}
