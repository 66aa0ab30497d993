//! From durable frames to steps: whole transactions are compacted into a batch, and the batch is cut at commits.
//!
//! Runs on a thread of its own. What it is given is fsynced in the local WAL already; what it hands on goes to the
//! [stager](crate::stage).

mod chunks;
mod limits;
mod read_back;
mod resync;
mod transaction;
mod verify;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::Lsn;
use tokio::sync::mpsc;

use crate::batch::{Batch, BatchError};
use crate::config::AdvanceOn;
use crate::error::{Error, Result, Who};
use crate::pgoutput::{self, Commit, LogicalMessage, Message};
use crate::progress::Progress;
use crate::pulse::{Part, Wait};
use crate::relations::{DDL, LOOKED, Relations, SchemaStep};
use crate::resync::REQUESTS;
use crate::retention::Retention;
use crate::stage::{Cut, StageItem};
use crate::verify::RUNS;
use crate::wal::WalPosition;
use chunks::Sweeps;
pub use limits::Limits;
use read_back::Frame;
pub use read_back::ReadBack;
use resync::Resyncs;
use transaction::{Body, Taken, Transactions};
use verify::Verifying;

/// A logical message with this prefix cuts the batch at once: somebody waits for what came before it.
const BARRIER: &str = "re_dms.barrier";

/// Segments under way above which a batch rather grows than is cut: compaction gets better the further behind the
/// loader is.
const ENOUGH_IN_FLIGHT: u64 = 2;

/// How often a batch whose time has come looks whether the loader has caught up.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long nothing may come before it is looked whether something else is to be done.
const LOOK_UP: Duration = Duration::from_millis(500);

/// What comes out of the local WAL, in order.
#[derive(Clone, Debug)]
pub enum Input {
    /// A new connection: what was not complete comes again from its beginning.
    SessionStart,
    /// A message of pgoutput.
    Frame {
        /// The message.
        payload: Bytes,
        /// Where it begins in the local WAL.
        at: WalPosition,
        /// Where it ends in the local WAL.
        end: WalPosition,
    },
    /// Everything of ours before here was sent.
    Keepalive {
        /// The server's WAL end.
        wal_end: Lsn,
    },
}

/// Collects the stream into batches.
pub struct Collector {
    relations: Relations,
    limits: Limits,
    /// Transactions up to here are on S3 already and come only because the local WAL still has them.
    staged: Lsn,
    read_back: ReadBack,
    retention: Arc<Retention>,
    progress: Arc<Progress>,
    out: mpsc::Sender<StageItem>,
    transactions: Transactions,
    batch: Batch,
    open: Option<OpenSegment>,
    /// What the server said when no transaction was open: nothing of ours lies before this but what is in the batch.
    idle: Option<Lsn>,
    cut_now: bool,
    /// After the last frame that was dealt with.
    wal_position: Option<WalPosition>,
    /// Where the commit record of the transaction at hand begins.
    commit_lsn: Lsn,
    /// Its number.
    xid: u32,
    resyncs: Resyncs,
    verifying: Verifying,
    sweeps: Sweeps,
}

/// The segment that the batch will become.
#[derive(Clone, Copy, Debug)]
struct OpenSegment {
    first_commit: Timestamp,
    last_commit: Timestamp,
    end_lsn: Lsn,
    transactions: u64,
    changes: u64,
    due: Instant,
}

impl Collector {
    /// Begins with nothing. Transactions up to `staged` are passed over.
    #[must_use]
    pub fn new(
        relations: Relations,
        limits: Limits,
        staged: Lsn,
        read_back: ReadBack,
        retention: Arc<Retention>,
        progress: Arc<Progress>,
        out: mpsc::Sender<StageItem>,
    ) -> Self {
        Self {
            relations,
            limits,
            staged,
            read_back,
            retention,
            progress,
            out,
            transactions: Transactions::new(limits.transaction_bytes),
            batch: Batch::new(),
            open: None,
            idle: None,
            cut_now: false,
            wal_position: None,
            commit_lsn: Lsn::ZERO,
            xid: 0,
            resyncs: Resyncs::none(),
            verifying: Verifying::default(),
            sweeps: Sweeps::default(),
        }
    }

    /// Works until the input ends; then cuts what it has (a batch is cut at shutdown).
    ///
    /// # Errors
    /// What can't be understood or held. The local WAL still has it.
    pub fn run(mut self, input: &Receiver<Vec<Input>>) -> Result<()> {
        loop {
            self.progress.pulse(Part::Collector).beat();
            let wait =
                self.open.map_or(LOOK_UP, |open| (open.due - Instant::now().min(open.due)).min(LOOK_UP));
            let received = input.recv_timeout(wait);
            // Before what came: whoever told something makes a transaction come for it.
            self.take_commands();
            self.take_orders();
            match received {
                Ok(group) => {
                    for item in group {
                        self.take(item)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.cut(),
            }
            self.cut_if_due()?;
            self.report_idle()?;
        }
    }

    fn take(&mut self, input: Input) -> Result<()> {
        match input {
            Input::SessionStart => self.transactions.forget(),
            Input::Keepalive { wal_end } => {
                if self.transactions.is_between() {
                    self.idle = Some(wal_end);
                }
            }
            Input::Frame { payload, at, end } => {
                self.wal_position = Some(end);
                match self.transactions.take(&payload, at, end)? {
                    Taken::Part => {}
                    Taken::Committed(commit, xid, body) => self.commit(commit, xid, body)?,
                    Taken::Outside => self.outside(&payload)?,
                }
            }
        }
        Ok(())
    }

    /// Shapes that the local WAL repeats at the start of a file, those of transactions that came twice, and messages that
    /// were not transactional.
    fn outside(&mut self, payload: &[u8]) -> Result<()> {
        match decode(payload, false)? {
            Message::Relation(relation) => self.relations.learn(&relation),
            Message::Logical(message) => {
                self.logical(&message);
                Ok(())
            }
            Message::Type(ty) => {
                self.relations.learn_type(&ty);
                Ok(())
            }
            Message::Origin(_) => Ok(()),
            _ => Err(unexpected("a change outside of a transaction")),
        }
    }

    fn logical(&mut self, message: &LogicalMessage<'_>) {
        self.cut_now |= message.prefix == BARRIER;
    }

    /// Applies a whole transaction.
    fn commit(&mut self, commit: Commit, xid: u32, body: Body) -> Result<()> {
        let passed_over = commit.end_lsn <= self.staged;
        self.place_barrier(commit.commit_lsn)?;
        self.relations.begin(xid, commit.commit_lsn, body.descriptions())?;
        (self.commit_lsn, self.xid) = (commit.commit_lsn, xid);
        let mut changes = if passed_over { 0 } else { u64::from(self.place_resyncs(commit.commit_lsn)?) };
        let progress = Arc::clone(&self.progress);
        let pulse = progress.pulse(Part::Collector);
        let on_disk = body.is_on_disk();
        let mut frames = self.read_back.frames(body)?;
        loop {
            let next = {
                let _reading = on_disk.then(|| pulse.waits_for(Wait::Disk));
                frames.next()
            };
            let Some(frame) = next.transpose()? else { break };
            pulse.beat();
            if passed_over {
                match decode(&frame.payload, frame.in_block)? {
                    Message::Relation(relation) => self.relations.learn(&relation)?,
                    Message::Type(ty) => self.relations.learn_type(&ty),
                    _ => {}
                }
                continue;
            }
            changes += u64::from(self.apply(&frame)?);
            if self.batch.bytes() > self.limits.spill_bytes {
                self.hand_on_steps()?;
            }
        }
        if passed_over {
            return Ok(());
        }
        self.progress.update(|state| {
            state.transactions += 1;
            state.changes += changes;
        });
        self.extend_segment(commit, changes);
        if self.cut_now || self.batch.bytes() >= self.limits.batch_bytes {
            self.cut()?;
        }
        Ok(())
    }

    /// Returns whether the frame left something to be loaded.
    fn apply(&mut self, frame: &Frame) -> Result<bool> {
        match decode(&frame.payload, frame.in_block)? {
            Message::Relation(relation) => {
                self.relations.learn(&relation)?;
                Ok(false)
            }
            // Not even compared with what is known: that is how the table was when it was copied.
            Message::Change(change) if self.relations.is_copied(change.relation) => Ok(false),
            Message::Change(change) => {
                self.settle(change.relation)?;
                let Some(shape) = self.relations.shape(change.relation)? else { return Ok(false) };
                self.batch.apply(shape, change.kind).map_err(|error| impossible(&error))?;
                self.remember_change(change.relation, &frame.payload, frame.in_block);
                self.doubt(change.relation, change.kind);
                Ok(true)
            }
            Message::Truncate(truncate) => {
                let mut touched = false;
                for oid in truncate.relations {
                    if self.relations.is_copied(oid) {
                        continue;
                    }
                    self.settle(oid)?;
                    if let Some(shape) = self.relations.shape(oid)? {
                        self.batch.truncate(shape);
                        self.remember_truncate(oid);
                        touched = true;
                    }
                }
                Ok(touched)
            }
            Message::Logical(message) if message.prefix == DDL && message.transactional => {
                let steps = self.relations.ddl(message.content)?;
                let touched = !steps.is_empty();
                self.change_schema(steps);
                Ok(touched)
            }
            Message::Logical(message) if message.prefix == LOOKED && message.transactional => {
                let steps = self.relations.looked(message.content)?;
                let touched = !steps.is_empty() | self.have_wishes_come();
                self.change_schema(steps);
                Ok(touched)
            }
            Message::Logical(message) if message.prefix == REQUESTS && message.transactional => {
                self.requested(message.content)
            }
            Message::Logical(message) => {
                if message.prefix == RUNS {
                    self.asked_to_verify(message.content);
                }
                self.logical(&message);
                Ok(false)
            }
            Message::Type(ty) => {
                self.relations.learn_type(&ty);
                Ok(false)
            }
            Message::Origin(_) => Ok(false),
            _ => Err(unexpected("a message that does not belong into a transaction")),
        }
    }

    /// Before the table's next change, Redshift's table must be as that change found it.
    fn settle(&mut self, oid: u32) -> Result<()> {
        if self.relations.is_unsettled(oid) {
            let steps = self.relations.settle(oid)?;
            self.change_schema(steps);
        }
        Ok(())
    }

    fn change_schema(&mut self, steps: Vec<SchemaStep>) {
        for SchemaStep { table, change } in steps {
            self.batch.change_schema(table, change);
        }
    }

    /// The transaction becomes part of the open segment; one that leaves nothing to be loaded opens none.
    fn extend_segment(&mut self, commit: Commit, changes: u64) {
        if let Some(open) = &mut self.open {
            open.last_commit = commit.commit_time;
            open.end_lsn = commit.end_lsn;
            open.transactions += 1;
            open.changes += changes;
        } else if changes > 0 {
            self.open = Some(OpenSegment {
                first_commit: commit.commit_time,
                last_commit: commit.commit_time,
                end_lsn: commit.end_lsn,
                transactions: 1,
                changes,
                due: Instant::now() + self.limits.interval,
            });
            self.progress.update(|state| state.oldest_batched = Some(commit.commit_time));
        } else {
            self.idle = Some(commit.end_lsn);
        }
    }

    fn cut_if_due(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else {
            self.cut_now = false;
            return Ok(());
        };
        if self.cut_now {
            return self.cut();
        }
        let now = Instant::now();
        if now < open.due {
            return Ok(());
        }
        let grows = self.limits.grow_while_behind && self.progress.policy() == AdvanceOn::Loaded;
        if grows && self.progress.in_flight() >= ENOUGH_IN_FLIGHT {
            open.due = now + LOOK_AGAIN;
            return Ok(());
        }
        self.cut()
    }

    fn cut(&mut self) -> Result<()> {
        self.cut_keeping(self.wal_position_after_last_commit())
    }

    /// The local WAL need not keep what lies before `position` once the segment is confirmed.
    fn cut_keeping(&mut self, position: Option<WalPosition>) -> Result<()> {
        self.cut_now = false;
        let Some(open) = self.open.take() else { return Ok(()) };
        self.hand_on_steps()?;
        if let Some(position) = position {
            self.retention.keep_from(open.end_lsn, position);
        }
        let shapes = self.relations.take_news()?.map(Bytes::from);
        self.hand_on(StageItem::Cut(Cut {
            end_lsn: open.end_lsn,
            first_commit: open.first_commit,
            last_commit: open.last_commit,
            transactions: open.transactions,
            changes: open.changes,
            shapes,
        }))?;
        let needs_resync = self.relations.needing_resync();
        self.progress.update(|state| {
            state.oldest_batched = None;
            state.needs_resync = needs_resync;
        });
        self.tell_wanted();
        Ok(())
    }

    fn report_idle(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let Some(lsn) = self.idle.take() else { return Ok(()) };
        if let Some(position) = self.wal_position_after_last_commit() {
            self.retention.keep_from(lsn, position);
        }
        self.hand_on(StageItem::Idle(lsn))
    }

    /// From here on the local WAL holds what is not in a segment.
    fn wal_position_after_last_commit(&self) -> Option<WalPosition> {
        self.transactions.oldest().or(self.wal_position)
    }

    fn hand_on_steps(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.batch).into_steps();
        if steps.is_empty() { Ok(()) } else { self.hand_on(StageItem::Steps(steps)) }
    }

    /// Waits while the stager is busy: that is what bounds memory.
    fn hand_on(&self, item: StageItem) -> Result<()> {
        let _waiting = self.progress.pulse(Part::Collector).waits_for(Wait::Next);
        self.out.blocking_send(item).map_err(|_| {
            Error::fatal(
                Who::Stream,
                "the stager ended before the collector",
                "see the error that was logged before",
            )
        })
    }
}

fn decode(payload: &[u8], in_block: bool) -> Result<Message<'_>> {
    pgoutput::decode(payload, in_block).map_err(|error| {
        Error::fatal(
            Who::Source,
            format!("a message of the replication stream can't be read: {error}"),
            "is this PostgreSQL newer than re_dms knows? Report it with the server's version",
        )
    })
}

fn unexpected(what: &str) -> Error {
    Error::fatal(
        Who::Source,
        format!("the replication stream holds {what}"),
        "report this with the server's version",
    )
}

fn impossible(error: &BatchError) -> Error {
    Error::told(Who::Stream, false, error)
}
