//! What a restart finds on the other side: a slot that moved while nothing of ours happened, a source that was set back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_shared::Lsn;
use re_dms_tests::{Sandbox, wait_for_end};
use tokio::time::sleep;

#[tokio::test]
async fn a_kill_of_an_idle_capture_under_durable_is_no_gap() -> Result<()> {
    // No anchor is written within the test: the local WAL alone says where the stream stands.
    let mut sandbox = Sandbox::up_with("[slot]\nadvance_on = \"durable\"\nidle_interval = \"1h\"\n")?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    sandbox.wait_and_compare()?;
    // WAL that is not ours, and time for the server to say so.
    source.batch_execute("CREATE DATABASE elsewhere").await?;
    let end: Lsn =
        source.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get::<_, &str>(0).parse()?;
    for _ in 0..200 {
        if sandbox.capture_status()?["received"].as_str().context("a position")?.parse::<Lsn>()? >= end {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(500)).await;
    sandbox.restart_capture()?;
    source.batch_execute("INSERT INTO t VALUES (2)").await?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn a_source_that_was_set_back_is_a_hard_stop_and_no_silent_gap() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    sandbox.wait_and_compare()?;
    let now = sandbox.source_folder()?;
    let older = now.with_extension("older");

    sandbox.stop()?;
    ensure!(std::process::Command::new("cp").arg("-a").args([&now, &older]).status()?.success());
    sandbox.up_again()?;
    let source = sandbox.source().await?;
    source.batch_execute("INSERT INTO t SELECT generate_series(10, 3000)").await?;
    sandbox.wait_and_compare()?;

    sandbox.stop()?;
    std::fs::remove_dir_all(&now)?;
    std::fs::rename(&older, &now)?;
    // Whether `up` still sees it running is a matter of milliseconds.
    if sandbox.up_again().is_ok() {
        wait_for_end(sandbox.pid("capture")?)?;
    }
    let log = sandbox.capture_log();
    ensure!(log.contains("set back to an older state") && log.contains("hint:"), "{log}");
    Ok(())
}
