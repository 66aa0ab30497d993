//! The capture's own parts, wired as `re_dms run` wires them, but for S3 and the queues.

use std::sync::mpsc::{Receiver as Inputs, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use re_dms_capture::collect::{Collector, Input, Limits, ReadBack};
use re_dms_capture::config::{AdvanceOn, Config};
use re_dms_capture::flight::Flight;
use re_dms_capture::persist::Persister;
use re_dms_capture::progress::{Progress, Snapshot};
use re_dms_capture::receive::{self, Receiver};
use re_dms_capture::relations::{KnownTables, Relations};
use re_dms_capture::retention::Retention;
use re_dms_capture::rows::RenderOptions;
use re_dms_capture::slot_watch::Server;
use re_dms_capture::stage::{Stager, StreamIdentity};
use re_dms_capture::wal::LocalWal;
use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Durable, Loaded, Staged};
use re_dms_shared::s3_layout::StreamLayout;
use tokio::sync::{mpsc, watch};

use super::folder::Folder;
use super::{Figures, Kind, Task};
use crate::server::PUBLICATION;
use crate::{latency, usage};

/// As in `re_dms run`.
const GROUPS_BETWEEN: usize = 8;

/// The slot moves, and the local WAL is removed, once the files are there: nobody loads them here.
const POLICY: AdvanceOn = AdvanceOn::Staged;

/// The parts that both variants have: connection and local WAL.
struct Front {
    config: Arc<Config>,
    progress: Arc<Progress>,
    retention: Arc<Retention>,
    receiver: Receiver,
    persisting: thread::JoinHandle<re_dms_capture::error::Result<()>>,
    inputs: Inputs<Vec<Input>>,
    stop: watch::Sender<bool>,
    start: Lsn,
}

impl Front {
    async fn new(task: &Task) -> Result<Self> {
        let config = Arc::new(config(task)?);
        let mut client = receive::connect(&config).await?;
        let server = receive::identify(&mut client).await?;
        let sql =
            format!("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'", task.slot);
        let rows = client.simple_query(&sql).await?;
        let start =
            rows.into_iter().flatten().flatten().next().ok_or_else(|| anyhow!("no slot {}", task.slot))?;
        let start: Lsn = start.parse()?;
        drop(client);

        let progress = Arc::new(Progress::new(Snapshot {
            policy: POLICY,
            durable: Durable(start),
            held: start,
            staged: Staged(start),
            loaded: Loaded(start),
            anchored: start,
            ..Snapshot::default()
        }));
        let retention = Arc::new(Retention::default());
        let (wal, _recovery) = LocalWal::open(&config.data_dir.join("wal"), "bench")?;
        let (arrivals_in, arrivals) = mpsc::channel(GROUPS_BETWEEN);
        let (inputs_in, inputs) = sync_channel(GROUPS_BETWEEN);
        let persister = Persister::new(wal, start, Arc::clone(&retention), Arc::clone(&progress), inputs_in);
        let persisting =
            thread::Builder::new().name("local-wal".into()).spawn(move || persister.run(arrivals))?;
        let (stop, stopping) = watch::channel(false);
        let receiver = Receiver {
            config: Arc::clone(&config),
            server,
            progress: Arc::clone(&progress),
            arrivals: arrivals_in,
            watched: watch::channel(Server::Unknown).1,
            stop: stopping,
        };
        Ok(Self { config, progress, retention, receiver, persisting, inputs, stop, start })
    }
}

/// Tells the receiver to end once everything up to `end` is durable.
async fn stop_at(progress: &Progress, end: Lsn, stop: &watch::Sender<bool>) -> Result<()> {
    progress.subscribe().wait_for(|state| state.durable.0 >= end).await?;
    stop.send_replace(true);
    Ok(())
}

pub(super) async fn drain_to_wal(task: &Task) -> Result<Figures> {
    let Front { progress, receiver, persisting, inputs, stop, .. } = Front::new(task).await?;
    let ignoring = thread::spawn(move || inputs.into_iter().for_each(drop));
    let receiving = tokio::spawn(receiver.run());
    stop_at(&progress, task.end, &stop).await?;
    receiving.await??;
    ended(persisting)??;
    ended(ignoring)?;
    usage::own(Figures::default())
}

pub(super) async fn lone_commits(task: &Task) -> Result<Figures> {
    let Front { progress, receiver, persisting, inputs, stop, .. } = Front::new(task).await?;
    let ignoring = thread::spawn(move || inputs.into_iter().for_each(drop));
    let receiving = tokio::spawn(receiver.run());
    let latencies = latency::measure(&task.url, &progress).await?;
    stop.send_replace(true);
    receiving.await??;
    ended(persisting)??;
    ended(ignoring)?;
    usage::own(Figures { latencies, ..Figures::default() })
}

pub(super) async fn drain_to_files(task: &Task) -> Result<Figures> {
    let front = Front::new(task).await?;
    let Front { config, progress, retention, receiver, persisting, inputs, stop, start } = front;
    let (items_in, items) = mpsc::channel(1);
    let key = |_oid| {
        Err(re_dms_capture::error::Error::passing(re_dms_capture::error::Who::Source, "no keys", "none"))
    };
    // The catalog is not asked: once a table, that is nothing beside its rows.
    let relations = Relations::new(
        config.source.tables.clone(),
        config.source.publication.clone(),
        KnownTables::default(),
        Box::new(key),
        Box::new(|_oid| Ok(None)),
    );
    let collector = Collector::new(
        relations,
        Limits::new(&config.batch, POLICY),
        start,
        ReadBack::new(config.data_dir.join("wal")),
        retention,
        Arc::clone(&progress),
        items_in,
    );
    let collecting = thread::Builder::new().name("collector".into()).spawn(move || collector.run(&inputs))?;
    let (announce, mut announced) = mpsc::unbounded_channel();
    let stager = Stager {
        identity: StreamIdentity {
            stream: config.stream.clone(),
            epoch: "bench".into(),
            attempt: "00000000".into(),
            ack_queue_url: config.queues.acks_url.clone(),
        },
        objects: Folder(task.dir.join("bucket")),
        layout: StreamLayout::new(&config.s3.prefix, &config.stream),
        options: RenderOptions::new(&config.batch),
        progress: Arc::clone(&progress),
        flight: Arc::new(Mutex::new(Flight::new(0, 0, start, None))),
        announce,
        // Nobody asks.
        asks: mpsc::unbounded_channel().0,
        predecessor: None,
        first_seq: 1,
        copied: None,
        shapes: None,
        start_lsn: start,
    };
    let staging = tokio::spawn(stager.run(items));
    let receiving = tokio::spawn(receiver.run());
    stop_at(&progress, task.end, &stop).await?;
    receiving.await??;
    ended(persisting)??;
    ended(collecting)??;
    staging.await??;
    announced.close();
    let state = progress.now();
    ensure!(state.staged.0 >= state.held, "{} is staged, {} is held", state.staged.0, state.held);
    usage::own(Figures {
        changes: Some(state.changes),
        rows_written: Some(state.rows_written),
        bytes_written: Some(state.bytes_written),
        segments: Some(state.segments_staged),
        ..Figures::default()
    })
}

fn ended<T>(thread: thread::JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread broke off"))
}

/// Defaults, but for what a benchmark has no use for.
fn config(task: &Task) -> Result<Config> {
    let compression = if task.kind == Kind::FilesZstd { "zstd" } else { "gzip" };
    let text = format!(
        "stream = 'bench'\ndata_dir = '{}'\n\
         [source]\nurl = '{}'\npublication = '{PUBLICATION}'\n[slot]\nname = '{}'\n\
         [batch]\nmax_memory = '{}'\ncompression = '{compression}'\n[s3]\nbucket = 'bench'\n\
         [queues]\nsegments_url = 'http://127.0.0.1/segments.fifo'\nacks_url = 'http://127.0.0.1/acks'\n",
        task.dir.display(),
        task.url,
        task.slot,
        task.max_memory,
    );
    Ok(Config::parse(&text, Vec::new())?)
}
