//! The replication connection: kept up, read, and answered on a timer that waits for nothing else. A stalled disk or a
//! loader that is far behind holds up reading, never the answers, so the server does not cut us off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Confirmed, Received};
use re_dms_shared::metrics::catalogue::RECONNECTS;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::credentials;
use crate::error::{Error, Result, Who};
use crate::persist::Arrival;
use crate::progress::Progress;
use crate::pulse::{Part, Wait};
use crate::replication::{
    ConnectParams, Event, ReplicationClient, ReplicationError, ReplicationReader, ReplicationStream,
    ReplicationWriter, StartOptions,
};
use crate::retry::Backoff;
use crate::slot_watch::Server;
use crate::start::{self, ServerIdentity};

/// A new confirmed position is told after at most this.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(100);
/// A server that shuts down asks for a status over and over until all that it sent is confirmed, which may be long
/// after our memory of it is safe. So many requests within a second mean that…
const SHUTDOWN_REQUESTS: u32 = 50;
/// …or so many, if it is known to be stopping.
const REQUESTS_WHEN_STOPPING: u32 = 3;
/// Reading that is held up for this long is not just about to go on.
const HELD_UP_AFTER: Duration = Duration::from_millis(200);
/// A connection that has streamed for this long was a good one: the next failure is a new one.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Keeps the stream coming.
pub struct Receiver {
    /// The stream's configuration.
    pub config: Arc<Config>,
    /// Whose slot it is.
    pub server: ServerIdentity,
    /// Where to publish what came in.
    pub progress: Arc<Progress>,
    /// The local WAL's thread.
    pub arrivals: mpsc::Sender<Arrival>,
    /// What the watch over the slot says about the server.
    pub watched: watch::Receiver<Server>,
    /// Turns true when the process is to end.
    pub stop: watch::Receiver<bool>,
}

/// How long each side waits for the other, by the server's `wal_sender_timeout`.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// The server hears from us at least this often.
    status: Duration,
    /// Without a word for this long the server is asked for one…
    ask: Duration,
    /// …and given up after this.
    dead: Duration,
}

impl Patience {
    /// `timeout` is zero if the server waits for ever. However short it is, our own patience is some seconds: a server
    /// that is busy says nothing.
    fn of(timeout: Duration) -> Self {
        let longest = Duration::from_secs(60);
        let timeout = if timeout.is_zero() { longest } else { timeout };
        let ours = timeout.clamp(Duration::from_secs(5), longest);
        Self { status: (timeout / 4).min(Duration::from_secs(5)), ask: ours / 2, dead: ours * 3 / 2 }
    }
}

impl Receiver {
    /// Streams until told to stop; reconnects with growing pauses.
    ///
    /// # Errors
    /// What does not pass by itself: a lost slot, a refused login, another server.
    pub async fn run(mut self) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            let mut streaming_since = None;
            let ended = self.session(&mut streaming_since).await;
            self.progress.update(|state| state.streaming = false);
            match ended {
                Ok(()) => return Ok(()),
                Err(error) if error.retry => {
                    if streaming_since.is_some_and(|since: Instant| since.elapsed() > HEALTHY_AFTER) {
                        backoff = Backoff::new();
                    }
                    let pause = backoff.pause();
                    let lsn = self.progress.now().received.0;
                    tracing::warn!(%error, %lsn, retry_in_ms = pause.as_millis(), "the replication connection ended");
                    self.progress.failing(error.who, error.to_string());
                    self.progress.counted().add(&RECONNECTS, &[], 1);
                    let _waiting = self.progress.pulse(Part::Receiver).waits_for(Wait::Source);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = self.stop.wait_for(|&stop| stop) => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One connection; ends well only when told to stop.
    async fn session(&mut self, streaming_since: &mut Option<Instant>) -> Result<()> {
        let Some((stream, start, patience)) = self.connect().await? else { return Ok(()) };
        *streaming_since = Some(Instant::now());
        self.progress.update(|state| state.streaming = true);
        self.progress.succeeded(Who::Source);
        tracing::info!(lsn = %start, "streaming");
        let (reader, writer) = stream.into_split();
        let mut session = Session {
            reader,
            writer,
            patience,
            received: start,
            told: Lsn::ZERO,
            told_at: Instant::now(),
            heard_at: Instant::now(),
            asked: false,
            requests: 0,
            requests_since: Instant::now(),
        };
        let stopped = session.stream(self).await;
        if stopped.is_ok() {
            ReplicationStream::from_halves(session.reader, session.writer).stop().await;
        }
        stopped
    }

    async fn connect(&mut self) -> Result<Option<(ReplicationStream, Lsn, Patience)>> {
        let progress = Arc::clone(&self.progress);
        let _waiting = progress.pulse(Part::Receiver).waits_for(Wait::Source);
        let mut client = connect(&self.config).await?;
        let found = identify(&mut client).await?;
        if found.system_identifier != self.server.system_identifier {
            return Err(Error::fatal(
                Who::Stream,
                format!(
                    "source.url leads to the cluster {} now, and the slot is on {}",
                    found.system_identifier, self.server.system_identifier
                ),
                "correct source.url, or give the other cluster a stream of its own",
            ));
        }
        if found.timeline != self.server.timeline {
            return Err(Error::new_timeline(self.server.timeline, found.timeline));
        }
        // The local WAL's thread answers once it has dealt with all that came before.
        let held_up = progress.pulse(Part::Receiver).waits_for(Wait::Next);
        let (ask, answer) = oneshot::channel();
        let sent = tokio::select! {
            sent = self.arrivals.send(Arrival::Session { start: ask }) => sent,
            _ = self.stop.wait_for(|&stop| stop) => return Ok(None),
        };
        let start = match sent {
            Ok(()) => tokio::select! {
                start = answer => start.ok(),
                _ = self.stop.wait_for(|&stop| stop) => return Ok(None),
            },
            Err(_) => None,
        };
        let Some(start) = start else { return Err(ended()) };
        drop(held_up);
        start::check_not_set_back(&found, start).map_err(|error| error.breaking(6))?;
        self.check_slot(&mut client, start).await?;
        let patience = Patience::of(wal_sender_timeout(&mut client).await?);
        let options = StartOptions::for_server(
            client.server_version(),
            vec![self.config.source.publication.clone()],
            true,
        );
        let stream =
            client.start(&self.config.slot.name, start, &options).await.map_err(|error| failure(&error))?;
        Ok(Some((stream, start, patience)))
    }

    /// Between two connections somebody may have dropped and re-created the slot, or read from it.
    async fn check_slot(&self, client: &mut ReplicationClient, held: Lsn) -> Result<()> {
        let name = &self.config.slot.name;
        // The column `synced` came with 17: a standby keeps such a copy for the day of its promotion.
        let sql = format!(
            "SELECT confirmed_flush_lsn, pg_is_in_recovery() AND to_jsonb(s) ->> 'synced' = 'true' \
             FROM pg_replication_slots s WHERE slot_name = '{name}'"
        );
        let rows = client.simple_query(&sql).await.map_err(|error| failure(&error))?;
        let is_true = |value: Option<&Option<String>>| value.and_then(Option::as_deref) == Some("t");
        let Some(row) = rows.first() else {
            let standby =
                client.simple_query("SELECT pg_is_in_recovery()").await.map_err(|error| failure(&error))?;
            if is_true(standby.first().and_then(|row| row.first())) {
                return Err(start::unpromoted(name));
            }
            return Err(Error::fatal(
                Who::Stream,
                format!("the replication slot {name} is gone, and with it the changes that it held back"),
                "find out who dropped it; to begin again choose a new stream name and copy the tables anew",
            )
            .breaking(6));
        };
        if is_true(row.get(1)) {
            return Err(start::unpromoted(name));
        }
        let confirmed: Option<Lsn> = row.first().and_then(Option::as_ref).and_then(|text| text.parse().ok());
        let state = self.progress.now();
        let held = held.max(state.anchored).max(state.confirmed.0);
        start::check_held(&self.config, confirmed.unwrap_or(Lsn::ZERO), held)
            .map_err(|error| error.breaking(6))
    }
}

/// One connection's state.
struct Session {
    reader: ReplicationReader,
    writer: ReplicationWriter,
    patience: Patience,
    received: Lsn,
    /// The flush position in the last status.
    told: Lsn,
    told_at: Instant,
    heard_at: Instant,
    asked: bool,
    requests: u32,
    requests_since: Instant,
}

impl Session {
    async fn stream(&mut self, receiver: &mut Receiver) -> Result<()> {
        let mut tick = tokio::time::interval(CONFIRM_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let arrivals = receiver.arrivals.clone();
        // Events are held here while the local WAL's thread is busy: nothing more is read then.
        let mut waiting: Option<Vec<Event>> = None;
        let mut waiting_since = Instant::now();
        let watched = receiver.watched.clone();
        let is_stopping = || *watched.borrow() == Server::Stopping;
        let progress = Arc::clone(&receiver.progress);
        let pulse = progress.pulse(Part::Receiver);
        let mut held_up = None;
        loop {
            pulse.beat();
            if waiting.is_none() {
                held_up = None;
            } else if waiting_since.elapsed() > HELD_UP_AFTER {
                held_up.get_or_insert_with(|| pulse.waits_for(Wait::Next));
            }
            tokio::select! {
                events = self.reader.next(), if waiting.is_none() => {
                    let events = events.map_err(|error| failure(&error))?;
                    self.heard(&events, &receiver.progress, is_stopping())?;
                    waiting = Some(events);
                    waiting_since = Instant::now();
                }
                permit = arrivals.reserve(), if waiting.is_some() => {
                    let permit = permit.map_err(|_| ended())?;
                    if let Some(events) = waiting.take() {
                        permit.send(Arrival::Events(events));
                    }
                }
                _ = tick.tick() => {}
                _ = receiver.stop.wait_for(|&stop| stop) => return Ok(()),
            }
            // Its requests are behind what is not read.
            if waiting.is_some() && waiting_since.elapsed() > HELD_UP_AFTER && is_stopping() {
                return Err(shutting_down());
            }
            self.answer(receiver, waiting.is_some()).await?;
        }
    }

    fn heard(&mut self, events: &[Event], progress: &Progress, is_stopping: bool) -> Result<()> {
        self.heard_at = Instant::now();
        self.asked = false;
        let mut server_wal_end = Lsn::ZERO;
        for event in events {
            match event {
                Event::Frame { start, .. } => self.received = self.received.max(*start),
                Event::Keepalive { wal_end, reply_requested } => {
                    self.received = self.received.max(*wal_end);
                    server_wal_end = server_wal_end.max(*wal_end);
                    if *reply_requested {
                        self.requests += 1;
                        // due at once
                        self.told_at = self.told_at.checked_sub(self.patience.status).unwrap_or(self.told_at);
                    }
                }
            }
        }
        progress.received(Received(self.received), server_wal_end.max(self.received));
        let enough = if is_stopping { REQUESTS_WHEN_STOPPING } else { SHUTDOWN_REQUESTS };
        if self.requests_since.elapsed() > Duration::from_secs(1) {
            self.requests = 0;
            self.requests_since = Instant::now();
        } else if self.requests > enough {
            // All that came in is in the local WAL's channel, and nothing is confirmed that must not be: letting go is
            // safe, and the only way to let the server stop.
            return Err(shutting_down());
        }
        Ok(())
    }

    /// Tells the server where we are, if it is time or there is news.
    ///
    /// While `busy`, nothing is read, and the server's silence is our own doing.
    async fn answer(&mut self, receiver: &Receiver, busy: bool) -> Result<()> {
        if busy {
            self.heard_at = Instant::now();
        }
        let Confirmed(confirmable) = receiver.progress.to_confirm();
        let silence = self.heard_at.elapsed();
        if silence > self.patience.dead {
            return Err(Error::passing(
                Who::Source,
                format!("PostgreSQL has been silent for {} s", silence.as_secs()),
                "check the network between; it is connected to again",
            ));
        }
        let ask = silence > self.patience.ask && !self.asked;
        let news = confirmable > self.told && self.told_at.elapsed() >= CONFIRM_INTERVAL;
        if !(ask || news || self.told_at.elapsed() >= self.patience.status) {
            return Ok(());
        }
        self.asked |= ask;
        self.told_at = Instant::now();
        let _waiting = receiver.progress.pulse(Part::Receiver).waits_for(Wait::Source);
        let status = self.writer.send_status(self.received, confirmable, confirmable, ask);
        // A server that takes nothing any more must not keep us from ending.
        match tokio::time::timeout(self.patience.dead, status).await {
            Ok(sent) => sent.map_err(|error| failure(&error))?,
            Err(_elapsed) => {
                return Err(Error::passing(
                    Who::Source,
                    "PostgreSQL takes no status messages any more",
                    "check the network between; it is connected to again",
                ));
            }
        }
        self.told = confirmable;
        receiver.progress.confirmed(Confirmed(confirmable));
        Ok(())
    }
}

fn shutting_down() -> Error {
    Error::passing(
        Who::Source,
        "PostgreSQL is shutting down and waits for confirmations: the connection was closed to let it",
        "it is connected to again when it is back",
    )
}

/// A replication connection to the source.
///
/// # Errors
/// If the source can't be reached or does not let us in.
pub async fn connect(config: &Config) -> Result<ReplicationClient> {
    let params = connect_params(config).await.map_err(|error| failure(&error))?;
    ReplicationClient::connect(&params).await.map_err(|error| failure(&error))
}

pub(crate) async fn connect_params(config: &Config) -> Result<ConnectParams, ReplicationError> {
    let mut params = credentials::connect_params(&config.source).await?;
    if let Some(size) = config.source.decoding_work_mem {
        // The server's own unit for a number without one is kB.
        let kilobytes = (size.bytes() >> 10).max(64);
        params = params.with_setting("logical_decoding_work_mem", &kilobytes.to_string());
    }
    Ok(params)
}

/// After how long a silence of ours the server cuts the stream; zero for never.
async fn wal_sender_timeout(client: &mut ReplicationClient) -> Result<Duration> {
    let sql = "SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'";
    let rows = client.simple_query(sql).await.map_err(|error| failure(&error))?;
    let setting = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
    // Milliseconds, whatever unit it was given in.
    Ok(Duration::from_millis(setting.and_then(|text| text.parse().ok()).unwrap_or(60_000)))
}

/// Which server is this?
///
/// # Errors
/// If it does not say.
pub async fn identify(client: &mut ReplicationClient) -> Result<ServerIdentity> {
    let system = client.identify_system().await.map_err(|error| failure(&error))?;
    Ok(ServerIdentity {
        system_identifier: system.system_identifier,
        timeline: system.timeline,
        flushed: system.flushed,
    })
}

fn failure(error: &ReplicationError) -> Error {
    Error::told(Who::Source, error.is_transient(), error)
}

fn ended() -> Error {
    Error::fatal(
        Who::Stream,
        "the local WAL's thread ended before the stream",
        "see the error that was logged before",
    )
}
