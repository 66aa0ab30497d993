//! As [`replay`](super::replay), for a table without a key: what is loaded is the same multiset of rows as on the source,
//! also where rows that differ there are equal in Redshift.

use proptest::prelude::*;

use super::replay::staged_rows;
use super::*;
use crate::rows::tests::write_load;

const FLOAT8: u32 = 701;

/// Few values, so that there are many equal rows. NaN and infinities become NULL.
const TEXTS: [Option<&str>; 4] = [None, Some(""), Some("a"), Some("a ")];
const FLOATS: [Option<&str>; 4] = [None, Some("1"), Some("NaN"), Some("Infinity")];

type Row = [Option<&'static str>; 2];

#[derive(Clone, Debug)]
enum Event {
    Insert(Row),
    /// Of the row at this place, counted around.
    Update {
        place: usize,
        to: Row,
        toasted: bool,
    },
    Delete(usize),
    Truncate,
    /// The stage is closed, as when a transaction outgrows memory.
    HandOn,
    /// All is loaded and compared.
    Cut,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let row = || (0..4_usize, 0..4_usize).prop_map(|(text, float)| [TEXTS[text], FLOATS[float]]);
    let event = prop_oneof![
        6 => row().prop_map(Event::Insert),
        5 => (any::<usize>(), row(), any::<bool>())
            .prop_map(|(place, to, toasted)| Event::Update { place, to, toasted }),
        5 => any::<usize>().prop_map(Event::Delete),
        1 => prop_oneof![1 => Just(Event::Truncate), 4 => Just(Event::HandOn), 4 => Just(Event::Cut)],
    ];
    prop::collection::vec(event, 0..80)
}

fn cells(row: &Row) -> Vec<TestCell> {
    row.iter().map(|value| Some(value.map(str::to_owned))).collect()
}

/// As it is loaded.
fn loaded(row: &Row) -> Vec<Option<String>> {
    let float = row[1].filter(|value| *value == "1");
    [row[0], float].into_iter().map(|value| value.map(str::to_owned)).collect()
}

/// The source: a heap of rows, and the batch that follows it.
struct Source {
    shape: Arc<TableShape>,
    rows: Vec<Row>,
    batch: Batch,
    steps: Vec<StepData>,
}

impl Source {
    fn apply(&mut self, event: &Event) {
        let place = |place: usize, rows: &[Row]| (!rows.is_empty()).then(|| place % rows.len());
        match event {
            Event::Insert(row) => {
                let new = bytes_of(&cells(row));
                self.change(ChangeKind::Insert { new: Tuple::from_checked(&new) });
                self.rows.push(*row);
            }
            Event::Update { place: at, to, toasted } => {
                let Some(at) = place(*at, &self.rows) else { return };
                let mut to = *to;
                let old = bytes_of(&cells(&self.rows[at]));
                let mut shown = cells(&to);
                if *toasted && self.rows[at][0].is_some() {
                    to[0] = self.rows[at][0];
                    shown[0] = None;
                }
                let new = bytes_of(&shown);
                let old = Some(OldTuple::Full(Tuple::from_checked(&old)));
                self.change(ChangeKind::Update { old, new: Tuple::from_checked(&new) });
                self.rows[at] = to;
            }
            Event::Delete(at) => {
                let Some(at) = place(*at, &self.rows) else { return };
                let old = bytes_of(&cells(&self.rows.swap_remove(at)));
                self.change(ChangeKind::Delete { old: OldTuple::Full(Tuple::from_checked(&old)) });
            }
            Event::Truncate => {
                self.rows.clear();
                self.batch.truncate(&self.shape);
            }
            Event::HandOn | Event::Cut => self.steps.extend(std::mem::take(&mut self.batch).into_steps()),
        }
    }

    fn change(&mut self, change: ChangeKind<'_>) {
        self.batch.apply(&self.shape, change).unwrap();
    }
}

/// Redshift and the loader.
fn load(target: &mut Vec<Vec<Option<String>>>, step: &StepData) {
    let StepAction::Load(load) = &step.action else { return target.clear() };
    let rendered = write_load(&step.shape, load, 100).unwrap();
    let staged = staged_rows(&rendered);
    let of = |code: &'static str| staged.iter().filter(move |row| row[0].as_deref() == Some(code));
    for (number, removal) in of("x").enumerate() {
        assert_eq!(removal[4], Some((number + 1).to_string()), "removals are numbered");
        let copies: usize = removal[5].as_ref().unwrap().parse().unwrap();
        for _ in 0..copies {
            let found = target.iter().position(|row| row[..] == removal[2..4]);
            target.swap_remove(found.expect("a removal finds its row"));
        }
    }
    target.extend(of("i").map(|row| row[2..4].to_vec()));
    assert_eq!(of("x").count() + of("i").count(), staged.len(), "nothing else");
}

fn check(events: &[Event]) {
    let column = |name: &str, type_oid| SourceColumn {
        name: name.to_owned(),
        attribute_number: None,
        type_oid,
        type_modifier: -1,
        key: false,
    };
    let columns = vec![column("a", TEXT), column("b", FLOAT8)];
    let shape = Arc::new(TableShape::new(1, ("public", "t"), ("public", "t"), columns).unwrap());
    let mut source = Source { shape, rows: Vec::new(), batch: Batch::new(), steps: Vec::new() };
    let mut target = Vec::new();
    for event in events.iter().chain([&Event::Cut]) {
        source.apply(event);
        if matches!(event, Event::Cut) {
            for step in source.steps.drain(..) {
                load(&mut target, &step);
            }
            let mut expected: Vec<_> = source.rows.iter().map(loaded).collect();
            expected.sort();
            target.sort();
            assert_eq!(target, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn loads_end_where_the_changes_end(events in events()) {
        check(&events);
    }
}
