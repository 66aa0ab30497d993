//! Reading a round's tables, several at a time, and large ones by several readers at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use re_dms_shared::manifest::Load;
use re_dms_shared::status::{CopyStatus, TableCopyStatus};
use tokio::sync::{Mutex, watch};
use tracing::Instrument as _;

use super::board::{Board, Chunk, Shared, Turn, chunks};
use super::output::{Files, Output};
use super::pace::Pace;
use super::round::{Round, RoundTable};
use super::segments::Segments;
use crate::batch::TableShape;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::hmac::Hmac;
use crate::progress::Progress;
use crate::retry::Backoff;
use crate::rows::{HashedColumns, LoadContext};
use crate::source::{Locked, Source, copy_failure};
use crate::sql::ident;

/// Who has nothing to do looks again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often the progress is told, and logged.
const TELL: Duration = Duration::from_millis(500);
const LOG: Duration = Duration::from_secs(10);

/// One round of the copy.
pub struct Copier {
    config: Arc<Config>,
    round: Round,
    board: Board<Output>,
    files: Arc<Files>,
    segments: Mutex<Segments>,
    progress: Arc<Progress>,
    pace: Pace,
}

impl Copier {
    /// Will copy what is left into these segments.
    #[must_use]
    pub fn new(config: Arc<Config>, mut round: Round, segments: Segments) -> Self {
        let progress = Arc::clone(&segments.progress);
        let identity = &segments.identity;
        let files = Files::new(
            &config,
            segments.objects.clone(),
            segments.layout.copy(&identity.epoch),
            identity.attempt.clone(),
            Arc::clone(&progress),
        );
        let tables = std::mem::take(&mut round.tables);
        progress.update(|state| {
            state.copy = Some(CopyStatus {
                tables: segments.state.segments(),
                tables_done: segments.state.done.len() as u64,
                bytes_expected: tables.iter().map(|table| table.bytes).sum(),
                ..CopyStatus::default()
            });
        });
        Self {
            pace: Pace::new(config.copy.max_bytes_per_second.map(|rate| rate.bytes() as u64)),
            config,
            round,
            board: Board::new(tables),
            files: Arc::new(files),
            segments: Mutex::new(segments),
            progress,
        }
    }

    /// Copies until nothing is left, and ends when told to stop.
    ///
    /// # Errors
    /// Most of them say that the stream is to be started over: what is left is read under a new snapshot.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let copied = tokio::select! {
            copied = self.copy() => copied,
            _ = stop.wait_for(|&stop| stop) => return Ok(()),
        };
        match copied {
            Ok(0) => {
                tracing::info!("the initial copy is done");
                self.progress.update(|state| state.copy = None);
                drop(self);
                let _ = stop.wait_for(|&stop| stop).await;
                Ok(())
            }
            Ok(tables) => Err(Error::passing(
                Who::Source,
                format!("{tables} tables were changed between the snapshot of their copy and its turn"),
                "they are read under a new one",
            )
            .starting_over()),
            Err(error) if error.retry => {
                tracing::warn!(%error, "the copy is interrupted: what is left of it is read under a new snapshot");
                self.progress.failing(error.who, error.to_string());
                tokio::select! {
                    () = self.reachable() => Err(error.starting_over()),
                    _ = stop.wait_for(|&stop| stop) => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until the source lets us in.
    async fn reachable(&self) {
        let mut backoff = Backoff::new();
        loop {
            tokio::time::sleep(backoff.pause()).await;
            if Source::connect(&self.config.source).await.is_ok() {
                return;
            }
        }
    }

    /// Returns how many tables this round's snapshot could not be used for.
    async fn copy(&self) -> Result<usize> {
        let working = try_join_all(self.round.readers.iter().map(|reader| self.work(reader)));
        tokio::select! {
            worked = working => worked.map(|_| self.board.left_over()),
            never = self.tell() => Ok(never),
        }
    }

    async fn work(&self, reader: &Source) -> Result<()> {
        loop {
            match self.board.turn() {
                Turn::Own(table) => {
                    let span = span_of(&table);
                    self.own(reader, table).instrument(span).await?;
                }
                Turn::Help(shared) => self.help(reader, &shared).instrument(span_of(&shared.table)).await?,
                Turn::Wait => tokio::time::sleep(LOOK_AGAIN).await,
                Turn::Finished => return Ok(()),
            }
        }
    }

    async fn own(&self, reader: &Source, table: RoundTable) -> Result<()> {
        let Some((definition, shape)) = table.definition.clone().zip(table.shape.clone()) else {
            self.finish(&table, None).await?;
            self.board.done();
            return Ok(());
        };
        match reader.lock((&table.schema, &table.name), true).await? {
            Locked::Yes => {}
            Locked::Busy => {
                tracing::info!(table = shape.source_name(), "locked by somebody else: it is copied later");
                self.board.later(table);
                return Ok(());
            }
            Locked::Gone => {
                self.board.leave_over();
                return Ok(());
            }
        }
        // From here on nobody changes the table. Whoever did since the snapshot may have written its rows anew, and then
        // the snapshot sees none.
        let now = self.round.now.definition_text(table.oid, &self.config.source.publication).await?;
        if now.as_ref() != Some(&definition) {
            reader.release().await?;
            tracing::info!(
                table = shape.source_name(),
                "changed since the snapshot: it is read under another one"
            );
            self.board.leave_over();
            return Ok(());
        }
        let started = Instant::now();
        let chunks = chunks(&reader.leaves(table.oid).await?);
        let output =
            Output::new(table.oid, LoadContext::copy(Arc::clone(&shape)), self.hashed(&table, &shape));
        let shared = self.board.share(table, chunks, output);
        self.read(reader, &shared, &shape).await?;
        while !shared.is_read() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.board.unshare(&shared);
        reader.release().await?;
        let load = shared.output.finish(&self.files).await?;
        let (rows, files) = (load.rows.total(), load.files.len());
        self.finish(&shared.table, Some(load)).await?;
        self.board.done();
        let duration_ms = started.elapsed().as_millis();
        tracing::info!(table = shape.source_name(), rows, files, duration_ms, "copied");
        Ok(())
    }

    async fn help(&self, reader: &Source, shared: &Shared<Output>) -> Result<()> {
        let (RoundTable { schema, name, .. }, Some(shape)) = (&shared.table, &shared.table.shape) else {
            shared.leave(true);
            return Ok(());
        };
        // Whoever waits for a lock that excludes ours must not be waited for: the table's owner has its lock already, and
        // goes on until the table is read.
        let locked = reader.lock((schema, name), false).await?;
        if locked == Locked::Yes {
            self.read(reader, shared, shape).await?;
            reader.release().await?;
        }
        shared.leave(locked != Locked::Yes);
        Ok(())
    }

    /// Reads chunks of the table until none is left.
    async fn read(&self, reader: &Source, shared: &Shared<Output>, shape: &TableShape) -> Result<()> {
        let mut lines = Vec::new();
        while let Some(chunk) = shared.next() {
            let stream = reader.copy_out(&query(&shared.table, shape, &chunk)).await?;
            let mut stream = std::pin::pin!(stream);
            while let Some(bytes) = stream.try_next().await.map_err(|error| copy_failure(&error))? {
                lines.extend_from_slice(&bytes);
                self.pace.took(bytes.len()).await;
                // A row's own newlines are escaped.
                if lines.len() >= self.files.file_bytes && lines.ends_with(b"\n") {
                    let full = std::mem::replace(&mut lines, Vec::with_capacity(self.files.file_bytes));
                    shared.output.write(&self.files, full).await?;
                }
            }
        }
        shared.output.write_rest(&self.files, lines).await
    }

    fn hashed(&self, table: &RoundTable, shape: &TableShape) -> Option<HashedColumns> {
        let source = &self.config.source;
        let is_hashed = |name: &str| source.columns.is_hashed(&table.schema, &table.name, name);
        let hashed: Vec<bool> = shape.columns().iter().map(|column| is_hashed(&column.name)).collect();
        let key = source.hash_key.as_ref().map(|key| key.reveal().as_bytes()).unwrap_or_default();
        hashed.contains(&true).then(|| HashedColumns::new(Hmac::new(key), hashed))
    }

    async fn finish(&self, table: &RoundTable, load: Option<Load>) -> Result<()> {
        let mut segments = self.segments.lock().await;
        segments.add(table, self.round.snapshot, &self.round.shapes, load).await?;
        let done = segments.state.done.len() as u64;
        self.progress.update(|state| {
            if let Some(copy) = &mut state.copy {
                copy.tables_done = done;
                copy.bytes_done += table.bytes;
            }
        });
        Ok(())
    }

    /// Tells how far the copy is for as long as it goes on.
    async fn tell(&self) -> ! {
        let started = Instant::now();
        let mut logged = Instant::now();
        loop {
            tokio::time::sleep(TELL).await;
            let reading: Vec<_> =
                self.board.reading().iter().map(|(shared, read)| progress(shared, *read)).collect();
            let under_way: u64 = reading.iter().map(|table| table.bytes_done).sum();
            let mut now = CopyStatus::default();
            self.progress.update(|state| {
                if let Some(copy) = &mut state.copy {
                    let bytes = (copy.bytes_done + under_way).min(copy.bytes_expected);
                    copy.seconds_left = seconds_left(started.elapsed(), bytes, copy.bytes_expected);
                    copy.reading = reading;
                    now = copy.clone();
                }
            });
            if logged.elapsed() >= LOG {
                logged = Instant::now();
                let CopyStatus { tables, tables_done, rows, seconds_left, .. } = now;
                tracing::info!(tables, tables_done, rows, seconds_left, "copying");
            }
        }
    }
}

fn progress(shared: &Shared<Output>, bytes_done: u64) -> TableCopyStatus {
    let RoundTable { schema, name, bytes, .. } = &shared.table;
    let table = format!("{schema}.{name}");
    TableCopyStatus { table, bytes_expected: *bytes, bytes_done, rows: shared.output.rows() }
}

/// What is logged meanwhile names the table.
fn span_of(RoundTable { schema, name, .. }: &RoundTable) -> tracing::Span {
    tracing::info_span!("copy", table = format!("{schema}.{name}"))
}

/// None before anything can be said.
fn seconds_left(elapsed: Duration, done: u64, expected: u64) -> Option<u64> {
    let left = expected.saturating_sub(done);
    (done > 0).then(|| elapsed.as_secs().saturating_mul(left) / done)
}

fn query(table: &RoundTable, shape: &TableShape, chunk: &Chunk) -> String {
    let columns: Vec<_> = shape.columns().iter().map(|column| ident(&column.name)).collect();
    let from = chunk.from.map(|block| format!("ctid >= '({block},0)'::tid"));
    let before = chunk.before.map(|block| format!("ctid < '({block},0)'::tid"));
    let filter = table.filter.as_ref().map(|filter| format!("({filter})"));
    let conditions: Vec<_> = [from, before, filter].into_iter().flatten().collect();
    let condition =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("SELECT {} FROM ONLY {}{condition}", columns.join(", "), chunk.leaf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SourceColumn;

    #[test]
    fn a_chunks_query_names_its_columns_its_range_and_the_publications_condition() {
        let column = |name: &str| SourceColumn {
            name: name.to_owned(),
            attribute_number: None,
            type_oid: 23,
            type_modifier: -1,
            key: false,
        };
        let columns = vec![column("id"), column("a\"B")];
        let shape = TableShape::new(7, ("public", "t"), ("public", "t"), columns).unwrap();
        let mut table = RoundTable::gone(7);
        let chunk = |from, before| Chunk { leaf: "\"s\".\"p\"".to_owned(), from, before };
        assert_eq!(query(&table, &shape, &chunk(None, None)), r#"SELECT "id", "a""B" FROM ONLY "s"."p""#);
        table.filter = Some("id > 3".to_owned());
        assert_eq!(
            query(&table, &shape, &chunk(Some(8), Some(16))),
            r#"SELECT "id", "a""B" FROM ONLY "s"."p" WHERE ctid >= '(8,0)'::tid AND ctid < '(16,0)'::tid AND (id > 3)"#
        );
    }

    #[test]
    fn the_time_that_is_left_follows_what_is_read() {
        assert_eq!(seconds_left(Duration::from_secs(10), 0, 100), None);
        assert_eq!(seconds_left(Duration::from_secs(10), 25, 100), Some(30));
        assert_eq!(seconds_left(Duration::from_secs(10), 100, 100), Some(0));
    }
}
