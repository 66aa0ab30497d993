//! `re_dms run`: everything wired together.
//!
//! ```text
//! receive (task) → persist (thread: local WAL) → collect (thread: batch) → stage (task: files, manifest) → announce
//!     ↑ confirmed position                                                          acknowledgements (task) ┘
//! ```
//!
//! Each arrow is a short bounded channel: whoever is slow holds up those before it, and memory stays bounded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Confirmed, Durable, Loaded, Staged};
use re_dms_shared::manifest::Predecessor;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::table_log::Quarantine;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::announce::{self, Announcer, Asks, TableNews};
use crate::aws::{self, Objects, Queues};
use crate::catalog::Catalog;
use crate::collect::{Collector, Limits, ReadBack};
use crate::config::{AdvanceOn, BatchConfig, Config};
use crate::copy::{self, Copier, CopyState, Round, Segments};
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::lasting;
use crate::look_around::LookAround;
use crate::metrics::{Exporters, Meter};
use crate::persist::{Cutter, Persister};
use crate::progress::{Progress, Snapshot};
use crate::receive::{self, Receiver};
use crate::relations::Looks;
use crate::resync::{self, Resyncer};
use crate::retention::Retention;
use crate::retry::Backoff;
use crate::rows::RenderOptions;
use crate::segments::{Archive, tidy};
use crate::service::Service;
use crate::slot_watch::SlotWatch;
use crate::source::Source;
use crate::stage::{Stager, StreamIdentity};
use crate::start::{self, Place, PositionRecord};
use crate::status::{Published, StatusFile};
use crate::threads;
use crate::verify::{self, Verifier};
use crate::wal::LocalWal;
use crate::watchdog;

/// Groups of events between the connection and the local WAL, and between the local WAL and the batch.
const GROUPS_BETWEEN: usize = 8;

/// How long an orderly end may take to stage the last batch. The local WAL has it in any case.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Runs a stream until a signal ends it.
///
/// # Errors
/// What does not pass by itself. Nothing is lost by it.
pub async fn run(config: Config, meter: Arc<Meter>) -> Result<()> {
    let config = Arc::new(config);
    let mut alive = JoinSet::new();
    let watched = Arc::clone(&meter);
    alive.spawn(Service::from_env().live(move || watched.stalled().is_some()));
    let exporters = Exporters::start(&config.metrics, &meter).await?;
    let outcome = run_on(config, &meter).await;
    if let Err(error) = &outcome {
        tracing::error!(who = %error.who, %error, "the stream ended");
        meter.count_fatal(error);
    }
    exporters.stop().await;
    outcome
}

/// As often as the stream is to be started over.
async fn run_on(config: Arc<Config>, meter: &Meter) -> Result<()> {
    let mut backoff = None;
    loop {
        match run_once(Arc::clone(&config), meter).await {
            // Positions in memory may lie beyond a fork, a snapshot may be gone: all is found anew.
            Err(error) if error.start_over => {
                tracing::warn!(%error, "starting over");
                backoff = Some(Backoff::new());
            }
            // Who has begun well goes on for as long as it takes.
            Err(error) if error.retry && backoff.is_some() => {
                let pause = backoff.as_mut().map(Backoff::pause).unwrap_or_default();
                tracing::warn!(%error, retry_in_ms = pause.as_millis(), "can't start over yet");
                tokio::time::sleep(pause).await;
            }
            outcome => return outcome,
        }
    }
}

/// Until the stream ends or has to be started over: on one timeline of the source, and with one snapshot of the copy.
async fn run_once(config: Arc<Config>, meter: &Meter) -> Result<()> {
    let sdk = aws::sdk_config(&config.aws).await;
    let objects = Objects::new(&sdk, &config.s3.bucket, config.aws.s3_path_style);
    let queues = Queues::new(&sdk, &config.queues);
    let layout = StreamLayout::new(&config.s3.prefix, &config.stream);

    // Everything that can be refused is asked before anything is made.
    let source = Source::connect(&config.source).await?;
    source.check_server().await?;
    objects.check().await?;
    queues.check().await?;
    make_data_dir(&config)?;
    let mut client = receive::connect(&config).await?;
    let server = receive::identify(&mut client).await?;
    let mut place = start::find_place(&config, &source, &mut client, &server, &objects, &layout).await?;
    start::check_tables(&config, &source, &place.known).await?;
    // Who does without rows from before does without them here, too.
    let may_join =
        config.copy.enabled && source.publishes_all(&config.source.publication).await? == Some(false);
    drop(source);

    let epoch = place.epoch.to_string();
    let folder = config.data_dir.join("wal");
    let (wal, recovery) =
        LocalWal::open(&folder, &epoch).map_err(|error| Error::told(Who::Machine, false, &error))?;
    let held = recovery.last_commit.map_or(place.staged_lsn, |lsn| lsn.max(place.staged_lsn));
    // What was copied from a server that lost it is lost, too.
    let seen = held.max(place.copy.last_snapshot());
    start::follow_timeline(&config, &mut client, &server, &objects, &layout, &mut place, seen).await?;
    start::check_held(&config, place.confirmed, held.max(place.anchored))
        .map_err(|error| error.breaking(6))?;
    drop(client);
    tracing::info!(
        epoch = %epoch, lsn = %held, staged = %place.staged_lsn, loaded = %place.loaded_lsn,
        "the stream's place is found"
    );
    let attempt = format!("{:08x}", rand::random::<u32>());
    let mut round = None;
    if place.copy.is_pending() {
        let shapes = layout.copy(&epoch).shapes(&attempt);
        round = Some(Round::begin(&config, &objects, &place.copy, &mut place.known, held, shapes).await?);
        place.is_news = true;
    }
    let stream = Stream { config, objects, queues, layout, place, server, attempt, round, may_join };
    stream.run(wal, folder, held, meter).await
}

fn make_data_dir(config: &Config) -> Result<()> {
    std::fs::create_dir_all(&config.data_dir).map_err(|error| {
        Error::fatal(
            Who::Machine,
            format!("the folder {} can't be made: {error}", config.data_dir.display()),
            "correct data_dir, or make the folder and give it to the user that re_dms runs as",
        )
    })
}

/// A stream that knows its place.
struct Stream {
    config: Arc<Config>,
    objects: Objects,
    queues: Queues,
    layout: StreamLayout,
    place: Place,
    server: start::ServerIdentity,
    /// Tells this run's files from those of another one.
    attempt: String,
    /// The initial copy, if some of it is left.
    round: Option<Round>,
    /// Tables may join the publication with rows.
    may_join: bool,
}

impl Stream {
    async fn run(self, wal: LocalWal, folder: PathBuf, held: Lsn, meter: &Meter) -> Result<()> {
        let Stream { config, objects, queues, layout, place, server, attempt, round, may_join } = self;
        let epoch = place.epoch.to_string();
        let copied = place.copy.done.len() as u64;
        let status = StatusFile::new(&config.data_dir, &config.stream, &epoch);
        // The loader tells with the next segment; on an idle stream that may take a while.
        let tables = status.before().map(|before| before.quarantined).unwrap_or_default();
        let progress = Progress::new(Snapshot {
            quarantine: Quarantine { as_of: 0, tables },
            policy: config.slot.advance_on,
            durable: Durable(held),
            held,
            staged: Staged(place.staged_lsn),
            loaded: Loaded(place.loaded_lsn),
            confirmed: Confirmed(place.confirmed),
            anchored: place.anchored,
            oldest_staged: place.oldest_staged,
            segments_staged: place.last_seq - (place.copy.segments() - copied),
            segments_loaded: place.loaded_seq,
            ..Snapshot::default()
        });
        let progress = Arc::new(progress.counting(meter.registry()).tracing(meter.tracer.clone()));
        meter.follow(progress.subscribe());
        let flight = Flight::new(place.last_seq, place.loaded_seq, place.loaded_lsn, place.oldest_staged)
            .with_copy(copied, place.copy.segments());
        let flight = Arc::new(Mutex::new(flight));
        let retention = Arc::new(Retention::default());
        let identity = StreamIdentity {
            stream: config.stream.clone(),
            epoch: epoch.clone(),
            attempt,
            ack_queue_url: config.queues.acks_url.clone(),
        };

        let (stop, stopping) = watch::channel(false);
        let (announce_to, announced) = mpsc::unbounded_channel();
        let (news, heard) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let (arrivals_in, arrivals) = mpsc::channel(GROUPS_BETWEEN);
        let (inputs_in, inputs) = std::sync::mpsc::sync_channel(GROUPS_BETWEEN);
        let (items_in, items) = mpsc::channel(1);

        // Nobody is waited for here: they end with the process.
        let mut background = JoinSet::new();
        background.spawn(status.clone().follow(progress.subscribe()));
        let interval = config.s3.status_interval;
        let published = Published::new(status.clone(), objects.clone(), layout.status_json(), interval);
        background.spawn(published.clone().follow(Arc::clone(&progress)));
        background.spawn(Service::from_env().tell(progress.subscribe()));
        background.spawn(watchdog::watch(Arc::clone(&progress), config.watchdog.patience, stopping.clone()));
        background.spawn(anchor(
            Arc::clone(&config),
            Arc::clone(&progress),
            objects.clone(),
            layout.position_json(&epoch),
        ));
        let announcer = Arc::new(Announcer {
            tables: TableNews::new(identity.clone(), queues.clone(), Arc::clone(&progress)),
            identity: identity.clone(),
            epoch: place.epoch.clone(),
            queues,
            objects: objects.clone(),
            layout: layout.clone(),
            progress: Arc::clone(&progress),
            flight: Arc::clone(&flight),
            resend_after: config.queues.resend_after,
            times: announce::Times::default(),
        });
        let listener = Arc::clone(&announcer);
        background.spawn(async move { listener.listen(news).await });
        background.spawn(async move { announcer.announce(announced, heard, Asks::new(asked)).await });

        let catalog = Catalog::new(&config.source).watched(Arc::clone(&progress));
        let relations = catalog
            .relations(&config, place.known)
            .with_copies(snapshots(&place.copy, round.as_ref()), place.is_news)
            .with_joining(may_join);
        let looks = Looks::default();
        background.spawn(lasting::watch(progress.subscribe(), config.errors.lasting));
        background.spawn(LookAround::new(Arc::clone(&config), looks.clone()).run());
        let relations = relations.with_looks(looks);
        let needs_resync = relations.needing_resync();
        progress.update(|state| state.needs_resync = needs_resync);
        let (at_collector, at_reader) = resync::desk();
        let (verified, at_verifier) = verify::desk();
        let collector = Collector::new(
            relations,
            Limits::new(&stream_share(&config, round.is_some()), config.slot.advance_on),
            place.staged_lsn,
            ReadBack::new(folder),
            Arc::clone(&retention),
            Arc::clone(&progress),
            items_in,
        )
        .with_desk(at_collector, &config.stream)
        .with_verifier(verified, &config.stream);
        let archive = Archive {
            objects: objects.clone(),
            layout: layout.clone(),
            stream: config.stream.clone(),
            epoch: epoch.clone(),
        };
        let last_staged = place.last_segment.as_ref().map_or(place.copy.segments(), |(seq, _)| *seq);
        background.spawn(tidy(archive, Arc::clone(&config), last_staged, Arc::clone(&progress)));
        let verifier = Verifier {
            config: Arc::clone(&config),
            epoch: epoch.clone(),
            objects: objects.clone(),
            layout: layout.clone(),
            progress: Arc::clone(&progress),
            flight: Arc::clone(&flight),
            collector: at_verifier.orders,
        };
        background.spawn(verifier.run(at_verifier.runs, stopping.clone()));
        let resyncer = Resyncer {
            config: Arc::clone(&config),
            epoch: epoch.clone(),
            objects: objects.clone(),
            layout: layout.clone(),
            progress: Arc::clone(&progress),
            flight: Arc::clone(&flight),
            collector: at_reader,
            whole: HashMap::new(),
        };
        background.spawn(resyncer.run(stopping.clone()));
        let persister = Persister::new(wal, held, retention, Arc::clone(&progress), inputs_in)
            .cutting(Cutter::new(&config.source));
        let predecessor = place.last_segment.map(|(seq, sha256)| Predecessor { seq, sha256 });
        let copier = round.map(|round| {
            let segments = Segments {
                identity: identity.clone(),
                objects: objects.clone(),
                layout: layout.clone(),
                progress: Arc::clone(&progress),
                flight: Arc::clone(&flight),
                announce: announce_to.clone(),
                consistent_point: place.epoch.consistent_point,
                state: place.copy.clone(),
            };
            Copier::new(Arc::clone(&config), round, segments)
        });
        let has_copy = place.copy.segments() > 0;
        let stager = Stager {
            identity,
            objects,
            copied: has_copy.then(|| layout.copied_json(&epoch)),
            layout,
            options: RenderOptions::new(&config.batch),
            progress: Arc::clone(&progress),
            flight,
            announce: announce_to,
            asks,
            predecessor,
            first_seq: place.copy.segments() + 1,
            start_lsn: place.staged_lsn,
            shapes: place.shapes,
        };
        let (slot_watch, watched) = SlotWatch::new(Arc::clone(&config), Arc::clone(&progress));
        background.spawn(slot_watch.run());
        let receiver = Receiver {
            config,
            server,
            progress: Arc::clone(&progress),
            arrivals: arrivals_in,
            watched,
            stop: stopping.clone(),
        };

        let mut parts: JoinSet<(&'static str, Result<()>)> = JoinSet::new();
        parts.spawn(async move { ("receiver", receiver.run().await) });
        parts.spawn(async move { ("stager", stager.run(items).await) });
        if let Some(copier) = copier {
            parts.spawn(async move { ("copy", copier.run(stopping).await) });
        }
        let persisting = threads::start("local-wal", move || persister.run(arrivals))?;
        parts.spawn(async move { ("local WAL", persisting.await.flatten()) });
        let collecting = threads::start("collector", move || collector.run(&inputs))?;
        parts.spawn(async move { ("collector", collecting.await.flatten()) });
        let outcome = supervise(parts, &stop).await;
        background.shutdown().await;
        progress.update(|state| {
            state.streaming = false;
            state.failures =
                outcome.as_ref().err().map(|error| (error.who, error.to_string())).into_iter().collect();
        });
        status.stopped(&progress.now());
        published.stopped(&progress).await;
        outcome
    }
}

/// By table, what is in its copy already.
fn snapshots(copy: &CopyState, round: Option<&Round>) -> HashMap<u32, Lsn> {
    let done = copy.done.iter().map(|table| (table.oid, table.snapshot));
    let pending = round.into_iter().flat_map(|round| copy.pending().map(|table| (table.oid, round.snapshot)));
    done.chain(pending).collect()
}

/// What the stream's own parts may take while there is a copy beside them.
fn stream_share(config: &Config, copying: bool) -> BatchConfig {
    let memory = config.batch.max_memory;
    let max_memory = if copying { memory.without(copy::MEMORY_SHARE) } else { memory };
    BatchConfig { max_memory, ..config.batch.clone() }
}

/// Waits for a signal or for a part to fail; then lets the rest end in the order of the pipeline.
async fn supervise(mut parts: JoinSet<(&'static str, Result<()>)>, stop: &watch::Sender<bool>) -> Result<()> {
    let mut failure = None;
    tokio::select! {
        () = signal() => {
            tracing::info!("ending: the batch is staged first");
            Service::from_env().stopping();
        }
        Some(ended) = parts.join_next() => failure = failed(ended),
    }
    stop.send_replace(true);
    // The receiver ends, its channel closes, and so on down the pipeline.
    let rest = async {
        while let Some(ended) = parts.join_next().await {
            let later = failed(ended);
            failure = failure.take().or(later);
        }
    };
    if tokio::time::timeout(STOP_PATIENCE, rest).await.is_err() {
        tracing::warn!(
            "the last batch could not be staged in time; the next start stages it from the local WAL"
        );
    }
    failure.map_or(Ok(()), Err)
}

/// What a part ended with, if it was not well. Only the first failure is told at the end; all are logged.
fn failed(ended: Result<(&'static str, Result<()>), tokio::task::JoinError>) -> Option<Error> {
    match ended {
        Ok((_, Ok(()))) => None,
        Ok((part, Err(error))) => {
            // What ends the stream is told at its end.
            tracing::warn!(part, %error, "ended");
            Some(error)
        }
        Err(error) => {
            Some(Error::fatal(Who::Machine, format!("a task broke off: {error}"), "report this as a bug"))
        }
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

/// Lets the slot of an idle database move on: writes to S3 how far, before PostgreSQL is told (invariants 5 and 6).
async fn anchor(config: Arc<Config>, progress: Arc<Progress>, objects: Objects, key: String) {
    loop {
        tokio::time::sleep(config.slot.idle_interval).await;
        let state = progress.now();
        let position = match state.policy {
            AdvanceOn::Loaded => state.loaded.0,
            AdvanceOn::Staged => state.staged.0,
            AdvanceOn::Durable => state.durable.0,
        };
        if position <= state.anchored {
            continue;
        }
        match objects.put(&key, PositionRecord::json(position)).await {
            Ok(()) => progress.anchored(position),
            Err(error) => tracing::warn!(%error, "the idle position can't be written; the slot waits"),
        }
    }
}
