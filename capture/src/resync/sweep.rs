//! Reading a table anew range by range, in the order of its key, while the stream goes on with it. No slot, no snapshot that is
//! held, no table that waits: each range is a short transaction, and a message in the stream behind it. The collector puts the
//! rows there, and keeps what is left with the wish. See ADR 24.

mod read;

use std::sync::Arc;
use std::time::{Duration, Instant};

use re_dms_shared::Lsn;
use re_dms_shared::status::{CopyStatus, TableCopyStatus};
use tokio::sync::oneshot;

use super::desk::{Command, Placed, Sweep, Swept};
use super::{LOOK, Message, Request, Resyncer, Wants, ended, new_id};
use crate::copy::{MEMORY_SHARE, Pace};
use crate::error::{Error, Result, Who};
use crate::key_order::KeyOrder;
use crate::relations::{KeyRanges, TableNow, Wish};
use crate::rows::HashedColumns;
use crate::source::{CopyTraits, Source};
use read::{Read, Reading, next_rows};

/// Rows of the first range, of the smallest one, and of the largest one.
const ROWS: (usize, usize, usize) = (1000, 50, 1_000_000);

/// Single keys that are read together, if a key has one column.
const MOST_KEYS: usize = 64;

/// How often a range is read in vain before the table is read as a whole.
const MOST_IN_VAIN: u32 = 40;

/// How long to wait for a lock that somebody has.
const BUSY: Duration = Duration::from_secs(1);

/// A range takes the part of the memory for tables that are read: it is there as text, and as rows, and so is the one before.
const CHUNK_SHARE: usize = 4;

/// Under a rate limit, ranges in a second.
const RANGES_A_SECOND: usize = 4;

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left, or something else is to be looked at first: the wishes say.
    Paused,
    /// It is to be read under a snapshot.
    Whole,
}

/// What was found of a table.
struct Looked {
    definition: String,
    now: TableNow,
    since: Lsn,
    traits: CopyTraits,
    key: Vec<String>,
    is_partitioned: bool,
}

/// What became of looking at a table.
enum Look {
    There(Box<Looked>),
    /// Not there, or not replicated.
    Gone,
    Busy,
    /// Nothing orders its rows.
    NoKey,
}

impl Resyncer {
    /// Reads what is left of a table, until something else is wanted, too.
    pub(super) async fn sweep(&self, wish: &Wish) -> Result<Ended> {
        let oid = wish.table.oid;
        let wanted = self.wanted_now();
        let source = Source::connect(&self.config.source).await?;
        source.prepare_for_chunks().await?;
        let before = source.insert_position().await?.unwrap_or(Lsn::ZERO);
        let (now, looked) = match self.look_for_sweep(&source, wish).await? {
            Look::There(looked) => (Some(looked.now.clone()), Some(looked)),
            Look::Gone => (None, None),
            Look::Busy => {
                tokio::time::sleep(BUSY).await;
                return Ok(Ended::Paused);
            }
            Look::NoKey => return Ok(Ended::Whole),
        };
        self.watch(vec![oid]).await?;
        if !self.outlive(&source, &wanted).await? {
            return Ok(Ended::Paused);
        }
        let (since, key) = looked.as_ref().map_or((before, Vec::new()), |l| (l.since, l.key.clone()));
        let sweep = Box::new(Sweep { wish: wish.clone(), since, now, key: key.clone() });
        let (begun, answer) = oneshot::channel();
        let place = new_id();
        self.tell(Command::Sweep { place: place.clone(), sweep, begun })?;
        let (shape, left) = match self.placed(&source, place, answer).await? {
            Swept::Read(shape, left) => (shape, left),
            Swept::Later => return Ok(Ended::Paused),
            Swept::Whole => return Ok(Ended::Whole),
            Swept::Nothing => {
                tracing::info!(table = wish.table.label(), "there is nothing to be read anew");
                return Ok(Ended::Paused);
            }
            Swept::Refused(error) => {
                tracing::error!(table = wish.table.label(), %error, "can't be read anew");
                return Ok(Ended::Paused);
            }
        };
        let (Some(looked), Some(order)) = (looked, KeyOrder::of(shape.table(), &key)) else {
            return Ok(Ended::Whole);
        };
        let Looked { definition, now, traits: CopyTraits { filter, bytes, .. }, is_partitioned, .. } =
            *looked;
        let config = &self.config;
        let hashed = HashedColumns::of(&config.source, &shape).map(Arc::new);
        let memory = config.batch.max_memory;
        let share = (memory.bytes() - memory.without(MEMORY_SHARE).bytes()) / CHUNK_SHARE;
        // The pace is kept between ranges, so that nothing is locked for its sake: none is to take long.
        let paced =
            config.copy.max_bytes_per_second.map_or(usize::MAX, |rate| rate.bytes() / RANGES_A_SECOND);
        let most_bytes = share.min(paced);
        let wish = wish.id.clone();
        let reading = Reading {
            oid,
            wish,
            definition,
            filter,
            now,
            is_partitioned,
            shape,
            order,
            key,
            hashed,
            most_bytes,
        };
        self.read_ranges(&source, &reading, left, bytes, &wanted).await
    }

    async fn read_ranges(
        &self,
        source: &Source,
        reading: &Reading,
        mut left: KeyRanges,
        bytes_expected: u64,
        wanted: &Wants,
    ) -> Result<Ended> {
        let table = reading.shape.source_name();
        tracing::info!(table, ranges = left.ranges.len(), "reading a table anew, range by range");
        let pace = Pace::new(self.config.copy.max_bytes_per_second.map(|rate| rate.bytes() as u64));
        let mut told = TableCopyStatus { table: table.clone(), bytes_expected, ..TableCopyStatus::default() };
        let (mut rows, mut in_vain, mut chunks) = (ROWS.0, 0, 0_u64);
        let started = Instant::now();
        self.tell_progress(&told, started);
        let mut most_keys = (MOST_KEYS / reading.key.len()).max(1);
        while let Some(first) = left.ranges.first() {
            if self.wanted_now() != *wanted {
                return Ok(Ended::Paused);
            }
            let ranges: Vec<_> = match first.is_key() {
                true => left.ranges.iter().take(most_keys).take_while(|range| range.is_key()).collect(),
                false => vec![first],
            };
            let ranges: Vec<_> = ranges.into_iter().cloned().collect();
            let (chunk, bytes, took) =
                match reading.chunk(source, &ranges, rows, &self.config.source.publication).await? {
                    Read::Rows { chunk, bytes, took } => (chunk, bytes, took),
                    Read::Busy => {
                        tokio::time::sleep(BUSY).await;
                        continue;
                    }
                    Read::TooMuch => {
                        most_keys = 1;
                        continue;
                    }
                    Read::Changed => return Ok(Ended::Paused),
                    Read::NoOrder => return Ok(Ended::Whole),
                };
            let read = chunk.rows.len();
            let (placed, answer) = oneshot::channel();
            let place = new_id();
            self.tell(Command::Chunk { place: place.clone(), chunk: Box::new(chunk), placed })?;
            match self.placed(source, place, answer).await? {
                Placed::Done(rest) => left = rest,
                Placed::Void(why) => {
                    in_vain += 1;
                    tracing::debug!(table, why, "a range is read again");
                    if in_vain > MOST_IN_VAIN {
                        tracing::info!(table, why, "it is read as a whole, under a snapshot");
                        return Ok(Ended::Whole);
                    }
                    rows = (rows / 2).max(ROWS.1);
                    continue;
                }
                Placed::Begin => return Ok(Ended::Paused),
            }
            (in_vain, chunks) = (0, chunks + 1);
            rows = next_rows(rows, read, took, bytes, reading.most_bytes);
            told.rows += read as u64;
            told.bytes_done = (told.bytes_done + bytes as u64).min(told.bytes_expected);
            self.tell_progress(&told, started);
            pace.took(bytes).await;
        }
        let duration_ms = started.elapsed().as_millis();
        tracing::info!(table, rows = told.rows, chunks, duration_ms, "was read anew, range by range");
        Ok(Ended::Paused)
    }

    /// Waits until all that was committed up to now is visible: the collector may have seen it long ago, and nobody remembers
    /// what it was. False if something else is wanted first.
    async fn outlive(&self, source: &Source, wanted: &Wants) -> Result<bool> {
        let number = source.next_number().await?;
        let started = Instant::now();
        let mut is_told = false;
        while source.visible().await?.oldest < number {
            if self.wanted_now() != *wanted {
                return Ok(false);
            }
            if !is_told && started.elapsed() > Duration::from_secs(10) {
                tracing::info!("reading tables anew waits for the transactions that are in progress");
                is_told = true;
            }
            tokio::time::sleep(LOOK / 5).await;
        }
        Ok(true)
    }

    /// Whether the table, if it is there, has a key that orders its rows.
    pub(super) async fn has_order(&self, source: &Source, wish: &Wish) -> Result<bool> {
        let (config, oid) = (&self.config.source, wish.table.oid);
        let Some(now) = source.definition(oid, &config.publication).await? else { return Ok(true) };
        let Some(index) = source.key_index(oid).await? else { return Ok(false) };
        let is_ordered = |name: &String| {
            let column = now.columns.iter().find(|column| column.name.as_ref() == Some(name));
            let is_known =
                column.is_some_and(|column| KeyOrder::is_known_for(column.type_oid, column.modifier));
            is_known && !config.columns.is_hashed(&now.schema, &now.name, name)
        };
        Ok(index.columns.iter().all(is_ordered))
    }

    async fn look_for_sweep(&self, source: &Source, wish: &Wish) -> Result<Look> {
        let (config, oid) = (&self.config.source, wish.table.oid);
        let Some(named) = source.definition(oid, &config.publication).await? else { return Ok(Look::Gone) };
        if !config.tables.picks(&named.schema, &named.name) || !source.is_in_stream(oid, config).await? {
            return Ok(Look::Gone);
        }
        source.check_readable(oid, &wish.table.label()).await?;
        // Whoever changes it has ended once we have the lock, and is visible.
        if !source.begin_chunk((&named.schema, &named.name)).await? {
            return Ok(Look::Busy);
        }
        let since = source.insert_position().await?;
        let text = source.definition_text(oid, &config.publication).await?;
        let traits = source.copy_traits(oid, &config.publication).await?;
        let index = source.key_index(oid).await?;
        source.end_chunk().await?;
        let (Some(since), Some(definition)) = (since, text) else { return Ok(Look::Busy) };
        let now = TableNow::read(&definition)?;
        let Some(index) = index else { return Ok(Look::NoKey) };
        let is_hashed = |column: &String| config.columns.is_hashed(&now.schema, &now.name, column);
        if index.columns.iter().any(is_hashed) {
            return Ok(Look::NoKey);
        }
        let mut key = index.columns;
        // Ranges are in the order in which they were asked for.
        if let Some(left) = wish.sweep.as_ref().or(wish.only.as_ref()) {
            let sorted = |names: &[String]| {
                let mut names = names.to_vec();
                names.sort();
                names
            };
            if sorted(&left.key) == sorted(&key) {
                key.clone_from(&left.key);
            }
        }
        let is_partitioned = index.is_partitioned;
        Ok(Look::There(Box::new(Looked { definition, now, since, traits, key, is_partitioned })))
    }

    fn tell(&self, command: Command) -> Result<()> {
        self.collector.commands.send(command).map_err(|_| ended())
    }

    /// Writes the message that says where in the stream something belongs, and waits until the collector has come there.
    async fn placed<T>(&self, source: &Source, id: String, mut answer: oneshot::Receiver<T>) -> Result<T> {
        let message = Message { stream: self.config.stream.clone(), request: Request::Place { id } };
        let position = source.request(&message).await?;
        loop {
            match tokio::time::timeout(LOOK, &mut answer).await {
                Ok(answer) => return answer.map_err(|_| ended()),
                // Whoever staged what lies behind it answered before.
                Err(_) if self.progress.now().staged.0 >= position => {
                    return answer.try_recv().map_err(|_| {
                        let what = "a message to the stream did not come through it";
                        Error::passing(Who::Source, what, "after a failover that is so; it is tried again")
                    });
                }
                Err(_) => {}
            }
        }
    }

    fn tell_progress(&self, table: &TableCopyStatus, started: Instant) {
        let left = table.bytes_expected.saturating_sub(table.bytes_done);
        let seconds_left = (table.bytes_done > 0)
            .then(|| started.elapsed().as_secs().saturating_mul(left) / table.bytes_done);
        let reading = vec![table.clone()];
        self.progress.update(|state| {
            let tables = state.resyncs.len().max(1) as u64;
            let (bytes_expected, rows) = (table.bytes_expected, table.rows);
            state.resync = Some(CopyStatus {
                tables,
                rows,
                bytes_expected,
                seconds_left,
                reading,
                ..CopyStatus::default()
            });
        });
    }
}
