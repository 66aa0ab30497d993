//! `re_dms run`: everything wired together.
//!
//! ```text
//! receive (task) → persist (thread: local WAL) → collect (thread: batch) → stage (task: files, manifest) → announce
//!     ↑ confirmed position                                                          acknowledgements (task) ┘
//! ```
//!
//! Each arrow is a short bounded channel: whoever is slow holds up those before it, and memory stays bounded.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Confirmed, Durable, Loaded, Staged};
use re_dms_shared::manifest::Predecessor;
use re_dms_shared::s3_layout::StreamLayout;
use re_dms_shared::table_log::Quarantine;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::announce::{Announcer, TableNews};
use crate::aws::{self, Objects, Queues};
use crate::catalog::Catalog;
use crate::collect::{Collector, Limits, ReadBack};
use crate::config::{AdvanceOn, Config};
use crate::error::{Error, Result, Who};
use crate::flight::Flight;
use crate::look_around::LookAround;
use crate::persist::{Cutter, Persister};
use crate::progress::{Progress, Snapshot};
use crate::receive::{self, Receiver};
use crate::relations::{Looks, Relations};
use crate::retention::Retention;
use crate::rows::RenderOptions;
use crate::slot_watch::SlotWatch;
use crate::source::Source;
use crate::stage::{Stager, StreamIdentity};
use crate::start::{self, Place, PositionRecord};
use crate::status::StatusFile;
use crate::wal::LocalWal;

/// Groups of events between the connection and the local WAL, and between the local WAL and the batch.
const GROUPS_BETWEEN: usize = 8;

/// How long an orderly end may take to stage the last batch. The local WAL has it in any case.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Runs a stream until a signal ends it.
///
/// # Errors
/// What does not pass by itself. Nothing is lost by it.
pub async fn run(config: Config) -> Result<()> {
    let config = Arc::new(config);
    loop {
        match run_on_one_timeline(Arc::clone(&config)).await {
            // Positions in memory may lie beyond the fork: all of them are found anew.
            Err(error) if error.new_timeline => tracing::warn!(%error, "starting over"),
            outcome => return outcome,
        }
    }
}

async fn run_on_one_timeline(config: Arc<Config>) -> Result<()> {
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
    drop(source);

    let epoch = place.epoch.to_string();
    let folder = config.data_dir.join("wal");
    let (wal, recovery) =
        LocalWal::open(&folder, &epoch).map_err(|error| Error::told(Who::Machine, false, &error))?;
    let held = recovery.last_commit.map_or(place.staged_lsn, |lsn| lsn.max(place.staged_lsn));
    start::follow_timeline(&config, &mut client, &server, &objects, &layout, &mut place, held).await?;
    start::check_held(&config, place.confirmed, held.max(place.anchored))?;
    drop(client);
    tracing::info!(
        stream = %config.stream, epoch = %epoch, lsn = %held, staged = %place.staged_lsn, loaded = %place.loaded_lsn,
        "the stream's place is found"
    );
    let stream = Stream { config, objects, queues, layout, place, server };
    stream.run(wal, folder, held).await
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
}

impl Stream {
    async fn run(self, wal: LocalWal, folder: PathBuf, held: Lsn) -> Result<()> {
        let Stream { config, objects, queues, layout, place, server } = self;
        let epoch = place.epoch.to_string();
        let staged_seq = place.last_segment.as_ref().map_or(0, |(seq, _)| *seq);
        let status = StatusFile::new(&config.data_dir, &config.stream, &epoch);
        // The loader tells with the next segment; on an idle stream that may take a while.
        let tables = status.before().map(|before| before.quarantined).unwrap_or_default();
        let progress = Arc::new(Progress::new(Snapshot {
            quarantine: Quarantine { as_of: 0, tables },
            policy: config.slot.advance_on,
            durable: Durable(held),
            held,
            staged: Staged(place.staged_lsn),
            loaded: Loaded(place.loaded_lsn),
            confirmed: Confirmed(place.confirmed),
            anchored: place.anchored,
            oldest_staged: place.oldest_staged,
            segments_staged: staged_seq,
            segments_loaded: place.loaded_seq,
            ..Snapshot::default()
        }));
        let flight = Arc::new(Mutex::new(Flight::new(
            staged_seq,
            place.loaded_seq,
            place.loaded_lsn,
            place.oldest_staged,
        )));
        let retention = Arc::new(Retention::default());
        let identity = StreamIdentity {
            stream: config.stream.clone(),
            epoch: epoch.clone(),
            attempt: format!("{:08x}", rand::random::<u32>()),
            ack_queue_url: config.queues.acks_url.clone(),
        };

        let (stop, stopping) = watch::channel(false);
        let (announce, announced) = mpsc::unbounded_channel();
        let (news, heard) = mpsc::unbounded_channel();
        let (arrivals_in, arrivals) = mpsc::channel(GROUPS_BETWEEN);
        let (inputs_in, inputs) = std::sync::mpsc::sync_channel(GROUPS_BETWEEN);
        let (items_in, items) = mpsc::channel(1);

        // Nobody is waited for here: they end with the process.
        let mut background = JoinSet::new();
        background.spawn(status.clone().follow(progress.subscribe()));
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
        });
        let listener = Arc::clone(&announcer);
        background.spawn(async move { listener.listen(news).await });
        background.spawn(async move { announcer.announce(announced, heard).await });

        let catalog = Catalog::new(&config.source);
        let relations = Relations::new(
            config.source.tables.clone(),
            config.source.publication.clone(),
            place.known,
            catalog.keys(),
            catalog.definitions(),
        )
        .with_config(
            config.source.columns.clone(),
            config.target.clone(),
            config.tables.clone(),
            catalog.types(),
        );
        let looks = Looks::default();
        background.spawn(LookAround::new(Arc::clone(&config), looks.clone()).run());
        let relations = relations.with_looks(looks);
        let needs_resync = relations.needing_resync();
        progress.update(|state| state.needs_resync = needs_resync);
        let collector = Collector::new(
            relations,
            Limits::new(&config.batch, config.slot.advance_on),
            place.staged_lsn,
            ReadBack::new(folder),
            Arc::clone(&retention),
            Arc::clone(&progress),
            items_in,
        );
        let persister = Persister::new(wal, held, retention, Arc::clone(&progress), inputs_in)
            .cutting(Cutter::new(&config.source));
        let predecessor = place.last_segment.map(|(seq, sha256)| Predecessor { seq, sha256 });
        let stager = Stager {
            identity,
            objects,
            layout,
            options: RenderOptions::new(&config.batch),
            progress: Arc::clone(&progress),
            flight,
            announce,
            predecessor,
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
            stop: stopping,
        };

        let mut parts: JoinSet<(&'static str, Result<()>)> = JoinSet::new();
        parts.spawn(async move { ("receiver", receiver.run().await) });
        parts.spawn(async move { ("stager", stager.run(items).await) });
        let persisting = on_thread("local-wal", move || persister.run(arrivals))?;
        parts.spawn(async move { ("local WAL", persisting.await) });
        let collecting = on_thread("collector", move || collector.run(&inputs))?;
        parts.spawn(async move { ("collector", collecting.await) });
        let outcome = supervise(parts, &stop).await;
        background.shutdown().await;
        progress.update(|state| {
            state.streaming = false;
            state.failures =
                outcome.as_ref().err().map(|error| (error.who, error.to_string())).into_iter().collect();
        });
        status.stopped(&progress.now());
        outcome
    }
}

/// Waits for a signal or for a part to fail; then lets the rest end in the order of the pipeline.
async fn supervise(mut parts: JoinSet<(&'static str, Result<()>)>, stop: &watch::Sender<bool>) -> Result<()> {
    let mut failure = None;
    tokio::select! {
        () = signal() => tracing::info!("ending: the batch is staged first"),
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
            tracing::error!(part, %error, "ended");
            Some(error)
        }
        Err(error) => {
            Some(Error::fatal(Who::Machine, format!("a task broke off: {error}"), "report this as a bug"))
        }
    }
}

/// Runs a part that blocks on a thread with a name of its own.
fn on_thread(
    name: &'static str,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<impl Future<Output = Result<()>>> {
    let (done, outcome) = oneshot::channel();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits for it any more if the process is ending.
        let _ = done.send(work());
    });
    spawned.map_err(|error| {
        Error::fatal(Who::Machine, format!("no thread can be started: {error}"), "raise the limits")
    })?;
    Ok(async move {
        outcome.await.unwrap_or_else(|_| {
            Err(Error::fatal(
                Who::Machine,
                format!("the thread {name} broke off"),
                "report this as a bug, with the log",
            ))
        })
    })
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
