//! The receiver against a real server: what it does when the disk behind it hangs, when the server stops or dies, and when
//! the network does. The numbers of "protocol facts" are those of `docs/design-map.md`.

// The lints' own exemption for tests does not reach functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use re_dms_capture::config::Config;
use re_dms_capture::error::Result;
use re_dms_capture::persist::Arrival;
use re_dms_capture::progress::{Progress, Snapshot};
use re_dms_capture::receive::{self, Receiver};
use re_dms_capture::replication::{ConnectParams, Event, ReplicationClient, StartOptions};
use re_dms_capture::slot_watch::SlotWatch;
use re_dms_shared::Lsn;
use re_dms_shared::lsn::{Confirmed, Loaded};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Client;

#[path = "receiving/proxy.rs"]
mod proxy;
#[allow(dead_code)] // not every test that shares it needs all of it
#[path = "replication/server.rs"]
mod server;
use proxy::{Network, Proxy};
use server::Server;

const SLOT: &str = "re_dms_main";

/// A receiver at work.
struct Running {
    arrivals: mpsc::Receiver<Arrival>,
    progress: Arc<Progress>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
    watch: JoinHandle<()>,
    /// What the local WAL's thread would answer.
    held: Lsn,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        self.watch.abort();
    }
}

/// A table, a publication, a slot.
async fn make_slot(server: &Server) -> (Client, Lsn) {
    let sql = server.sql().await;
    for statement in
        ["CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE PUBLICATION re_dms_main FOR TABLE t"]
    {
        sql.batch_execute(statement).await.unwrap();
    }
    let made = "SELECT lsn::text FROM pg_create_logical_replication_slot('re_dms_main', 'pgoutput')";
    let consistent_point = position(&sql, made).await;
    (sql, consistent_point)
}

async fn position(sql: &Client, query: &str) -> Lsn {
    sql.query_one(query, &[]).await.unwrap().get::<_, String>(0).parse().unwrap()
}

async fn receive_over(port: u16, held: Lsn) -> Running {
    let text = format!(
        "stream = 'main'\ndata_dir = '/nowhere'\nsource.url = 'postgres://postgres@127.0.0.1:{port}/postgres'\n\
         s3.bucket = 'bucket'\nqueues.segments_url = 'http://q/1.fifo'\nqueues.acks_url = 'http://q/2'\n"
    );
    let config = Arc::new(Config::parse(&text, Vec::new()).unwrap());
    let server = receive::identify(&mut receive::connect(&config).await.unwrap()).await.unwrap();
    // With a flush position of 0 a stopping server would be content with what was written.
    let progress = Arc::new(Progress::new(Snapshot {
        loaded: Loaded(held),
        anchored: held,
        confirmed: Confirmed(held),
        ..Snapshot::default()
    }));
    let (slot_watch, watched) = SlotWatch::new(Arc::clone(&config), Arc::clone(&progress));
    let (arrivals_in, arrivals) = mpsc::channel(8);
    let (stop, stopping) = watch::channel(false);
    let receiver = Receiver {
        config,
        server,
        progress: Arc::clone(&progress),
        arrivals: arrivals_in,
        watched,
        stop: stopping,
    };
    let (task, watch) = (tokio::spawn(receiver.run()), tokio::spawn(slot_watch.run()));
    Running { arrivals, progress, stop, task, watch, held }
}

impl Running {
    /// Takes what arrives up to the start of a session, and answers it.
    async fn session(&mut self) {
        loop {
            match self.next().await {
                Arrival::Session { start } => {
                    start.send(self.held).unwrap();
                    return;
                }
                Arrival::Events(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Arrival {
        timeout(Duration::from_secs(60), self.arrivals.recv())
            .await
            .expect("arrivals within a minute")
            .unwrap()
    }

    /// Takes what arrives until so many rows were inserted, over as many sessions as it takes. Nothing is confirmed.
    async fn rows(&mut self, mut count: usize) {
        while count > 0 {
            match self.next().await {
                Arrival::Session { start } => start.send(self.held).unwrap(),
                Arrival::Events(events) => count = count.saturating_sub(inserts(&events)),
            }
        }
    }

    /// Everything up to here is loaded.
    fn hold(&mut self, end: Lsn) {
        self.held = end;
        self.progress.anchored(end);
        self.progress.loaded(Loaded(end));
    }
}

fn inserts(events: &[Event]) -> usize {
    let is_insert =
        |event: &&Event| matches!(event, Event::Frame { payload, .. } if payload.first() == Some(&b'I'));
    events.iter().filter(is_insert).count()
}

/// The process that sends from the slot, and since when it runs.
async fn sender(sql: &Client) -> Option<(i32, String)> {
    let row = sql
        .query_opt(
            "SELECT pid, backend_start::text FROM pg_replication_slots JOIN pg_stat_activity ON pid = active_pid",
            &[],
        )
        .await
        .unwrap()?;
    Some((row.get(0), row.get(1)))
}

async fn insert(sql: &Client, from: u32, count: u32, bytes: u32) {
    let to = from + count - 1;
    let statement =
        format!("INSERT INTO t SELECT g, repeat('x', {bytes}) FROM generate_series({from}, {to}) g");
    sql.batch_execute(&statement).await.unwrap();
}

/// Ends it fast, as `pg_ctl stop -m fast` does; says how long it took.
async fn stop_fast(server: &mut Server) -> Duration {
    let began = Instant::now();
    server.begin_fast_shutdown();
    // Far below what it would take to give up on a silent client; the figure itself is for people.
    server.wait_for_end(Duration::from_secs(20)).await;
    let took = began.elapsed();
    println!("fast shutdown: {} ms", took.as_millis());
    took
}

/// Protocol facts 4 and 5: a stalled disk holds up reading, and neither costs the connection nor keeps the server running.
#[tokio::test]
async fn a_disk_that_hangs_costs_no_connection_and_holds_up_no_shutdown() {
    let mut server = Server::start(&["wal_sender_timeout = 1s"]).await;
    let (sql, held) = make_slot(&server).await;
    let mut running = receive_over(server.port(), held).await;
    running.session().await;
    // More than sockets and channels hold; from here on nobody takes anything.
    insert(&sql, 1, 60_000, 1000).await;
    let mut before = None;
    for _ in 0..100 {
        before = sender(&sql).await;
        if before.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before.is_some());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(sender(&sql).await, before, "four times wal_sender_timeout");
    let retained = running.progress.now().retained_bytes.expect("the slot was looked at");
    assert!(retained < 1 << 30, "{retained}");
    drop(sql);
    stop_fast(&mut server).await;
    running.stop.send_replace(true);
    timeout(Duration::from_secs(20), &mut running.task).await.expect("it ends").unwrap().unwrap();
}

/// Protocol fact 5, with a loader that is far behind: everything is read, nothing may be confirmed. And the way back.
#[tokio::test]
async fn a_fast_shutdown_ends_though_nothing_is_confirmed_and_the_stream_comes_back() {
    let mut server = Server::start(&[]).await;
    let (sql, held) = make_slot(&server).await;
    let mut running = receive_over(server.port(), held).await;
    insert(&sql, 1, 1000, 10).await;
    running.rows(1000).await;
    drop(sql);
    let taking = tokio::spawn(async move {
        loop {
            running.session().await;
            let Some(Arrival::Events(_)) = running.arrivals.recv().await else { continue };
            return running;
        }
    });
    stop_fast(&mut server).await;
    server.start_again().await;
    let mut running = taking.await.unwrap();
    // After a crash of the server, and of its end of the connection alone.
    server.end_at_once();
    server.start_again().await;
    let sql = server.sql().await;
    running.session().await;
    running.rows(1000).await;
    sql.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots", &[]).await.unwrap();
    running.session().await;
    running.rows(1000).await;
    assert_eq!(running.progress.now().last_error(), None);
}

/// Protocol fact 3: the server keeps the confirmed position in memory until its next checkpoint.
#[tokio::test]
async fn a_server_that_forgot_what_was_confirmed_sends_nothing_twice() {
    const CONFIRMED: &str = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    let mut server = Server::start(&[]).await;
    let (sql, held) = make_slot(&server).await;
    let mut running = receive_over(server.port(), held).await;
    insert(&sql, 1, 10, 10).await;
    running.rows(10).await;
    running.hold(position(&sql, "SELECT pg_current_wal_lsn()::text").await);
    let until = Instant::now() + Duration::from_secs(60);
    while position(&sql, CONFIRMED).await < running.held {
        assert!(Instant::now() < until, "nothing is confirmed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(sql);
    server.end_at_once();
    server.start_again().await;
    running.session().await;
    let sql = server.sql().await;
    insert(&sql, 11, 5, 10).await;
    let mut changes = 0;
    while changes < 5 {
        match running.next().await {
            Arrival::Events(events) => changes += inserts(&events),
            Arrival::Session { .. } => panic!("the connection did not last"),
        }
    }
    assert_eq!(changes, 5, "what is held came again");
}

#[tokio::test]
async fn a_network_that_is_cut_or_swallows_everything_is_survived() {
    let server = Server::start(&["wal_sender_timeout = 1s"]).await;
    let (sql, held) = make_slot(&server).await;
    let proxy = Proxy::before(server.port()).await;
    let mut running = receive_over(proxy.port(), held).await;
    insert(&sql, 1, 10, 10).await;
    running.rows(10).await;
    for (number, fault) in [Network::Cut, Network::Swallows].into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        proxy.set(fault);
        // It has to find out by itself, and is told to be gone.
        let until = Instant::now() + Duration::from_secs(60);
        while running.progress.now().streaming {
            assert!(Instant::now() < until, "{fault:?} is not noticed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(running.progress.now().last_error().is_some_and(|error| error.contains("hint: ")));
        insert(&sql, 100 * (number + 1), 10, 10).await;
        proxy.set(Network::Works);
        running.session().await;
        running.rows(10 * (number as usize + 2)).await;
    }
}

#[tokio::test]
async fn a_slot_that_somebody_reads_is_waited_for_and_a_lost_one_is_not() {
    let server = Server::start(&[]).await;
    let (sql, held) = make_slot(&server).await;
    let mut running = receive_over(server.port(), held).await;
    running.session().await;
    insert(&sql, 1, 10, 10).await;
    running.rows(10).await;

    // Somebody takes the slot while the receiver is away.
    let params = ConnectParams::from_url(&server.url("postgres", "")).unwrap();
    sql.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots", &[]).await.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let mut thief = loop {
        let client = ReplicationClient::connect(&params).await.unwrap();
        let options = StartOptions::for_server(client.server_version(), vec!["re_dms_main".into()], true);
        match client.start(SLOT, Lsn::ZERO, &options).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    running.session().await;
    let until = Instant::now() + Duration::from_secs(60);
    while !running.progress.now().last_error().is_some_and(|error| error.contains("is active")) {
        assert!(Instant::now() < until, "{:?}", running.progress.now());
        let _ = timeout(Duration::from_millis(100), thief.next()).await;
        if let Ok(Arrival::Session { start }) = running.arrivals.try_recv() {
            let _ = start.send(running.held);
        }
    }
    thief.stop().await;
    running.rows(10).await;

    // What was told stays told, also if the policy follows less than it did.
    let end = position(&sql, "SELECT pg_current_wal_lsn()::text").await;
    running.hold(end);
    let until = Instant::now() + Duration::from_secs(60);
    while position(&sql, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots").await < end {
        assert!(Instant::now() < until, "nothing is confirmed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running.progress.now().confirmed, Confirmed(end));

    // And one that is gone, then one that is not ours, stop the stream for good.
    sql.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots", &[]).await.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while sql.batch_execute("SELECT pg_drop_replication_slot('re_dms_main')").await.is_err() {
        assert!(Instant::now() < until, "the slot can't be dropped");
    }
    let error = loop {
        tokio::select! {
            arrival = running.arrivals.recv() => {
                if let Some(Arrival::Session { start }) = arrival {
                    let _ = start.send(end);
                }
            }
            ended = &mut running.task => break ended.unwrap().unwrap_err(),
        }
    };
    assert!(!error.retry && error.what.contains("is gone"), "{error}");
    insert(&sql, 1000, 10, 10).await;
    sql.batch_execute("SELECT pg_create_logical_replication_slot('re_dms_main', 'pgoutput')").await.unwrap();
    let mut running = receive_over(server.port(), held).await;
    let Arrival::Session { start } = running.next().await else { panic!("a session first") };
    start.send(end).unwrap();
    let ended = timeout(Duration::from_secs(60), &mut running.task).await.expect("it ends").unwrap();
    let error = ended.unwrap_err();
    assert!(!error.retry && error.what.contains("beyond"), "{error}");
}
