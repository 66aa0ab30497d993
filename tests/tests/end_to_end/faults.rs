//! Processes that die, disks that go, a loader that stands still: both sides come out equal.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_shared::Lsn;
use re_dms_tests::workload::Workload;
use re_dms_tests::{Aws, Sandbox, Signal, kill, loader_pids, signal, wait_for_end};
use tokio::time::sleep;

#[tokio::test]
async fn kill_9_of_capture_in_the_middle() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let mut workload = Workload::start(sandbox.source().await?, 2).await?;
    for round in 0..6 {
        workload.transactions(60).await?;
        // at another moment of the batch's life each time
        sleep(Duration::from_millis(230 * round)).await;
        sandbox.kill_capture()?;
        workload.transactions(40).await?;
        sandbox.restart_capture()?;
    }
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn kill_9_of_the_loader_in_the_middle() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let mut workload = Workload::start(sandbox.source().await?, 3).await?;
    let mut killed = 0;
    for _ in 0..40 {
        workload.transactions(20).await?;
        sleep(Duration::from_millis(100)).await;
        for pid in loader_pids(sandbox.pid("aws")?) {
            kill(pid);
            killed += 1;
        }
        if killed >= 4 {
            break;
        }
    }
    ensure!(killed > 0, "no loader was there to be killed");
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn kill_9_of_both_in_the_middle() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let mut workload = Workload::start(sandbox.source().await?, 4).await?;
    for _ in 0..4 {
        workload.transactions(80).await?;
        sleep(Duration::from_millis(700)).await;
        for pid in loader_pids(sandbox.pid("aws")?) {
            kill(pid);
        }
        sandbox.restart_capture()?;
    }
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn the_slot_waits_for_the_ledger_while_the_loader_stands_still() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let aws = Aws::of(&sandbox).await?;
    let mut workload = Workload::start(sandbox.source().await?, 5).await?;
    workload.transactions(20).await?;
    sandbox.wait_and_compare()?;

    aws.deliver(false).await?;
    sleep(Duration::from_secs(2)).await;
    let source = sandbox.source().await?;
    let before: Lsn = text(&source, "SELECT pg_current_wal_lsn()::text").await?.parse()?;
    for _ in 0..8 {
        workload.transactions(30).await?;
        sleep(Duration::from_millis(500)).await;
        let confirmed: Lsn =
            text(&source, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots").await?.parse()?;
        ensure!(confirmed <= before, "the slot is at {confirmed}, and nothing after {before} was loaded");
    }
    let staged = sandbox.capture_status()?["segments_in_flight"].as_u64().context("no count of segments")?;
    ensure!(staged > 0, "segments go on to S3 while the loader stands still");

    aws.deliver(true).await?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn the_captures_disk_is_lost_while_segments_are_under_way() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let aws = Aws::of(&sandbox).await?;
    let mut workload = Workload::start(sandbox.source().await?, 6).await?;
    workload.transactions(50).await?;
    sandbox.wait_and_compare()?;

    aws.deliver(false).await?;
    workload.transactions(100).await?;
    sleep(Duration::from_millis(1_500)).await;
    workload.transactions(50).await?;
    sandbox.kill_capture()?;
    std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
    workload.transactions(50).await?;
    sandbox.restart_capture()?;
    aws.deliver(true).await?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn s3_that_hangs_costs_no_connection_and_holds_up_no_shutdown() -> Result<()> {
    let mut sandbox = Sandbox::up_with("[batch]\nmax_memory = \"8MiB\"\nmax_bytes = \"1MiB\"\n")?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await?;
    source.batch_execute("ALTER SYSTEM SET wal_sender_timeout = '3s'").await?;
    source.batch_execute("SELECT pg_reload_conf()").await?;
    sandbox.restart_capture()?;
    sandbox.wait(60)?;
    let (aws, postgres) = (sandbox.pid("aws")?, sandbox.pid("source")?);
    signal(aws, Signal::STOP)?;
    // More than fits between the connection and S3, so that reading is held up.
    for part in 0..10 {
        source
            .batch_execute(&format!("INSERT INTO t SELECT g, repeat(md5(g::text), 20) FROM generate_series({part}0000, {part}9999) g"))
            .await?;
    }
    let sender = "SELECT pid || ' since ' || backend_start FROM pg_replication_slots JOIN pg_stat_activity ON pid = active_pid";
    let before = text(&source, sender).await;
    sleep(Duration::from_secs(9)).await;
    let after = text(&source, sender).await;
    drop(source);
    // fast shutdown
    let began = Instant::now();
    signal(postgres, Signal::INT)?;
    let ended = wait_for_end(postgres);
    println!("fast shutdown while S3 hangs: {} ms", began.elapsed().as_millis());
    signal(aws, Signal::CONT)?;
    ended?;
    ensure!(before? == after?, "cut off by wal_sender_timeout:\n{}", sandbox.capture_log());
    sandbox.up_again()?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn sigterm_stages_the_open_batch_and_ends_well() -> Result<()> {
    // Nothing but the end cuts this batch.
    let mut sandbox = Sandbox::up_with("[batch]\ninterval = \"1h\"\n")?;
    let aws = Aws::of(&sandbox).await?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    let inserted: Lsn = text(&source, "SELECT pg_current_wal_lsn()::text").await?.parse()?;
    while sandbox.capture_status()?["durable"].as_str().context("a position")?.parse::<Lsn>()? < inserted {
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(aws.keys("/manifest.json").await?.is_empty(), "cut too early");
    let pid = sandbox.pid("capture")?;
    signal(pid, Signal::TERM)?;
    wait_for_end(pid)?;
    ensure!(
        aws.keys("/manifest.json").await?.len() == 1,
        "the batch was not staged:\n{}",
        sandbox.capture_log()
    );
    ensure!(sandbox.capture_status()?["state"] == "stopped");
    ensure!(sandbox.capture_status()?["last_error"].is_null(), "{}", sandbox.capture_log());
    sandbox.up_again()?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn an_idle_database_releases_its_wal() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    // WAL that is not ours: another database's
    source.batch_execute("CREATE DATABASE elsewhere").await?;
    let target: Lsn = text(&source, "SELECT pg_current_wal_lsn()::text").await?.parse()?;
    for _ in 0..100 {
        let confirmed: Lsn =
            text(&source, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots").await?.parse()?;
        if confirmed >= target {
            return Ok(());
        }
        sleep(Duration::from_millis(300)).await;
    }
    anyhow::bail!("the slot did not follow the server's WAL end {target}\n{}", sandbox.capture_log())
}

#[tokio::test]
async fn the_capture_survives_a_terminated_connection() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let mut workload = Workload::start(sandbox.source().await?, 7).await?;
    workload.transactions(30).await?;
    let source = sandbox.source().await?;
    source.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots", &[]).await?;
    workload.transactions(30).await?;
    sandbox.wait_and_compare()
}

async fn text(client: &tokio_postgres::Client, sql: &str) -> Result<String> {
    Ok(client.query_one(sql, &[]).await?.get(0))
}
