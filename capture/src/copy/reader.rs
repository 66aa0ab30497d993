//! Reading tables under one snapshot, several at a time, and large ones by several readers at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use re_dms_shared::manifest::Load;
use re_dms_shared::status::{CopyStatus, TableCopyStatus};
use tracing::Instrument as _;

use super::board::{Board, Chunk, Shared, Turn, chunks};
use super::output::{Account, Files, Output};
use super::pace::Pace;
use super::round::{Readers, RoundTable};
use crate::batch::TableShape;
use crate::config::Config;
use crate::error::Result;
use crate::progress::Progress;
use crate::rows::{HashedColumns, LoadContext};
use crate::source::{Locked, Source, copy_failure};
use crate::sql::ident;

/// Who has nothing to do looks again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often the progress is told, and logged.
const TELL: Duration = Duration::from_millis(500);
const LOG: Duration = Duration::from_secs(10);

/// Who takes the tables that were read.
pub(crate) trait Finished {
    /// The table is done; `load` is what was read of it, if it is there.
    async fn finished(&self, table: &RoundTable, load: Option<Load>) -> Result<()>;
}

/// Tables that are read under one snapshot.
pub(crate) struct Reading {
    config: Arc<Config>,
    readers: Vec<Source>,
    now: Source,
    board: Board<Output>,
    files: Arc<Files>,
    progress: Arc<Progress>,
    account: Account,
    pace: Pace,
}

impl Reading {
    /// Will read these tables, those that are done before counted as well: `of` is how many of how many are.
    pub(crate) fn new(
        config: Arc<Config>,
        snapshot: Readers,
        tables: Vec<RoundTable>,
        files: Files,
        of: (u64, u64),
    ) -> Self {
        let (progress, account) = (Arc::clone(&files.progress), files.account());
        progress.update(|state| {
            *account.of(state) = Some(CopyStatus {
                tables: of.1,
                tables_done: of.0,
                bytes_expected: tables.iter().map(|table| table.bytes).sum(),
                ..CopyStatus::default()
            });
        });
        let Readers { readers, now } = snapshot;
        Self {
            pace: Pace::new(config.copy.max_bytes_per_second.map(|rate| rate.bytes() as u64)),
            config,
            readers,
            now,
            board: Board::new(tables),
            files: Arc::new(files),
            progress,
            account,
        }
    }

    /// Reads all of them. Returns how many the snapshot could not be used for.
    pub(crate) async fn read_all(&self, sink: &impl Finished) -> Result<usize> {
        let working = try_join_all(self.readers.iter().map(|reader| self.work(reader, sink)));
        tokio::select! {
            worked = working => worked.map(|_| self.board.left_over()),
            never = self.tell() => Ok(never),
        }
    }

    /// A connection in no transaction.
    pub(crate) fn now(&self) -> &Source {
        &self.now
    }

    async fn work(&self, reader: &Source, sink: &impl Finished) -> Result<()> {
        loop {
            match self.board.turn() {
                Turn::Own(table) => {
                    let span = span_of(&table);
                    self.own(reader, table, sink).instrument(span).await?;
                }
                Turn::Help(shared) => self.help(reader, &shared).instrument(span_of(&shared.table)).await?,
                Turn::Wait => tokio::time::sleep(LOOK_AGAIN).await,
                Turn::Finished => return Ok(()),
            }
        }
    }

    async fn own(&self, reader: &Source, table: RoundTable, sink: &impl Finished) -> Result<()> {
        let Some((definition, shape)) = table.definition.clone().zip(table.shape.clone()) else {
            self.finish(&table, None, sink).await?;
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
        let now = self.now.definition_text(table.oid, &self.config.source.publication).await?;
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
        let output = Output::new(
            table.oid,
            LoadContext::copy(Arc::clone(&shape)),
            HashedColumns::of(&self.config.source, &shape),
        );
        let shared = self.board.share(table, chunks, output);
        self.read(reader, &shared, &shape).await?;
        while !shared.is_read() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.board.unshare(&shared);
        reader.release().await?;
        let load = shared.output.finish(&self.files).await?;
        let (rows, files) = (load.rows.total(), load.files.len());
        self.finish(&shared.table, Some(load), sink).await?;
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

    async fn finish(&self, table: &RoundTable, load: Option<Load>, sink: &impl Finished) -> Result<()> {
        sink.finished(table, load).await?;
        self.progress.update(|state| {
            if let Some(copy) = self.account.of(state) {
                copy.tables_done += 1;
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
                if let Some(copy) = self.account.of(state) {
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
