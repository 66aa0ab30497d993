//! Reading tables anew while the stream goes on: after a change of their definition that leaves their rows unproven, when they
//! join the publication, or because somebody wishes it.
//!
//! A wish comes through the source's WAL ([`messages`]) and stays among what the segments say of tables until it is fulfilled.
//! A table with a key that both databases order alike is read range by range: [`sweep`], ADR 24. Others are read as a whole,
//! beside the stream: a snapshot with an exact position is taken; the collector puts a step there that lets what comes
//! behind it wait; the readers of the initial copy ([`Reading`]) write the table's rows to S3; a second step says where they are.
//! The loader replaces the table by them, and goes on with what waited. Whatever dies on the way, the wish is there, and begins
//! anew with another snapshot. See ADR 17.

mod desk;
pub mod messages;
pub mod request;
mod sweep;
mod visible;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use re_dms_shared::manifest::Load;
use re_dms_shared::s3_layout::StreamLayout;
use tokio::sync::{oneshot, watch};

use crate::aws::Objects;
use crate::config::Config;
use crate::copy::{Account, Files, Finished, Reading, RoundTable, take_snapshot};
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::progress::Progress;
use crate::relations::{NamedTable, TableNow, Wish};
use crate::retry::Backoff;
use crate::source::{CopyTraits, Source};
pub use desk::{Begun, Command, Desk, Placed, ReadChunk, Reader, Seen, Sweep, Swept, Wanted, desk};
pub use messages::{Message, PREFIX as REQUESTS, Request, new_id};
use sweep::Ended;
pub use visible::Visible;

/// How often it is looked whether something is to be read.
const LOOK: Duration = Duration::from_millis(500);

/// What is due is asked for again after this: the stream may be behind.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Reads tables anew for as long as the stream runs.
pub(crate) struct Resyncer {
    /// What the tables are like.
    pub(crate) config: Arc<Config>,
    /// The epoch's text form.
    pub(crate) epoch: String,
    /// The bucket.
    pub(crate) objects: Objects,
    /// Where in it.
    pub(crate) layout: StreamLayout,
    /// Where to tell how far it is.
    pub(crate) progress: Arc<Progress>,
    /// Whether the initial copy is over.
    pub(crate) flight: Arc<Mutex<Flight>>,
    /// The collector.
    pub(crate) collector: Reader,
    /// Wishes by their ids: whether their tables are to be read as a whole, since nothing orders their rows.
    pub(crate) whole: HashMap<(String, u32), bool>,
}

/// How a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By ranges of its key.
    Ranges,
    /// Under a snapshot.
    Whole,
    /// Not now.
    Stands,
}

/// Wishes by their ids, with their tables and ways, and tables that are due.
type Wants = (Vec<(String, u32, Way)>, Vec<NamedTable>);

impl Resyncer {
    /// Ends when told to.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.read_what_is_wanted() => {}
            _ = stop.wait_for(|&stop| stop) => {}
        }
    }

    async fn read_what_is_wanted(&mut self) {
        let mut backoff = Backoff::new();
        let mut asked: Option<(Vec<NamedTable>, Instant)> = None;
        let mut turn = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            if self.flight.lock().unwrap_or_else(PoisonError::into_inner).is_copying() {
                continue;
            }
            let Wanted { wishes, due } = self.collector.wanted.borrow().clone();
            let again =
                asked.as_ref().is_none_or(|(tables, when)| *tables != due || when.elapsed() > ASK_AGAIN);
            if due.is_empty() {
                // Whatever is due next has not been asked for.
                asked = None;
            } else if again {
                match self.ask_for(&due).await {
                    Ok(()) => asked = Some((due, Instant::now())),
                    Err(error) => self.failed(&error, &mut backoff).await,
                }
            }
            turn += 1;
            let Some(read) = self.read_some(&wishes, turn).await else { continue };
            // Whatever became of it, nobody reads now.
            let _ = self.watch(Vec::new()).await;
            self.progress.update(|state| state.resync = None);
            match read {
                Ok(()) => {
                    backoff = Backoff::new();
                    self.progress.update(|state| state.resync_error = None);
                }
                Err(error) => self.failed(&error, &mut backoff).await,
            }
        }
    }

    /// Reads tables of one kind: all that are read under a snapshot, or one that is not. None if there is nothing to read.
    async fn read_some(&mut self, wishes: &[Wish], turn: usize) -> Option<Result<()>> {
        if let Err(error) = self.sort_out(wishes).await {
            return Some(Err(error));
        }
        let of =
            |way: Way| -> Vec<Wish> { wishes.iter().filter(|wish| self.way(wish) == way).cloned().collect() };
        let (whole, swept) = (of(Way::Whole), of(Way::Ranges));
        if !whole.is_empty() {
            return Some(self.round(&whole).await);
        }
        // One that can't be read does not keep the others from it.
        let wish = swept.get(turn % swept.len().max(1))?;
        Some(match self.sweep(wish).await {
            Ok(Ended::Paused) => Ok(()),
            Ok(Ended::Whole) => {
                self.whole.insert(wish.key(), true);
                Ok(())
            }
            Err(error) => Err(error),
        })
    }

    /// Finds out of new wishes whose tables have a key to be read by.
    async fn sort_out(&mut self, wishes: &[Wish]) -> Result<()> {
        self.whole.retain(|key, _| wishes.iter().any(|wish| wish.key() == *key));
        let new: Vec<_> = wishes.iter().filter(|wish| !self.whole.contains_key(&wish.key())).collect();
        if new.is_empty() {
            return Ok(());
        }
        let source = Source::connect(&self.config.source).await?;
        for wish in new {
            let is_whole = wish.whole || !self.has_order(&source, wish).await?;
            self.whole.insert(wish.key(), is_whole);
        }
        Ok(())
    }

    /// How a table is to be read.
    fn way(&self, wish: &Wish) -> Way {
        let NamedTable { schema, name, .. } = &wish.table;
        let is_whole = wish.whole || self.whole.get(&wish.key()).copied().unwrap_or(false);
        if is_whole || self.config.tables.of(schema, name).resync_whole {
            return Way::Whole;
        }
        let (schema, name) = self.config.target.table(schema, name);
        let label = format!("{schema}.{name}").to_ascii_lowercase();
        let told = self.progress.now().quarantine.tables;
        match told.iter().find(|table| table.table == label) {
            None => Way::Ranges,
            // It goes on when the table does.
            Some(waiting) if wish.sweep.is_some() && (waiting.paused || waiting.held) => Way::Stands,
            // Its rows take the place of whatever could not be loaded.
            Some(_) => Way::Whole,
        }
    }

    /// What is wanted of whom, and how.
    fn wanted_now(&self) -> Wants {
        let Wanted { wishes, due } = self.collector.wanted.borrow().clone();
        (wishes.iter().map(|wish| (wish.id.clone(), wish.table.oid, self.way(wish))).collect(), due)
    }

    async fn failed(&self, error: &Error, backoff: &mut Backoff) {
        let pause = backoff.pause();
        tracing::warn!(%error, retry_in_ms = pause.as_millis(), "tables can't be read anew yet");
        self.progress.update(|state| state.resync_error = Some(error.to_string()));
        tokio::time::sleep(pause).await;
    }

    /// Lets what is due become wishes.
    async fn ask_for(&self, due: &[NamedTable]) -> Result<()> {
        let source = Source::connect(&self.config.source).await?;
        let request = Request::ResyncIfDue { id: new_id(), tables: due.to_vec() };
        source.request(&Message { stream: self.config.stream.clone(), request }).await.map(drop)
    }

    async fn watch(&self, oids: Vec<u32>) -> Result<()> {
        let (watching, answer) = oneshot::channel();
        self.command(Command::Watch { oids, watching }, answer).await
    }

    async fn command<T>(&self, command: Command, answer: oneshot::Receiver<T>) -> Result<T> {
        let gone = || {
            Error::passing(Who::Stream, "the collector has something else to do by now", "it is tried again")
        };
        self.collector.commands.send(command).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Reads all of these under one snapshot.
    ///
    /// A table that can't be looked at does not keep the others from being read.
    async fn round(&self, wishes: &[Wish]) -> Result<()> {
        self.watch(wishes.iter().map(|wish| wish.table.oid).collect()).await?;
        let (snapshot, readers) = take_snapshot(&self.config).await?;
        let (mut looked, mut seen, mut problem) = (Vec::new(), Vec::new(), None);
        for wish in wishes {
            match self.look(&readers.readers[0], wish).await {
                Ok((table, now)) => {
                    looked.push(table);
                    seen.push(Seen { wish: wish.clone(), now });
                }
                Err(error) if !error.retry => problem = Some(error),
                Err(error) => return Err(error),
            }
        }
        let (begun, answer) = oneshot::channel();
        let begin = Command::Begin { snapshot, tables: seen, begun };
        self.collector.commands.send(begin).map_err(|_| ended())?;
        self.mark(&readers.now).await?;
        let begun = answer.await.map_err(|_| ended())?;
        let (mut tables, mut later) = (Vec::new(), 0);
        for (mut table, begun) in looked.into_iter().zip(begun) {
            match begun {
                Begun::Read(shape) => {
                    table.shape = Some(shape);
                    tables.push(table);
                }
                Begun::Later => later += 1,
                Begun::Nothing => {
                    tracing::info!(table = table.name, "there is nothing to be read anew");
                }
                Begun::Refused(error) => tracing::error!(table = table.name, %error, "can't be read anew"),
            }
        }
        if later > 0 {
            tracing::info!(
                tables = later,
                "the stream ran away from the snapshot: they are read under another one"
            );
        }
        if tables.is_empty() {
            return problem.map_or(Ok(()), Err);
        }
        tracing::info!(tables = tables.len(), lsn = %snapshot, "reading tables anew");
        let attempt = format!("{:08x}", rand::random::<u32>());
        let files = Files::new(
            &self.config,
            self.objects.clone(),
            self.layout.copy(&self.epoch),
            attempt,
            (Arc::clone(&self.progress), Account::Resync),
        );
        let of = (0, tables.len() as u64);
        let reading = Reading::new(Arc::clone(&self.config), readers, tables, files, of);
        let sink = Sink { resyncer: self, wishes, now: reading.now() };
        let left_over = reading.read_all(&sink).await?;
        if left_over > 0 {
            tracing::info!(tables = left_over, "changed since the snapshot: they are read under another one");
        }
        problem.map_or(Ok(()), Err)
    }

    /// A transaction comes, so that the collector does what it was told.
    async fn mark(&self, source: &Source) -> Result<()> {
        let message = Message { stream: self.config.stream.clone(), request: Request::Mark };
        source.request(&message).await.map(drop)
    }

    /// The table as the snapshot has it.
    async fn look(&self, reader: &Source, wish: &Wish) -> Result<(RoundTable, Option<TableNow>)> {
        let config = &self.config.source;
        let NamedTable { oid, schema, name } = wish.table.clone();
        let mut table = RoundTable { schema, name, ..RoundTable::gone(oid) };
        let Some(text) = reader.definition_text(oid, &config.publication).await? else {
            return Ok((table, None));
        };
        let now = TableNow::read(&text)?;
        if !config.tables.picks(&now.schema, &now.name) || !reader.is_in_stream(oid, config).await? {
            return Ok((table, None));
        }
        (table.schema, table.name) = (now.schema.clone(), now.name.clone());
        reader.check_readable(oid, &wish.table.label()).await?;
        let CopyTraits { filter, bytes, .. } = reader.copy_traits(oid, &config.publication).await?;
        Ok((RoundTable { definition: Some(text), filter, bytes, ..table }, Some(now)))
    }
}

fn ended() -> Error {
    Error::passing(Who::Stream, "the collector has ended", "see the error that was logged before")
}

/// Hands tables that were read to the collector.
struct Sink<'a> {
    resyncer: &'a Resyncer,
    wishes: &'a [Wish],
    now: &'a Source,
}

impl Finished for Sink<'_> {
    async fn finished(&self, table: &RoundTable, load: Option<Load>) -> Result<()> {
        let wish = self.wishes.iter().find(|wish| wish.table.oid == table.oid);
        let Some(((wish, shape), load)) = wish.zip(table.shape.clone()).zip(load) else { return Ok(()) };
        let (taken, answer) = oneshot::channel();
        let replace = Command::Replace { wish: wish.clone(), shape, load: Box::new(load), taken };
        self.resyncer.collector.commands.send(replace).map_err(|_| ended())?;
        self.resyncer.mark(self.now).await?;
        if !answer.await.map_err(|_| ended())? {
            tracing::info!(table = table.name, "somebody wants it to be read anew once more");
        }
        Ok(())
    }
}
