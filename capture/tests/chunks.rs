//! Reading ranges against a real server: what is seen is decided behind the lock.

// The lints' own exemption for tests does not reach functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use futures_util::TryStreamExt as _;
use re_dms_capture::config::Config;
use re_dms_capture::source::Source;
use tokio::time::sleep;

#[allow(dead_code)] // not every test that shares it needs all of it
#[path = "replication/server.rs"]
mod server;
use server::Server;

async fn connect(server: &Server) -> Source {
    let toml = format!(
        "stream = \"s\"\ndata_dir = \"/d\"\nsource.url = \"{}\"\ns3.bucket = \"bucket\"\n\
         queues = {{ segments_url = \"http://q/s.fifo\", acks_url = \"http://q/a\" }}\n",
        server.url("postgres", "")
    );
    let config = Config::parse(&toml, Vec::new()).unwrap();
    let source = Source::connect(&config.source).await.unwrap();
    source.prepare_for_chunks().await.unwrap();
    source
}

/// Rows as the transaction sees them.
async fn rows(source: &Source) -> usize {
    let stream = source.copy_out("SELECT id FROM t ORDER BY id").await.unwrap();
    let parts: Vec<_> = stream.try_collect().await.unwrap();
    parts.concat().iter().filter(|byte| **byte == b'\n').count()
}

/// Who writes a table's rows anew holds a lock until he commits. A snapshot from before sees none of them afterwards, and the
/// table would be taken for empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_seen_is_decided_once_the_table_is_locked() {
    let server = Server::start(&[]).await;
    let (sql, source) = (server.sql().await, connect(&server).await);
    sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 50) g")
        .await
        .unwrap();
    let before = source.visible().await.unwrap();
    let next = source.next_number().await.unwrap();
    assert!(next >= before.oldest, "a number is given out once: {next}");
    sql.batch_execute("BEGIN; ALTER TABLE t ALTER v TYPE text USING upper(v)").await.unwrap();
    let reading = tokio::spawn(async move {
        assert!(source.begin_chunk(("public", "t")).await.unwrap(), "the lock came in time");
        let seen = source.visible().await.unwrap();
        (rows(&source).await, seen, source)
    });
    sleep(Duration::from_millis(700)).await;
    sql.batch_execute("COMMIT").await.unwrap();
    let (found, seen, source) = reading.await.unwrap();
    assert_eq!(found, 50);
    assert!(seen.oldest > next, "it sees who wrote them anew");
    source.end_chunk().await.unwrap();

    // Nobody waits for long behind whoever has it, and nothing is begun then.
    sql.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert!(!source.begin_chunk(("public", "t")).await.unwrap());
    assert!(!source.begin_chunk(("public", "gone")).await.unwrap());
    sql.batch_execute("COMMIT").await.unwrap();
    assert!(source.begin_chunk(("public", "t")).await.unwrap());
    assert_eq!(rows(&source).await, 50);
    source.end_chunk().await.unwrap();
}
