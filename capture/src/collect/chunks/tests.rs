//! The proof that ranges belong where they are put: a source whose transactions become visible late, a table in Redshift that is
//! wrong everywhere, and random histories in between. What is read must be right from then on, at every cut.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use re_dms_shared::Lsn;
use tokio::sync::mpsc;

use super::*;
use crate::batch::{Entry, LoadData, StepAction, StepData};
use crate::collect::{Input, Limits, ReadBack};
use crate::config::{AdvanceOn, Config};
use crate::pgoutput::encode::encode;
use crate::pgoutput::{
    Begin, Cell, Change as RowChange, Commit, LogicalMessage, OldTuple, Relation, RelationColumn,
    ReplicaIdentity, Truncate, Tuple,
};
use crate::progress::{Progress, Snapshot};
use crate::relations::{ColumnNow, KnownTables, NamedTable, Relations, TableNow};
use crate::resync::{Command, Desk, Message as Told, REQUESTS, Request, Visible, desk};
use crate::retention::Retention;
use crate::stage::StageItem;
use crate::wal::WalPosition;
use re_dms_shared::manifest::Operation;

const OID: u32 = 7;
const KEYS: u8 = 12;
/// An int, another one, and a text that is TOASTed.
const COLUMNS: [(&str, u32); 3] = [("id", 23), ("n", 23), ("body", 25)];

/// A change's old row and its new one.
type Frames = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A row but for its key.
type Values = (u8, u8);

#[derive(Clone, Debug)]
enum Op {
    /// Inserts the key, or updates it; the text only if it is given.
    Write {
        key: u8,
        n: u8,
        body: Option<u8>,
    },
    Rekey {
        key: u8,
        to: u8,
        body: Option<u8>,
    },
    Delete {
        key: u8,
    },
}

impl Op {
    fn keys(&self) -> Vec<u8> {
        match *self {
            Op::Write { key, .. } | Op::Delete { key } => vec![key],
            Op::Rekey { key, to, .. } => vec![key, to],
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// Commits; maybe nobody sees it yet.
    Transaction {
        ops: Vec<Op>,
        visible: bool,
    },
    Truncate,
    /// The oldest transaction that nobody sees is seen.
    Appear,
    /// Reads so many rows of what is left.
    Read(u8),
    /// Writes the message behind what was read.
    Place,
    /// The reader loses its connection and begins anew.
    BeginAnew,
    Cut,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = || 0..KEYS;
    let body = || prop::option::weighted(0.4, 0..9_u8);
    let op = || {
        prop_oneof![
            4 => (key(), 0..9_u8, body()).prop_map(|(key, n, body)| Op::Write { key, n, body }),
            4 => (key(), key(), body()).prop_map(|(key, to, body)| Op::Rekey { key, to, body }),
            2 => key().prop_map(|key| Op::Delete { key }),
        ]
    };
    let event = prop_oneof![
        10 => (prop::collection::vec(op(), 1..4), prop::bool::weighted(0.7))
            .prop_map(|(ops, visible)| Event::Transaction { ops, visible }),
        4 => (0..4_u8).prop_map(Event::Read),
        4 => Just(Event::Place),
        3 => Just(Event::Appear),
        2 => Just(Event::Cut),
        1 => prop::bool::weighted(0.5).prop_map(|yes| if yes { Event::Truncate } else { Event::BeginAnew }),
    ];
    prop::collection::vec(event, 0..70)
}

fn row(key: u8, n: Option<u8>, body: Option<Option<u8>>) -> Vec<u8> {
    let texts =
        [Some(key.to_string()), n.map(|n| n.to_string()), body.flatten().map(|body| body.to_string())];
    let cells: Vec<_> = texts
        .iter()
        .zip([false, false, body == Some(None)])
        .map(|(text, unchanged)| match text {
            _ if unchanged => Cell::Unchanged,
            Some(text) => Cell::Text(text.as_bytes()),
            None => Cell::Null,
        })
        .collect();
    let mut out = Vec::new();
    Tuple::encode(cells.into_iter(), &mut out);
    out
}

/// The source, its stream, the collector and Redshift.
struct World {
    collector: Collector,
    steps: mpsc::Receiver<StageItem>,
    commands: std::sync::mpsc::Sender<Command>,
    lsn: u64,
    /// As the stream has it.
    rows: BTreeMap<u8, Values>,
    /// As everybody sees it.
    seen: BTreeMap<u8, Values>,
    /// Transactions that nobody sees: number, keys, and what these hold after it.
    hidden: Vec<(u32, BTreeSet<u8>, BTreeMap<u8, Values>)>,
    next_xid: u32,
    described: bool,
    shape: Option<Arc<TableShape>>,
    left: KeyRanges,
    pending: Option<ReadChunk>,
    places: u32,
    target: Vec<(u8, Option<u8>, Option<u8>)>,
}

fn table_now() -> TableNow {
    let column = |((name, type_oid), number): ((&str, u32), i16)| ColumnNow {
        number,
        name: Some(name.to_owned()),
        type_oid,
        modifier: -1,
        published: true,
        default: false,
        missing: false,
        value: None,
        key: Some(number == 1),
        xid: 1,
    };
    let columns = COLUMNS.into_iter().zip(1..).map(column).collect();
    TableNow { oid: OID, schema: "public".into(), name: "t".into(), storage: 1, columns, leaves: None }
}

fn named() -> NamedTable {
    NamedTable { oid: OID, schema: "public".into(), name: "t".into() }
}

impl World {
    fn new(damage: &[(u8, u8)]) -> Self {
        let config = r#"
            stream = "s"
            data_dir = "/d"
            source = { url = "postgres://u@h/d" }
            s3.bucket = "bucket"
            queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
        "#;
        let config = Config::parse(config, vec![]).unwrap();
        let patterns = config.source.tables.clone();
        let look = Box::new(|_| Ok(Some(table_now())));
        let relations =
            Relations::new(patterns, "p".into(), KnownTables::default(), Box::new(|_| Ok(None)), look);
        let (out, steps) = mpsc::channel(10_000);
        let (at_collector, at_reader): (Desk, _) = desk();
        let collector = Collector::new(
            relations,
            Limits::new(&config.batch, AdvanceOn::Loaded),
            Lsn::ZERO,
            ReadBack::new("/nowhere".into()),
            Arc::new(Retention::default()),
            Arc::new(Progress::new(Snapshot::default())),
            out,
        )
        .with_desk(at_collector, "s");
        let rows: BTreeMap<u8, Values> =
            (0..KEYS).filter(|key| key % 3 != 2).map(|key| (key, (0, 9))).collect();
        let mut world = Self {
            collector,
            steps,
            commands: at_reader.commands,
            lsn: 100,
            seen: rows.clone(),
            rows,
            hidden: Vec::new(),
            next_xid: 1000,
            described: false,
            shape: None,
            left: KeyRanges { key: vec!["id".into()], ranges: Vec::new() },
            pending: None,
            places: 0,
            // Rows that the source does not have, others with wrong values, and some twice.
            target: damage.iter().map(|(key, n)| (*key, Some(*n), Some(7))).collect(),
        };
        world.request(Request::Resync { id: "w".into(), tables: vec![named()] });
        world.begin();
        world
    }

    fn feed(&mut self, message: &Message<'_>) {
        let payload = Bytes::from(encode(message));
        let at = WalPosition { file: 1, offset: self.lsn };
        self.collector.take(Input::Frame { payload, at, end: at }).unwrap();
    }

    fn transaction(&mut self, xid: u32, messages: &[Message<'_>]) {
        self.lsn += 10;
        let (commit_lsn, end_lsn) = (Lsn(self.lsn), Lsn(self.lsn + 5));
        let commit_time = Timestamp::UNIX_EPOCH;
        self.feed(&Message::Begin(Begin { final_lsn: commit_lsn, commit_time, xid }));
        for message in messages {
            self.feed(message);
        }
        self.feed(&Message::Commit(Commit { commit_lsn, end_lsn, commit_time }));
    }

    fn xid(&mut self) -> u32 {
        self.next_xid += 1;
        self.next_xid - 1
    }

    fn request(&mut self, request: Request) {
        let content = Told { stream: "s".into(), request }.to_json().unwrap().into_bytes();
        let (xid, lsn) = (self.xid(), Lsn(self.lsn));
        let message =
            LogicalMessage { xid: None, transactional: true, lsn, prefix: REQUESTS, content: &content };
        self.transaction(xid, &[Message::Logical(message)]);
    }

    fn tell(&mut self, command: Command) {
        self.commands.send(command).unwrap();
        self.collector.take_commands();
    }

    /// As the reader does it: from here on changes are remembered; then all that was committed must be visible.
    fn begin(&mut self) {
        let (watching, _) = oneshot::channel();
        self.tell(Command::Watch { oids: vec![OID], watching });
        while !self.hidden.is_empty() {
            self.appear();
        }
        self.pending = None;
        let wish = self.collector.relations.wish_for(OID).cloned().unwrap();
        let sweep = Box::new(Sweep {
            wish,
            since: Lsn(self.lsn + 1),
            now: Some(table_now()),
            key: vec!["id".to_owned()],
        });
        let (begun, mut answer) = oneshot::channel();
        self.places += 1;
        let place = self.places.to_string();
        self.tell(Command::Sweep { place: place.clone(), sweep, begun });
        self.request(Request::Place { id: place });
        let Swept::Read(shape, left) = answer.try_recv().unwrap() else {
            panic!("it can be read by its key")
        };
        (self.shape, self.left) = (Some(shape), left);
    }

    fn appear(&mut self) {
        if self.hidden.is_empty() {
            return;
        }
        let (_, keys, after) = self.hidden.remove(0);
        for key in keys {
            self.seen.remove(&key);
            self.seen.extend(after.get(&key).map(|values| (key, *values)));
        }
    }

    fn commit(&mut self, ops: &[Op], visible: bool) {
        let keys: BTreeSet<u8> = ops.iter().flat_map(Op::keys).collect();
        // Whoever has changed a row is waited for.
        while self.hidden.iter().any(|(_, theirs, _)| !theirs.is_disjoint(&keys)) {
            self.appear();
        }
        let xid = self.xid();
        let mut frames: Vec<Frames> = Vec::new();
        for op in ops {
            match *op {
                Op::Write { key, n, body } => match self.rows.get(&key).copied() {
                    None => {
                        let body = body.unwrap_or(0);
                        self.rows.insert(key, (n, body));
                        frames.push((None, Some(row(key, Some(n), Some(Some(body))))));
                    }
                    Some((_, before)) => {
                        self.rows.insert(key, (n, body.unwrap_or(before)));
                        // An update without its old row: the mark is an empty one.
                        frames.push((Some(Vec::new()), Some(row(key, Some(n), Some(body)))));
                    }
                },
                Op::Rekey { key, to, body } => {
                    if let Some((n, before)) = self.rows.get(&key).copied()
                        && !self.rows.contains_key(&to)
                    {
                        self.rows.remove(&key);
                        self.rows.insert(to, (n, body.unwrap_or(before)));
                        frames.push((Some(row(key, None, None)), Some(row(to, Some(n), Some(body)))));
                    }
                }
                Op::Delete { key } => {
                    if self.rows.remove(&key).is_some() {
                        frames.push((Some(row(key, None, None)), None));
                    }
                }
            }
        }
        let changes: Vec<_> = frames
            .iter()
            .map(|(old, new)| {
                let key = |old: &'_ Vec<u8>| (!old.is_empty()).then_some(());
                let kind = match (old, new) {
                    (None, Some(new)) => ChangeKind::Insert { new: Tuple::from_checked(new) },
                    (Some(old), Some(new)) => ChangeKind::Update {
                        old: key(old).map(|()| OldTuple::Key(Tuple::from_checked(old))),
                        new: Tuple::from_checked(new),
                    },
                    (Some(old), None) => ChangeKind::Delete { old: OldTuple::Key(Tuple::from_checked(old)) },
                    (None, None) => unreachable!(),
                };
                Message::Change(RowChange { xid: None, relation: OID, kind })
            })
            .collect();
        let messages: Vec<_> = self.description().into_iter().chain(changes).collect();
        self.transaction(xid, &messages);
        let after = keys.iter().filter_map(|key| Some((*key, *self.rows.get(key)?))).collect();
        self.hidden.push((xid, keys, after));
        if visible {
            let last = self.hidden.pop().unwrap();
            self.hidden.insert(0, last);
            self.appear();
        }
    }

    fn description(&mut self) -> Option<Message<'static>> {
        let column = |(name, type_oid): (&'static str, u32)| RelationColumn {
            key: name == "id",
            name,
            type_oid,
            type_modifier: -1,
        };
        let relation = Relation {
            xid: None,
            oid: OID,
            schema: "public",
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: COLUMNS.into_iter().map(column).collect(),
        };
        (!std::mem::replace(&mut self.described, true)).then_some(Message::Relation(relation))
    }

    fn truncate(&mut self) {
        while !self.hidden.is_empty() {
            self.appear();
        }
        let xid = self.xid();
        self.rows.clear();
        let truncate = Truncate { xid: None, relations: vec![OID], cascade: false, restart_identity: false };
        let messages: Vec<_> = self.description().into_iter().chain([Message::Truncate(truncate)]).collect();
        self.transaction(xid, &messages);
        self.seen.clear();
    }

    fn read(&mut self, limit: u8) {
        let Some(range) = self.left.ranges.first().cloned() else { return };
        if range.is_key() {
            return self.read_keys(limit);
        }
        let Some(shape) = self.shape.clone() else { return };
        let order = KeyOrder::of(shape.table(), &self.left.key).unwrap();
        let span = order.span(&range).unwrap();
        let limit = usize::from(limit) + 1;
        let rows: Vec<_> = self
            .seen
            .iter()
            .map(|(key, (n, body))| (*key, row(*key, Some(*n), Some(Some(*body)))))
            .filter(|(_, row)| span.contains(&order.of_row(Tuple::from_checked(row)).unwrap()))
            .take(limit)
            .collect();
        let to = if rows.len() < limit {
            range.to.clone()
        } else {
            rows.last().map(|(key, _)| vec![key.to_string()])
        };
        let seen = self.visible();
        let rows = rows
            .into_iter()
            .map(|(_, row)| Entry { operation: Operation::Replace, row: row.into() })
            .collect();
        let range = KeyRange { from: range.from, to };
        self.pending = Some(ReadChunk { oid: OID, wish: "w".into(), seen, ranges: vec![range], shape, rows });
    }

    /// Several keys at once.
    fn read_keys(&mut self, limit: u8) {
        let Some(shape) = self.shape.clone() else { return };
        let keys = self.left.ranges.iter().take_while(|range| range.is_key());
        let ranges: Vec<_> = keys.take(usize::from(limit) + 1).cloned().collect();
        let is_asked = |key: u8| ranges.contains(&KeyRange::of_key(vec![key.to_string()]));
        let rows = self.seen.iter().filter(|(key, _)| is_asked(**key));
        let rows = rows.map(|(key, (n, body))| Entry {
            operation: Operation::Replace,
            row: row(*key, Some(*n), Some(Some(*body))).into(),
        });
        let rows = rows.collect();
        let seen = self.visible();
        self.pending = Some(ReadChunk { oid: OID, wish: "w".into(), seen, ranges, shape, rows });
    }

    fn visible(&self) -> Visible {
        let numbers: Vec<_> = self.hidden.iter().map(|(xid, ..)| xid.to_string()).collect();
        Visible::read(&format!("1:{}:{}", self.next_xid, numbers.join(","))).unwrap()
    }

    fn place(&mut self) {
        let Some(chunk) = self.pending.take() else { return };
        let (placed, mut answer) = oneshot::channel();
        self.places += 1;
        let place = self.places.to_string();
        self.tell(Command::Chunk { place: place.clone(), chunk: Box::new(chunk), placed });
        self.request(Request::Place { id: place });
        match answer.try_recv().unwrap() {
            Placed::Done(left) => self.left = left,
            // More may be left by now.
            Placed::Void(_) | Placed::Begin => {
                if let Some(left) = self.collector.relations.wish_for(OID).and_then(|wish| wish.sweep.clone())
                {
                    self.left = left;
                }
            }
        }
    }

    /// Brings Redshift to where the stream is, and looks at all that is read.
    fn cut(&mut self) {
        self.collector.cut().unwrap();
        while let Ok(item) = self.steps.try_recv() {
            if let StageItem::Steps(steps) = item {
                steps.iter().for_each(|step| self.load(step));
            }
        }
        let left = self.collector.relations.wish_for(OID).map(|wish| wish.sweep.clone().unwrap());
        let left = left.unwrap_or(KeyRanges { key: vec!["id".into()], ranges: Vec::new() });
        let order = KeyOrder::of(self.shape.as_ref().unwrap().table(), &left.key).unwrap();
        let spans: Vec<_> = left.ranges.iter().map(|range| order.span(range).unwrap()).collect();
        let is_read = |key: u8| {
            let key = row(key, None, None);
            let place = order.of_row(Tuple::from_checked(&key)).unwrap();
            !spans.iter().any(|span| span.contains(&place))
        };
        let expected = self.rows.iter().filter(|(key, _)| is_read(**key));
        let expected: Vec<_> =
            expected.into_iter().map(|(key, (n, body))| (*key, Some(*n), Some(*body))).collect();
        let mut found: Vec<_> = self.target.iter().filter(|(key, ..)| is_read(*key)).copied().collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{left:?}");
    }

    /// Redshift and the loader: a heap, because Redshift does not keep keys unique by itself.
    fn load(&mut self, step: &StepData) {
        let value = |cell: &Cell<'_>| match cell {
            Cell::Text(text) => Some(Some(std::str::from_utf8(text).unwrap().parse::<u8>().unwrap())),
            Cell::Null => Some(None),
            Cell::Unchanged => None,
        };
        let cells =
            |row: &[u8]| -> Vec<_> { Tuple::from_checked(row).cells().map(|cell| value(&cell)).collect() };
        let key = |row: &[u8]| cells(row)[0].flatten().unwrap();
        let whole = |row: &[u8]| {
            let cells = cells(row);
            (cells[0].flatten().unwrap(), cells[1].unwrap(), cells[2].unwrap())
        };
        let target = &mut self.target;
        match &step.action {
            StepAction::Truncate => target.clear(),
            StepAction::Load(LoadData::Entries(entries)) => {
                for Entry { operation, row } in entries {
                    let key = key(row);
                    match operation {
                        Operation::Insert => target.push(whole(row)),
                        Operation::Replace => {
                            target.retain(|found| found.0 != key);
                            target.push(whole(row));
                        }
                        Operation::Update => {
                            let cells = cells(row);
                            for found in target.iter_mut().filter(|found| found.0 == key) {
                                found.1 = cells[1].unwrap_or(found.1);
                                found.2 = cells[2].unwrap_or(found.2);
                            }
                        }
                        _ => target.retain(|found| found.0 != key),
                    }
                }
            }
            StepAction::Load(LoadData::Moves(moves)) => {
                let before = target.clone();
                for moved in moves {
                    let (old, cells) = (key(&moved.old_key), cells(&moved.row));
                    for (found, before) in
                        target.iter_mut().zip(&before).filter(|(_, before)| before.0 == old)
                    {
                        *found = (
                            cells[0].flatten().unwrap(),
                            cells[1].unwrap_or(before.1),
                            cells[2].unwrap_or(before.2),
                        );
                    }
                }
            }
            StepAction::Chunk(chunk) => {
                let order = KeyOrder::of(step.shape.table(), &chunk.key).unwrap();
                let spans: Vec<_> = chunk.ranges.iter().map(|range| order.span(range).unwrap()).collect();
                target.retain(|found| {
                    let key = row(found.0, None, None);
                    let place = order.of_row(Tuple::from_checked(&key)).unwrap();
                    !spans.iter().any(|span| span.contains(&place))
                });
                target.extend(chunk.rows.iter().map(|entry| whole(&entry.row)));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn check(damage: &[(u8, u8)], events: &[Event]) {
    let mut world = World::new(damage);
    for event in events {
        match event {
            Event::Transaction { ops, visible } => world.commit(ops, *visible),
            Event::Truncate => world.truncate(),
            Event::Appear => world.appear(),
            Event::Read(limit) if world.pending.is_none() => world.read(*limit),
            Event::Place => world.place(),
            Event::BeginAnew if world.collector.relations.wish_for(OID).is_some() => world.begin(),
            Event::Cut => world.cut(),
            Event::Read(_) | Event::BeginAnew => {}
        }
    }
    world.cut();
    // Whatever happened, it comes to an end once there is some peace.
    while !world.hidden.is_empty() {
        world.appear();
    }
    for _ in 0..100 {
        world.place();
        world.read(3);
    }
    world.cut();
    assert!(world.collector.relations.wish_for(OID).is_none(), "{:?}", world.left);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_read_is_right_from_then_on(
        damage in prop::collection::vec((0..KEYS, 0..9_u8), 0..12),
        events in events(),
    ) {
        check(&damage, &events);
    }
}
