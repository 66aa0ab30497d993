//! The replication client and the decoder against a real server.

// The lints' own exemption for tests does not reach functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use re_dms_capture::pgoutput::{Cell, ChangeKind, Message, OldTuple, Tuple, decode};
use re_dms_capture::replication::{
    ConnectParams, Event, Failure, ReplicationClient, ReplicationError, ReplicationStream, StartOptions,
};
use re_dms_shared::Lsn;
use tokio::time::{Instant, timeout};

#[allow(dead_code)] // not every test that shares it needs all of it
#[path = "replication/server.rs"]
mod server;
use server::Server;

const SLOT: &str = "re_dms_test";

async fn connect(server: &Server) -> ReplicationClient {
    let params = ConnectParams::from_url(&server.url("postgres", "")).unwrap();
    ReplicationClient::connect(&params).await.unwrap()
}

fn options(client: &ReplicationClient) -> StartOptions {
    StartOptions::for_server(client.server_version(), vec!["re_dms_test".into()], true)
}

/// A table, a publication, a slot; a stream from it.
async fn begin(server: &Server) -> ReplicationStream {
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
         CREATE PUBLICATION re_dms_test FOR TABLE t;",
    )
    .await
    .unwrap();
    let mut client = connect(server).await;
    let consistent_point = client.create_logical_slot(SLOT, false).await.unwrap();
    let identity = client.identify_system().await.unwrap();
    assert!(consistent_point > Lsn::ZERO && consistent_point <= identity.flushed);
    assert_eq!((identity.timeline, identity.database.as_str()), (1, "postgres"));
    stream(client, Lsn::ZERO).await
}

async fn stream(client: ReplicationClient, from: Lsn) -> ReplicationStream {
    let options = options(&client);
    client.start(SLOT, from, &options).await.unwrap()
}

fn cells(tuple: Tuple<'_>) -> String {
    let text = |cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Unchanged => "unchanged".to_owned(),
        Cell::Text(value) if value.len() > 40 => format!("{} bytes", value.len()),
        Cell::Text(value) => String::from_utf8(value.to_vec()).unwrap(),
    };
    tuple.cells().map(text).collect::<Vec<_>>().join(", ")
}

/// A line that says what a message is, without what differs from run to run.
fn describe(message: &Message<'_>) -> String {
    match message {
        Message::Begin(_) => "begin".into(),
        Message::Commit(_) => "commit".into(),
        Message::Relation(r) => {
            let columns: Vec<_> = r
                .columns
                .iter()
                .map(|c| format!("{}{} {}", if c.key { "*" } else { "" }, c.name, c.type_oid))
                .collect();
            format!("relation {}.{} {:?} ({})", r.schema, r.name, r.replica_identity, columns.join(", "))
        }
        Message::Change(change) => match change.kind {
            ChangeKind::Insert { new } => format!("insert {}", cells(new)),
            ChangeKind::Update { old: None, new } => format!("update {}", cells(new)),
            ChangeKind::Update { old: Some(OldTuple::Key(old)), new } => {
                format!("update key {} to {}", cells(old), cells(new))
            }
            ChangeKind::Update { old: Some(OldTuple::Full(old)), new } => {
                format!("update row {} to {}", cells(old), cells(new))
            }
            ChangeKind::Delete { old: OldTuple::Key(old) } => format!("delete key {}", cells(old)),
            ChangeKind::Delete { old: OldTuple::Full(old) } => format!("delete row {}", cells(old)),
        },
        Message::Truncate(t) => format!("truncate {} tables, cascade {}", t.relations.len(), t.cascade),
        Message::Logical(m) => {
            format!(
                "message {} {:?} transactional {}",
                m.prefix,
                String::from_utf8_lossy(m.content),
                m.transactional
            )
        }
        other => format!("{other:?}"),
    }
}

/// What came in until at least `count` transactions were complete: their lines, and their ends.
///
/// Left out is what the server may send or not: transactions that touch nothing published, and a table's shape once more
/// without a change.
async fn read_transactions(stream: &mut ReplicationStream, count: usize) -> (Vec<String>, Vec<Lsn>) {
    let (mut lines, mut ends, mut shape) = (Vec::<String>::new(), Vec::new(), String::new());
    while ends.len() < count {
        let events =
            timeout(Duration::from_secs(20), stream.next()).await.expect("changes within 20 s").unwrap();
        for event in events {
            let Event::Frame { start, payload } = event else { continue };
            let message = decode(&payload, false).unwrap();
            let line = describe(&message);
            assert_eq!(start == Lsn::ZERO, matches!(message, Message::Relation(_)), "{line} at {start}");
            match message {
                Message::Commit(_) if lines.last().is_some_and(|last| last == "begin") => {
                    lines.pop();
                    continue;
                }
                Message::Commit(commit) => {
                    assert!(commit.commit_lsn < commit.end_lsn);
                    ends.push(commit.end_lsn);
                }
                Message::Relation(_) if line == shape => continue,
                Message::Relation(_) => shape.clone_from(&line),
                _ => {}
            }
            lines.push(line);
        }
    }
    (lines, ends)
}

#[tokio::test]
async fn every_kind_of_change_arrives_decoded_and_in_order() {
    let server = Server::start(&[]).await;
    let mut stream = begin(&server).await;
    let sql = server.sql().await;
    for statement in [
        "INSERT INTO t VALUES (1, NULL), (2, ''), (3, repeat('x', 9000))",
        "UPDATE t SET id = 4 WHERE id = 3",
        "UPDATE t SET v = 'zwei' WHERE id = 2",
        "DELETE FROM t WHERE id = 1",
        "ALTER TABLE t ADD COLUMN w numeric(9,2)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "UPDATE t SET w = 1.5 WHERE id = 2",
        "DELETE FROM t WHERE id = 4",
        "SELECT pg_logical_emit_message(true, 're_dms.barrier', 'now')",
        "TRUNCATE t CASCADE",
    ] {
        sql.batch_execute(statement).await.unwrap();
    }
    let (lines, _) = read_transactions(&mut stream, 8).await;
    insta::assert_snapshot!(lines.join("\n"));
    stream.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_from_where_it_was_confirmed() {
    let server = Server::start(&[]).await;
    let mut stream = begin(&server).await;
    let sql = server.sql().await;
    for id in 1..=3 {
        sql.batch_execute(&format!("INSERT INTO t VALUES ({id}, 'v')")).await.unwrap();
    }
    let (lines, ends) = read_transactions(&mut stream, 3).await;
    assert_eq!(lines[4..], ["begin", "insert 2, v", "commit", "begin", "insert 3, v", "commit"]);
    let second_end = ends[1];
    stream.send_status(second_end, second_end, Lsn::ZERO, true).await.unwrap();
    stream.stop().await;
    let confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    let row = sql.query_one(confirmed, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0).parse::<Lsn>().unwrap(), second_end);

    // From the slot's own position, then again from the same one given by hand: nothing was confirmed in between.
    for from in [Lsn::ZERO, second_end] {
        let mut stream = self::stream(connect(&server).await, from).await;
        let (lines, again) = read_transactions(&mut stream, 1).await;
        assert_eq!(lines[2..], ["insert 3, v", "commit"], "from {from}");
        assert_eq!(again, ends[2..]);
        stream.stop().await;
    }
}

#[tokio::test]
async fn logins_succeed_with_the_right_password_only() {
    let server = Server::start(&[]).await;
    let sql = server.sql().await;
    for (user, encryption) in
        [("with_scram", "scram-sha-256"), ("with_md5", "md5"), ("with_clear", "scram-sha-256")]
    {
        sql.batch_execute(&format!(
            "SET password_encryption = '{encryption}'; CREATE ROLE {user} LOGIN REPLICATION PASSWORD 'richtig'"
        ))
        .await
        .unwrap();
    }
    sql.batch_execute("CREATE ROLE nobody LOGIN; CREATE ROLE may_not LOGIN").await.unwrap();
    let log_in =
        async |url: String| ReplicationClient::connect(&ConnectParams::from_url(&url).unwrap()).await;
    for user in ["with_scram", "with_md5", "with_clear"] {
        let mut client =
            log_in(server.url(user, "richtig")).await.unwrap_or_else(|error| panic!("{user}: {error}"));
        client.identify_system().await.unwrap();
        let wrong = log_in(server.url(user, "falsch")).await.err().expect("a refusal");
        assert_eq!(wrong.server().unwrap().failure(), Failure::Authentication, "{user}: {wrong}");
        assert!(!wrong.to_string().contains("falsch"), "{wrong}");
        let without = log_in(server.url(user, "").replace(":@", "@")).await.err().expect("a refusal");
        assert!(matches!(without, ReplicationError::PasswordMissing { .. }), "{user}: {without}");
    }
    let refused = log_in(server.url("nobody", "")).await.err().expect("a refusal");
    assert_eq!(refused.server().unwrap().failure(), Failure::Authentication, "{refused}");
    let refused = log_in(server.url("may_not", "")).await.err().expect("a refusal");
    assert_eq!(refused.server().unwrap().failure(), Failure::Privilege, "{refused}");
    let mut over_socket = log_in(server.socket_url()).await.unwrap();
    let settings = [
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("lc_monetary", "C"),
        ("statement_timeout", "0"),
        ("client_encoding", "UTF8"),
        ("application_name", "re_dms"),
    ];
    for (name, value) in settings {
        let rows = over_socket.simple_query(&format!("SHOW {name}")).await.unwrap();
        assert_eq!(rows, [[Some(value.to_owned())]], "{name}");
    }
    let gone = ConnectParams::from_url("postgres://u@127.0.0.1:1/d").unwrap();
    let error = ReplicationClient::connect(&gone).await.err().expect("nobody listens there");
    assert!(matches!(error, ReplicationError::Connect { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let server = Server::start(&["max_slot_wal_keep_size = 1MB", "wal_sender_timeout = 2s"]).await;
    let failure = |error: &ReplicationError| error.server().unwrap_or_else(|| panic!("{error}")).failure();
    let client = connect(&server).await;
    let options = options(&client);
    let error = client.start("missing", Lsn::ZERO, &options).await.err().expect("no such slot");
    assert_eq!(failure(&error), Failure::SlotMissing, "{error}");

    let stream = begin(&server).await;
    let mut client = connect(&server).await;
    let error = client.create_logical_slot(SLOT, false).await.expect_err("it exists");
    assert_eq!(failure(&error), Failure::SlotExists, "{error}");
    client.identify_system().await.expect("a refusal leaves the connection usable");
    let error = client.start(SLOT, Lsn::ZERO, &options).await.err().expect("it is active");
    assert_eq!(failure(&error), Failure::SlotActive, "{error}");
    assert!(error.is_transient());
    stream.stop().await;

    let sql = server.sql().await;
    let mut stream = {
        let mut options = options.clone();
        options.publications = vec!["missing".into()];
        connect(&server).await.start(SLOT, Lsn::ZERO, &options).await.unwrap()
    };
    sql.batch_execute("INSERT INTO t VALUES (1, 'x')").await.unwrap();
    // Up to 17 the server refuses; from 18 on it warns, and would never send anything.
    let error = loop {
        match timeout(Duration::from_secs(10), stream.next()).await.expect("a refusal") {
            Err(error) => break error,
            Ok(events) => {
                assert!(!events.iter().any(|event| matches!(event, Event::Frame { .. })), "{events:?}");
            }
        }
    };
    assert_eq!(failure(&error), Failure::PublicationMissing, "{error}");
    drop(stream);

    // 48 MB of WAL, of which the slot may hold back one.
    for _ in 0..3 {
        sql.batch_execute("CREATE TABLE x (); DROP TABLE x; SELECT pg_switch_wal(); CHECKPOINT")
            .await
            .unwrap();
    }
    let error =
        connect(&server).await.start(SLOT, Lsn::ZERO, &options).await.err().expect("the slot is lost");
    assert_eq!(failure(&error), Failure::SlotInvalidated, "{error}");

    let server = Server::start(&["wal_level = replica"]).await;
    let error = connect(&server).await.create_logical_slot(SLOT, false).await.expect_err("wal_level");
    assert_eq!(failure(&error), Failure::WalLevel, "{error}");
}

#[tokio::test]
async fn transactions_in_progress_are_streamed_in_blocks() {
    let server = Server::start(&["logical_decoding_work_mem = 64kB"]).await;
    let mut stream = begin(&server).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "BEGIN; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i;
         SAVEPOINT s; INSERT INTO t SELECT i, 'void' FROM generate_series(5001, 8000) i; ROLLBACK TO s;
         INSERT INTO t SELECT i, 'kept' FROM generate_series(8001, 9000) i; COMMIT",
    )
    .await
    .unwrap();
    let (mut in_stream, mut blocks, mut top, mut void) = (false, 0, 0, Vec::new());
    let mut inserted: Vec<(u32, u32)> = Vec::new();
    'stream: loop {
        for event in timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap() {
            let Event::Frame { payload, .. } = event else { continue };
            match decode(&payload, in_stream).unwrap() {
                Message::StreamStart(start) => {
                    assert_eq!(start.first_block, blocks == 0);
                    (in_stream, top, blocks) = (true, start.xid, blocks + 1);
                }
                Message::StreamStop => in_stream = false,
                Message::Change(change) => {
                    let ChangeKind::Insert { new } = change.kind else { panic!("only inserts were made") };
                    let Some(Cell::Text(id)) = new.cells().next() else { panic!("the id is there") };
                    let id = std::str::from_utf8(id).unwrap().parse().unwrap();
                    inserted.push((change.xid.expect("streamed changes carry it"), id));
                }
                Message::StreamAbort(abort) => {
                    assert_eq!(abort.xid, top);
                    void.push(abort.subxid);
                }
                Message::StreamCommit(commit) => {
                    assert_eq!(commit.xid, top);
                    break 'stream;
                }
                Message::Relation(relation) => assert_eq!(relation.xid.is_some(), in_stream),
                other => panic!("{other:?} has no place here"),
            }
        }
    }
    assert!(blocks > 1, "{blocks} blocks");
    let kept: Vec<u32> = inserted.iter().filter(|(xid, _)| !void.contains(xid)).map(|&(_, id)| id).collect();
    assert_eq!(kept, (1..=5000).chain(8001..=9000).collect::<Vec<_>>());
    stream.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_when_reads_and_writes_are_dropped_midway() {
    const ROWS: u32 = 30_000;
    let server = Server::start(&[]).await;
    let mut stream = begin(&server).await;
    let sql = server.sql().await;
    let writing = tokio::spawn(async move {
        for first in (1..=ROWS).step_by(500) {
            let last = first + 499;
            let statement = format!("INSERT INTO t SELECT i, 'v' FROM generate_series({first}, {last}) i");
            sql.batch_execute(&statement).await.unwrap();
        }
    });
    let (mut seen, mut dropped) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen < ROWS {
        assert!(Instant::now() < deadline, "{seen} rows after a minute");
        let patience = Duration::from_micros(u64::from(seen % 7) * 300);
        let Ok(events) = timeout(patience, stream.next()).await else {
            dropped += 1;
            let _ =
                timeout(Duration::ZERO, stream.send_status(Lsn(1), Lsn::ZERO, Lsn::ZERO, dropped % 3 == 0))
                    .await;
            continue;
        };
        for event in events.unwrap() {
            let Event::Frame { payload, .. } = event else { continue };
            if let Message::Change(change) = decode(&payload, false).unwrap() {
                let ChangeKind::Insert { new } = change.kind else { panic!("only inserts were made") };
                seen += 1;
                assert_eq!(cells(new), format!("{seen}, v"));
            }
        }
    }
    assert!(dropped > 0, "no future was dropped: the test shows nothing");
    writing.await.unwrap();
    stream.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stays_connected_while_it_sends() {
    let server = Server::start(&[]).await;
    begin(&server).await.stop().await;
    let sql = server.sql().await;
    // More than the sockets hold, so that the server waits for us.
    sql.batch_execute("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 60000) i")
        .await
        .unwrap();
    let url = server.url("postgres", "");
    let params = ConnectParams::from_url(&url).unwrap().with_setting("wal_sender_timeout", "1s");
    for sends in [true, false] {
        let stream = self::stream(ReplicationClient::connect(&params).await.unwrap(), Lsn::ZERO).await;
        let (reader, mut writer) = stream.into_split();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            if sends {
                writer.send_status(Lsn(1), Lsn::ZERO, Lsn::ZERO, false).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let senders = sql.query("SELECT FROM pg_stat_replication", &[]).await.unwrap().len();
        assert_eq!(senders, usize::from(sends), "sends: {sends}");
        ReplicationStream::from_halves(reader, writer).stop().await;
    }
}

#[tokio::test]
async fn a_stopping_server_is_recognised_by_its_keepalives_and_let_go() {
    let mut server = Server::start(&[]).await;
    let mut stream = begin(&server).await;
    let sql = server.sql().await;
    sql.batch_execute("INSERT INTO t VALUES (1, 'unconfirmed')").await.unwrap();
    read_transactions(&mut stream, 1).await;
    drop(sql);
    server.begin_fast_shutdown();
    let mut asked = 0;
    while asked < 100 {
        for event in timeout(Duration::from_secs(10), stream.next()).await.expect("keepalives").unwrap() {
            asked += u32::from(matches!(event, Event::Keepalive { reply_requested: true, .. }));
        }
        stream.send_status(Lsn(1), Lsn::ZERO, Lsn::ZERO, false).await.unwrap();
    }
    stream.stop().await;
    server.wait_for_end(Duration::from_secs(2)).await;
}
