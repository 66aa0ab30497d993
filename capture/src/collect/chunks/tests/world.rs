//! The collector with a stream before it and Redshift behind it, and who reads ranges.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::Operation;
use tokio::sync::mpsc;

use super::super::*;
use super::source::{OID, Op, Source, change, named, row, table_now, truncation};
use super::target::Target;
use crate::batch::Entry;
use crate::collect::{Input, Limits, ReadBack};
use crate::config::{AdvanceOn, Config};
use crate::pgoutput::encode::encode;
use crate::pgoutput::{Begin, Commit, LogicalMessage, Tuple};
use crate::progress::{Progress, Snapshot};
use crate::relations::{KnownTables, Relations};
use crate::resync::{Command, Desk, Message as Told, REQUESTS, Request, desk};
use crate::retention::Retention;
use crate::stage::StageItem;
use crate::wal::WalPosition;

/// The source, its stream, the collector and Redshift.
pub(super) struct World {
    pub(super) collector: Collector,
    steps: mpsc::Receiver<StageItem>,
    commands: std::sync::mpsc::Sender<Command>,
    lsn: u64,
    pub(super) source: Source,
    shape: Option<Arc<TableShape>>,
    pub(super) left: KeyRanges,
    pub(super) pending: Option<ReadChunk>,
    places: u32,
    target: Target,
    is_wide: Arc<AtomicBool>,
}

impl World {
    pub(super) fn new(damage: &[(u8, u8)]) -> Self {
        let config = r#"
            stream = "s"
            data_dir = "/d"
            source = { url = "postgres://u@h/d" }
            s3.bucket = "bucket"
            queues = { segments_url = "http://q/s.fifo", acks_url = "http://q/a" }
        "#;
        let config = Config::parse(config, vec![]).unwrap();
        let patterns = config.source.tables.clone();
        let is_wide = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_wide);
        let look = Box::new(move |_| Ok(Some(table_now(told.load(Ordering::Relaxed)))));
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
        let mut world = Self {
            collector,
            steps,
            commands: at_reader.commands,
            lsn: 100,
            source: Source::new(),
            shape: None,
            left: KeyRanges { key: vec!["id".into()], ranges: Vec::new() },
            pending: None,
            places: 0,
            // Rows that the source does not have, others with wrong values, and some twice.
            is_wide,
            target: Target { rows: damage.iter().map(|(key, n)| (*key, Some(*n), Some(7))).collect() },
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

    fn request(&mut self, request: Request) {
        let content = Told { stream: "s".into(), request }.to_json().unwrap().into_bytes();
        let (xid, lsn) = (self.source.xid(), Lsn(self.lsn));
        let message =
            LogicalMessage { xid: None, transactional: true, lsn, prefix: REQUESTS, content: &content };
        self.transaction(xid, &[Message::Logical(message)]);
    }

    fn tell(&mut self, command: Command) {
        self.commands.send(command).unwrap();
        self.collector.take_commands();
    }

    /// As the reader does it: from here on changes are remembered; then all that was committed must be visible.
    pub(super) fn begin(&mut self) {
        let (watching, _) = oneshot::channel();
        self.tell(Command::Watch { oids: vec![OID], watching });
        self.source.appear_all();
        self.pending = None;
        let wish = self.collector.relations.wish_for(OID).cloned().unwrap();
        let sweep = Box::new(Sweep {
            wish,
            since: Lsn(self.lsn + 1),
            now: Some(table_now(self.is_wide.load(Ordering::Relaxed))),
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

    pub(super) fn write(&mut self, ops: &[Op], visible: bool) {
        let (xid, frames) = self.source.commit(ops, visible);
        let messages: Vec<_> =
            self.source.description().into_iter().chain(frames.iter().map(change)).collect();
        self.transaction(xid, &messages);
    }

    /// The table gets another column, which its next description tells of.
    pub(super) fn widen(&mut self) {
        self.is_wide.store(true, Ordering::Relaxed);
        self.source.widen();
        let (xid, messages) = (self.source.xid(), self.source.description());
        self.transaction(xid, messages.as_slice());
    }

    pub(super) fn truncate(&mut self) {
        let xid = self.source.truncate();
        let messages: Vec<_> = self.source.description().into_iter().chain([truncation()]).collect();
        self.transaction(xid, &messages);
    }

    pub(super) fn read(&mut self, limit: u8) {
        let Some(range) = self.left.ranges.first().cloned() else { return };
        if range.is_key() {
            return self.read_keys(limit);
        }
        let Some(shape) = self.shape.clone() else { return };
        let order = KeyOrder::of(shape.table(), &self.left.key).unwrap();
        let span = order.span(&range).unwrap();
        let limit = usize::from(limit) + 1;
        let rows: Vec<_> = self
            .source
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
        let seen = self.source.visible();
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
        let rows = self.source.seen.iter().filter(|(key, _)| is_asked(**key));
        let rows = rows.map(|(key, (n, body))| Entry {
            operation: Operation::Replace,
            row: row(*key, Some(*n), Some(Some(*body))).into(),
        });
        let rows = rows.collect();
        let seen = self.source.visible();
        self.pending = Some(ReadChunk { oid: OID, wish: "w".into(), seen, ranges, shape, rows });
    }

    pub(super) fn place(&mut self) -> Option<Placed> {
        let chunk = self.pending.take()?;
        let (placed, mut answer) = oneshot::channel();
        self.places += 1;
        let place = self.places.to_string();
        self.tell(Command::Chunk { place: place.clone(), chunk: Box::new(chunk), placed });
        self.request(Request::Place { id: place });
        let placed = answer.try_recv().unwrap();
        match &placed {
            Placed::Done(left) => self.left.clone_from(left),
            // More may be left by now.
            Placed::Void(_) | Placed::Begin => {
                if let Some(left) = self.collector.relations.wish_for(OID).and_then(|wish| wish.sweep.clone())
                {
                    self.left = left;
                }
            }
        }
        Some(placed)
    }

    /// Brings Redshift to where the stream is, and looks at all that is read.
    pub(super) fn cut(&mut self) {
        self.collector.cut().unwrap();
        while let Ok(item) = self.steps.try_recv() {
            if let StageItem::Steps(steps) = item {
                steps.iter().for_each(|step| self.target.load(step));
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
        let expected = self.source.rows.iter().filter(|(key, _)| is_read(**key));
        let expected: Vec<_> =
            expected.into_iter().map(|(key, (n, body))| (*key, Some(*n), Some(*body))).collect();
        let mut found: Vec<_> = self.target.rows.iter().filter(|(key, ..)| is_read(*key)).copied().collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{left:?}");
    }
}
