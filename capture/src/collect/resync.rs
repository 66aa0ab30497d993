//! The collector's part in reading tables anew: it knows where in the stream a snapshot lies.
//!
//! A snapshot's position is known only after it was taken, and the collector may be beyond it by then. So from a moment before
//! that on it remembers what it does to the tables, as much as there is room for. What lies behind the snapshot is done once
//! more behind the step that says that the table is being read; everything before that step is as if nothing had happened. If
//! too much came, or the table was defined anew meanwhile, there is another snapshot. Nothing is lost by that.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use re_dms_shared::Lsn;
use re_dms_shared::manifest::Load;
use re_dms_shared::status::ResyncStatus;
use tokio::sync::oneshot;

use super::{Collector, decode, impossible};
use crate::batch::TableShape;
use crate::error::Result;
use crate::pgoutput::Message;
use crate::relations::Wish;
use crate::resync::{Begun, Command, Desk, Request, Seen, Visible, Wanted};

/// The part of a batch's share of memory for what is remembered.
const MEMORY_SHARE: usize = 8;

/// What the collector knows of tables that are being read.
pub(super) struct Resyncs {
    desk: Option<Desk>,
    stream: String,
    /// By OID.
    watched: HashMap<u32, Remembered>,
    bytes: usize,
    most_bytes: usize,
    begins: Option<Begins>,
    replaces: Vec<Replaces>,
}

/// Waits for a transaction that begins behind the snapshot.
struct Begins {
    snapshot: Lsn,
    tables: Vec<Seen>,
    begun: oneshot::Sender<Vec<Begun>>,
}

/// Waits for a transaction.
struct Replaces {
    wish: Wish,
    shape: Arc<TableShape>,
    load: Box<Load>,
    taken: oneshot::Sender<bool>,
}

/// The last changes of a table.
#[derive(Default)]
struct Remembered {
    changes: VecDeque<Change>,
    /// The commit of the last transaction of which something is forgotten.
    forgotten: Option<Lsn>,
    /// Transactions of which something is forgotten, as long as what is read may not have seen them.
    forgotten_of: HashSet<u32>,
}

pub(super) struct Change {
    commit_lsn: Lsn,
    xid: u32,
    pub(super) what: What,
}

pub(super) enum What {
    /// A frame as it came; whether it came within a block of a transaction in progress.
    Row(Box<[u8]>, bool),
    Truncate,
}

impl Change {
    fn bytes(&self) -> usize {
        let row = match &self.what {
            What::Row(row, _) => row.len(),
            What::Truncate => 0,
        };
        size_of::<Self>() + row
    }
}

impl Resyncs {
    /// Nobody reads tables.
    pub(super) fn none() -> Self {
        Self {
            desk: None,
            stream: String::new(),
            watched: HashMap::new(),
            bytes: 0,
            most_bytes: 0,
            begins: None,
            replaces: Vec::new(),
        }
    }

    fn remember(&mut self, oid: u32, (commit_lsn, xid): (Lsn, u32), what: What) {
        let Some(table) = self.watched.get_mut(&oid) else { return };
        let change = Change { commit_lsn, xid, what };
        self.bytes += change.bytes();
        table.changes.push_back(change);
        // The oldest of this one go first: those of others may be all that there is of them.
        while self.bytes > self.most_bytes
            && let Some(oldest) = table.changes.pop_front()
        {
            self.bytes -= oldest.bytes();
            table.forgotten = Some(oldest.commit_lsn);
            table.forgotten_of.insert(oldest.xid);
        }
    }

    /// What was done to the table by transactions that `seen` did not see; none if that is not known. Nobody needs what it
    /// did see: whoever reads later sees that as well.
    pub(super) fn unseen(&mut self, oid: u32, seen: &Visible) -> Option<VecDeque<Change>> {
        let table = self.watched.get_mut(&oid)?;
        let bytes = &mut self.bytes;
        table.changes.retain(|change| {
            let keep = !seen.saw(change.xid);
            *bytes -= if keep { 0 } else { change.bytes() };
            keep
        });
        table.forgotten_of.retain(|xid| !seen.saw(*xid));
        if table.forgotten_of.is_empty() { Some(std::mem::take(&mut table.changes)) } else { None }
    }

    /// Gives back what [`Self::unseen`] gave: the next who reads may not see it, either.
    pub(super) fn keep(&mut self, oid: u32, changes: VecDeque<Change>) {
        if let Some(table) = self.watched.get_mut(&oid) {
            table.changes = changes;
        }
    }

    fn watch(&mut self, oids: &[u32]) {
        self.watched = oids.iter().map(|oid| (*oid, Remembered::default())).collect();
        self.bytes = 0;
        self.begins = None;
    }

    /// What was done to the table by transactions whose commit is not before this; none if that is not known.
    fn recall(&mut self, oid: u32, from: Lsn) -> Option<Vec<What>> {
        let Remembered { changes, forgotten, .. } = self.watched.remove(&oid)?;
        self.bytes -= changes.iter().map(Change::bytes).sum::<usize>();
        if forgotten.is_some_and(|at| at >= from) {
            return None;
        }
        Some(
            changes
                .into_iter()
                .filter(|change| change.commit_lsn >= from)
                .map(|change| change.what)
                .collect(),
        )
    }
}

impl Collector {
    /// With somebody who reads tables anew, for this stream.
    #[must_use]
    pub fn with_desk(mut self, desk: Desk, stream: &str) -> Self {
        self.resyncs.desk = Some(desk);
        stream.clone_into(&mut self.resyncs.stream);
        self.resyncs.most_bytes = self.limits.spill_bytes / MEMORY_SHARE;
        self.track_sweeps();
        self.tell_wanted();
        self
    }

    /// Takes what there is to be done from who reads tables.
    pub(super) fn take_commands(&mut self) {
        while let Some(command) = self.resyncs.desk.as_ref().and_then(|desk| desk.commands.try_recv().ok()) {
            match command {
                Command::Watch { oids, watching } => {
                    self.limits = self.limits.beside_reading(!oids.is_empty());
                    self.resyncs.watch(&oids);
                    self.sweeps.begin_anew();
                    if oids.is_empty() {
                        self.resyncs.replaces.clear();
                    }
                    let _ = watching.send(());
                }
                Command::Begin { snapshot, tables, begun } => {
                    self.resyncs.begins = Some(Begins { snapshot, tables, begun });
                }
                Command::Replace { wish, shape, load, taken } => {
                    self.resyncs.replaces.push(Replaces { wish, shape, load, taken });
                }
                Command::Sweep { place, sweep, begun } => self.sweeps.expect_sweep(place, *sweep, begun),
                Command::Chunk { place, chunk, placed } => self.sweeps.expect_chunk(place, *chunk, placed),
            }
        }
    }

    /// A transaction begins: says whether something was put before its changes.
    pub(super) fn place_resyncs(&mut self, commit_lsn: Lsn) -> Result<bool> {
        let mut placed = false;
        for Replaces { wish, shape, load, taken } in std::mem::take(&mut self.resyncs.replaces) {
            let wanted = self.relations.end_wish(wish.table.oid, &wish.id);
            if wanted {
                self.batch.replace(&shape, load);
                placed = true;
            }
            let _ = taken.send(wanted);
        }
        if let Some(Begins { snapshot, tables, begun }) =
            self.resyncs.begins.take_if(|begins| begins.snapshot <= commit_lsn)
        {
            let mut outcomes = Vec::with_capacity(tables.len());
            for seen in tables {
                outcomes.push(self.begin_resync(seen, snapshot)?);
            }
            placed = true;
            let _ = begun.send(outcomes);
        }
        if placed {
            self.cut_now = true;
            self.tell_wanted();
        }
        Ok(placed)
    }

    fn begin_resync(&mut self, Seen { wish, now }: Seen, snapshot: Lsn) -> Result<Begun> {
        let oid = wish.table.oid;
        if self.relations.wish_for(oid).is_none_or(|current| current.id != wish.id) {
            return Ok(Begun::Later);
        }
        // Its definition may be another one than the snapshot's by now.
        if self.relations.is_told_since(oid, snapshot) {
            return Ok(Begun::Later);
        }
        let Some(changes) = self.resyncs.recall(oid, snapshot) else { return Ok(Begun::Later) };
        let read_anew = now.map_or(Ok(None), |now| self.relations.read_anew(now));
        let (steps, shape) = match read_anew {
            Ok(Some(read_anew)) => read_anew,
            Ok(None) => {
                self.relations.end_wish(oid, &wish.id);
                return Ok(Begun::Nothing);
            }
            Err(error) => {
                self.relations.end_wish(oid, &wish.id);
                return Ok(Begun::Refused(error));
            }
        };
        self.change_schema(steps);
        self.relations.read_whole(oid);
        self.track_sweeps();
        self.batch.resync(&shape);
        for what in changes {
            self.settle(oid)?;
            let Some(shape) = self.relations.shape(oid)? else { break };
            match what {
                What::Truncate => self.batch.truncate(shape),
                What::Row(payload, in_block) => {
                    if let Message::Change(change) = decode(&payload, in_block)? {
                        self.batch.apply(shape, change.kind).map_err(|error| impossible(&error))?;
                    }
                }
            }
        }
        Ok(Begun::Read(shape))
    }

    /// A change was applied.
    pub(super) fn remember_change(&mut self, oid: u32, payload: &[u8], in_block: bool) {
        if self.resyncs.watched.contains_key(&oid) {
            let at = (self.commit_lsn, self.xid);
            self.resyncs.remember(oid, at, What::Row(payload.into(), in_block));
        }
    }

    /// A table was truncated.
    pub(super) fn remember_truncate(&mut self, oid: u32) {
        self.resyncs.remember(oid, (self.commit_lsn, self.xid), What::Truncate);
    }

    /// Takes a message about tables; says whether it changed something.
    pub(super) fn requested(&mut self, content: &[u8]) -> Result<bool> {
        let Some(request) = crate::resync::Message::of(&self.resyncs.stream, content) else {
            return Ok(false);
        };
        let before = self.relations.wishes();
        match request {
            Request::Resync { id, tables } => {
                for table in tables {
                    self.relations.wish(Wish::new(table, id.clone()));
                }
            }
            Request::ResyncKeys { id, table, keys } => {
                self.relations.wish(Wish { only: Some(keys), ..Wish::new(table, id) });
            }
            Request::Place { id } => return self.place(&id),
            Request::ResyncIfDue { id, tables } => {
                let due = self.relations.due_for_resync();
                for table in tables {
                    let is_due =
                        due.iter().any(|due| due.oid == table.oid) || !self.relations.is_known(table.oid);
                    if is_due && self.relations.wish_for(table.oid).is_none() {
                        self.relations.wish(Wish::new(table, id.clone()));
                    }
                }
            }
            Request::Remove { tables } => {
                for table in tables {
                    if let Some(wish) = self.relations.wish_for(table.oid).cloned() {
                        self.relations.end_wish(table.oid, &wish.id);
                    }
                    self.relations.forsake(table.oid);
                }
                self.track_sweeps();
                self.cut_now = true;
                self.tell_wanted();
                return Ok(true);
            }
            Request::Mark | Request::Unknown => return Ok(false),
        }
        self.track_sweeps();
        let changed = before != self.relations.wishes();
        // It is to outlive this process at once.
        self.cut_now |= changed;
        self.tell_wanted();
        Ok(changed)
    }

    /// A look may have found tables that are to be read.
    pub(super) fn have_wishes_come(&mut self) -> bool {
        let Some(desk) = &self.resyncs.desk else { return false };
        let (known, due) = (desk.wanted.borrow().clone(), self.relations.due_for_resync());
        let is_news = known.wishes != self.relations.wishes() || known.due != due;
        if is_news {
            self.cut_now = true;
            self.tell_wanted();
        }
        is_news
    }

    /// Publishes what is to be read.
    pub(super) fn tell_wanted(&mut self) {
        let Some(desk) = &self.resyncs.desk else { return };
        let wanted = Wanted { wishes: self.relations.wishes(), due: self.relations.due_for_resync() };
        let resyncs: Vec<_> = wanted
            .wishes
            .iter()
            .map(|wish| ResyncStatus { table: wish.table.label(), id: wish.id.clone() })
            .collect();
        self.progress.update(|state| state.resyncs = resyncs);
        desk.wanted.send_if_modified(|known| {
            let is_news = *known != wanted;
            *known = wanted;
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(recalled: Option<Vec<What>>) -> Option<Vec<u8>> {
        let first = |what: What| match what {
            What::Row(row, _) => row[0],
            What::Truncate => 0,
        };
        recalled.map(|changes| changes.into_iter().map(first).collect())
    }

    #[test]
    fn what_lies_behind_a_snapshot_is_recalled_whole_or_not_at_all() {
        let row = |n: u8| What::Row(vec![n; 10].into(), false);
        let size = Change { commit_lsn: Lsn(0), xid: 0, what: row(0) }.bytes();
        let mut resyncs = Resyncs { most_bytes: 3 * size, ..Resyncs::none() };
        resyncs.watch(&[1, 2]);
        for n in 1..=4 {
            resyncs.remember(1, (Lsn(u64::from(n) * 10), u32::from(n)), row(n));
        }
        resyncs.remember(3, (Lsn(50), 9), row(9));
        assert_eq!(rows(resyncs.recall(2, Lsn(0))), Some(Vec::new()), "nothing happened to it");
        assert_eq!(rows(resyncs.recall(1, Lsn(20))), Some(vec![2, 3, 4]));
        assert_eq!(resyncs.bytes, 0);
        assert_eq!(rows(resyncs.recall(1, Lsn(20))), None, "nobody watches it any more");
        assert_eq!(rows(resyncs.recall(3, Lsn(0))), None, "nobody ever did");

        // The first change is forgotten: nobody knows what lies behind a snapshot before it.
        resyncs.watch(&[1]);
        for n in 1..=4 {
            resyncs.remember(1, (Lsn(u64::from(n) * 10), u32::from(n)), row(n));
        }
        assert_eq!(rows(resyncs.recall(1, Lsn(10))), None);
        resyncs.watch(&[1]);
        for n in 1..=4 {
            resyncs.remember(1, (Lsn(u64::from(n) * 10), u32::from(n)), row(n));
        }
        assert_eq!(rows(resyncs.recall(1, Lsn(11))), Some(vec![2, 3, 4]));
    }
    #[test]
    fn what_was_not_seen_is_known_whole_or_not_at_all() {
        let row = |n: u8| What::Row(vec![n; 10].into(), false);
        let size = Change { commit_lsn: Lsn(0), xid: 0, what: row(0) }.bytes();
        let seen = |text: &str| Visible::read(text).unwrap();
        let of = |changes: VecDeque<Change>| changes.iter().map(|change| change.xid).collect::<Vec<_>>();
        let mut resyncs = Resyncs { most_bytes: 3 * size, ..Resyncs::none() };
        resyncs.watch(&[1]);
        for n in 1..=3 {
            resyncs.remember(1, (Lsn(10), u32::from(n)), row(n));
        }
        // The commit record of 1 lies first, and it is seen last.
        let unseen = resyncs.unseen(1, &seen("1:3:1")).unwrap();
        resyncs.keep(1, unseen);
        let unseen = resyncs.unseen(1, &seen("1:4:1")).unwrap();
        assert_eq!((of(unseen), resyncs.bytes), (vec![1], size), "2 and 3 need not be known any more");
        resyncs.watch(&[1]);
        for n in 1..=4 {
            resyncs.remember(1, (Lsn(10), u32::from(n)), row(n));
        }
        assert!(resyncs.unseen(1, &seen("1:4:1")).is_none(), "1 is forgotten");
        assert_eq!(resyncs.unseen(1, &seen("4:5:4")).map(of), Some(vec![4]), "and was seen by this one");
    }
}
