//! One question to both sides, at one position of the source's WAL.
//!
//! The collector holds, a snapshot is taken, and the segment before it ends exactly there; the loader is asked behind that
//! segment. If the stream could not be held for as long as the snapshot took, or Redshift had something else by then, there is
//! another one: what is compared is always as of one position.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use re_dms_shared::Lsn;
use re_dms_shared::verify::{
    Answer, Ask, By, Checks, Dialect, FORMAT, Group, Outcome, REQUEST, TableAnswer, VerifyRequest, join,
    queries,
};
use tokio::sync::oneshot;

use super::Verifier;
use super::columns::Prepared;
use super::compare::SourceGroup;
use super::desk::{Barrier, KnownNow, Order, Placed};
use super::messages::Message;
use super::report::SkippedColumn;
use crate::copy::{Readers, take_snapshot};
use crate::error::{Error, Result, Who};
use crate::source::{CopyTraits, Locked, Source};
use crate::sql::ident;

/// Snapshots that are taken for one question.
const ATTEMPTS: u32 = 6;

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// Between attempts, where something failed.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the loader may take, with all that it has to load before.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What is asked of a table.
pub(super) struct Question<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) ask: Ask,
}

/// What both sides say of a table.
pub(super) enum Seen {
    /// These are their groups.
    Both { source: Vec<SourceGroup>, redshift: Vec<Group>, only_on_source: Vec<SkippedColumn> },
    /// Redshift has no such table.
    NoTable { source: Vec<SourceGroup> },
    /// Redshift's table has other columns than the stream made.
    Unlike(String),
    /// It can't be compared; `passing`: just now.
    Not { why: String, passing: bool },
}

/// The source's side of a table.
type OnSource = Result<(Vec<SourceGroup>, Vec<SkippedColumn>), NotNow>;

/// Why a table can't be compared.
struct NotNow {
    why: String,
    /// It may be in a moment.
    passing: bool,
}

impl NotNow {
    fn passing(why: &str) -> Self {
        Self { why: why.to_owned(), passing: true }
    }
}

impl Verifier {
    /// Asks both sides; `id` tells the question from others.
    pub(super) async fn round(&self, id: &str, questions: &[Question<'_>]) -> Result<(Lsn, Vec<Seen>)> {
        let tables = questions.iter().map(|question| question.prepared.check(question.ask.clone()));
        let checks = Checks { format: FORMAT, tables: tables.collect() };
        let checks = Bytes::from(serde_json::json!(checks).to_string());
        let mut why = String::new();
        for attempt in 1..=ATTEMPTS {
            let folder = self.layout.verification(&format!("{id}-{attempt}"));
            let (checks_key, answer_key) = (format!("{folder}/checks.json"), format!("{folder}/answer.json"));
            self.objects.put(&checks_key, checks.clone()).await?;
            let request = VerifyRequest {
                format: FORMAT,
                request: REQUEST.to_owned(),
                stream: self.config.stream.clone(),
                epoch: self.epoch.clone(),
                seq: 0,
                id: format!("{id}-{attempt}"),
                bucket: self.objects.bucket().to_owned(),
                checks_key: checks_key.clone(),
                answer_key: answer_key.clone(),
            };
            let asked = self.ask(request, questions).await;
            for key in [checks_key, answer_key] {
                if let Err(error) = self.objects.delete(&key).await {
                    tracing::debug!(%error, "a file of the verification stays");
                }
            }
            match asked {
                Ok(Ok(seen)) => return Ok(seen),
                Ok(Err(reason)) => {
                    tracing::info!(attempt, reason, "the sides are compared at another position");
                    why = reason;
                }
                Err(error) if error.retry && attempt < ATTEMPTS => {
                    tracing::warn!(attempt, %error, "the sides can't be compared yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        let hint = "a snapshot waits for the transactions that write: verify.max_hold is how long the stream may wait with it";
        Err(Error::fatal(Who::Stream, format!("{ATTEMPTS} snapshots came to nothing: {why}"), hint))
    }

    /// One snapshot; or why there has to be another one.
    async fn ask(
        &self,
        request: VerifyRequest,
        questions: &[Question<'_>],
    ) -> Result<Result<(Lsn, Vec<Seen>), String>> {
        let answer_key = request.answer_key.clone();
        let Some((snapshot, readers, known)) = self.barrier(request).await? else {
            return Ok(Err("the stream could not wait for the snapshot".to_owned()));
        };
        let (source, answer) =
            tokio::try_join!(self.source_side(readers, questions, &known), self.answer(&answer_key))?;
        let tables = match answer.outcome {
            Outcome::Read { tables } => tables,
            Outcome::Elsewhere { last } => {
                let last = last.map_or_else(|| "something else".to_owned(), |last| format!("segment {last}"));
                return Ok(Err(format!("Redshift was at {last} by then")));
            }
            Outcome::Failed { error, hint } => return Err(Error::fatal(Who::Loader, error, hint)),
        };
        if tables.len() != source.len() {
            let what = "the loader answered for another number of tables than it was asked for";
            return Err(Error::fatal(Who::Loader, what, "report this as a bug"));
        }
        Ok(Ok((
            snapshot,
            source.into_iter().zip(tables).map(|(source, table)| seen(source, table)).collect(),
        )))
    }

    /// Has a segment end at a snapshot, and the loader asked behind it. None if the stream was beyond it already.
    async fn barrier(&self, request: VerifyRequest) -> Result<Option<(Lsn, Readers, Vec<KnownNow>)>> {
        let (held, holds) = oneshot::channel();
        self.order(Order::Hold { most: self.config.verify.max_hold, held })?;
        holds.await.map_err(|_| ended())?;
        let (snapshot, readers) = match take_snapshot(&self.config).await {
            Ok(taken) => taken,
            Err(error) => {
                self.order(Order::Release)?;
                return Err(error);
            }
        };
        let (placed, outcome) = oneshot::channel();
        self.order(Order::Barrier(Barrier { snapshot, request: Box::new(request), placed }))?;
        // A transaction comes, so that the stream gets there.
        readers.now.ask_to_verify(&Message { stream: self.config.stream.clone(), run: None }).await?;
        match outcome.await.map_err(|_| ended())? {
            Placed::At(known) => Ok(Some((snapshot, readers, known))),
            Placed::Passed => Ok(None),
        }
    }

    /// The loader's answer.
    async fn answer(&self, key: &str) -> Result<Answer> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(json) = self.objects.get(key).await? {
                return serde_json::from_slice(&json).map_err(|error| {
                    let what = format!("the loader's answer can't be understood: {error}");
                    Error::fatal(Who::Loader, what, "is it newer than this program?")
                });
            }
            tokio::time::sleep(LOOK).await;
        }
        let hint =
            "does it load segments? A loader that is older than this program does not answer: update it";
        Err(Error::fatal(Who::Loader, format!("no answer within {} s", PATIENCE.as_secs()), hint))
    }

    /// The tables as the snapshot has them, by as many connections as there are.
    async fn source_side(
        &self,
        readers: Readers,
        questions: &[Question<'_>],
        known: &[KnownNow],
    ) -> Result<Vec<OnSource>> {
        let next = AtomicUsize::new(0);
        let work = async |reader: &Source| {
            let mut done = Vec::new();
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(question) = questions.get(position) else { return Ok::<_, Error>(done) };
                done.push((position, self.on_source(reader, &readers.now, question, known).await?));
            }
        };
        let mut all: Vec<_> =
            try_join_all(readers.readers.iter().map(work)).await?.into_iter().flatten().collect();
        all.sort_by_key(|(position, _)| *position);
        Ok(all.into_iter().map(|(_, seen)| seen).collect())
    }

    async fn on_source(
        &self,
        reader: &Source,
        now: &Source,
        Question { prepared, ask }: &Question<'_>,
        known: &[KnownNow],
    ) -> Result<OnSource> {
        let (oid, label) = (prepared.table.oid, prepared.label());
        match known.iter().find(|known| known.table.oid == oid) {
            Some(KnownNow { excuse: Some(excuse), .. }) => {
                return Ok(Err(NotNow { why: excuse.clone(), passing: false }));
            }
            Some(known) if known.table == prepared.table => {}
            _ => return Ok(Err(NotNow::passing("its definition was changed just now"))),
        }
        let publication = &self.config.source.publication;
        let Some(text) = reader.definition_text(oid, publication).await? else {
            return Ok(Err(NotNow::passing("it is gone from the source")));
        };
        let definition = crate::relations::TableNow::read(&text)?;
        let values = match prepared.values(&definition) {
            Ok(values) => values,
            Err(why) => return Ok(Err(NotNow::passing(why))),
        };
        reader.check_readable(oid, &label).await?;
        let CopyTraits { filter, .. } = reader.copy_traits(oid, publication).await?;
        let (schema, name) = (definition.schema.as_str(), definition.name.as_str());
        if reader.lock((schema, name), true).await? != Locked::Yes {
            return Ok(Err(NotNow::passing("it is locked by somebody else")));
        }
        // From here on nobody changes the table. Whoever did since the snapshot may have written its rows anew, and then the
        // snapshot sees none.
        if now.definition_text(oid, publication).await?.as_ref() != Some(&text) {
            reader.release().await?;
            return Ok(Err(NotNow::passing("it was changed just now")));
        }
        let only = if definition.leaves.is_some() { "" } else { "ONLY " };
        let table = format!("{only}{}.{} AS t", ident(schema), ident(name));
        let of_table = (table.as_str(), filter.as_deref());
        let shows = matches!(ask.by, By::Keys { shown: true, .. });
        let mut parts = Vec::new();
        for sql in queries(Dialect::Source, of_table, &values, prepared.keyed, ask) {
            parts.push(reader.groups(&label, &sql, shows).await?);
        }
        reader.release().await?;
        let groups = join(parts).into_iter().map(|(group, wide)| SourceGroup { group, wide }).collect();
        Ok(Ok((groups, prepared.only_on_source(&definition, &self.config.source.columns))))
    }

    fn order(&self, order: Order) -> Result<()> {
        self.collector.send(order).map_err(|_| ended())
    }

    /// The tables as Redshift has them where the collector is.
    pub(super) async fn tables(&self) -> Result<Vec<KnownNow>> {
        let (tell, told) = oneshot::channel();
        self.order(Order::Tables(tell))?;
        told.await.map_err(|_| ended())
    }
}

fn seen(source: OnSource, table: TableAnswer) -> Seen {
    let (source, only_on_source) = match source {
        Ok(source) => source,
        Err(NotNow { why, passing }) => return Seen::Not { why, passing },
    };
    match table {
        TableAnswer::Groups { groups } => Seen::Both { source, redshift: groups, only_on_source },
        TableAnswer::Missing => Seen::NoTable { source },
        TableAnswer::Unlike { what } => Seen::Unlike(what),
        TableAnswer::Waiting { reason } => {
            Seen::Not { why: format!("its changes wait: {reason}"), passing: false }
        }
        TableAnswer::Failed { error, hint } => {
            Seen::Not { why: format!("{error}\n  hint: {hint}"), passing: false }
        }
    }
}

fn ended() -> Error {
    Error::passing(Who::Stream, "the collector has ended", "see the error that was logged before")
}
