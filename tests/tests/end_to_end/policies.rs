//! `slot.advance_on`: how far the slot follows.

use std::time::Duration;

use anyhow::{Result, ensure};
use re_dms_shared::Lsn;
use re_dms_tests::workload::Workload;
use re_dms_tests::{Aws, Sandbox};
use tokio::time::sleep;

/// The loader stands still; the slot moves on with S3 or the local disk all the same.
async fn moves_without_the_loader(policy: &str) -> Result<()> {
    let mut sandbox = Sandbox::up_with(&format!("[slot]\nadvance_on = \"{policy}\"\n"))?;
    let aws = Aws::of(&sandbox).await?;
    let source = sandbox.source().await?;
    let mut workload = Workload::start(sandbox.source().await?, 10).await?;
    workload.transactions(20).await?;
    sandbox.wait_and_compare()?;
    aws.deliver(false).await?;
    sleep(Duration::from_secs(2)).await;
    for _ in 0..5 {
        workload.transactions(20).await?;
        sleep(Duration::from_millis(400)).await;
    }
    let target: String = source.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
    let target: Lsn = target.parse()?;
    let mut confirmed = Lsn::ZERO;
    for _ in 0..100 {
        let row = source.query_one("SELECT confirmed_flush_lsn::text FROM pg_replication_slots", &[]).await?;
        confirmed = row.get::<_, String>(0).parse()?;
        if confirmed >= target {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    ensure!(confirmed >= target, "the slot is at {confirmed}, not at {target}:\n{}", sandbox.capture_log());
    if policy == "staged" {
        // S3 holds it all: the disk may go.
        sandbox.kill_capture()?;
        std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
    }
    workload.transactions(20).await?;
    sandbox.restart_capture()?;
    aws.deliver(true).await?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn staged() -> Result<()> {
    moves_without_the_loader("staged").await
}

#[tokio::test]
async fn durable() -> Result<()> {
    moves_without_the_loader("durable").await
}

#[tokio::test]
async fn a_lost_disk_under_durable_is_a_hard_stop_and_no_silent_gap() -> Result<()> {
    let mut sandbox = Sandbox::up_with("[slot]\nadvance_on = \"durable\"\n[batch]\ninterval = \"1h\"\n")?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    let target: String = source.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
    let target: Lsn = target.parse()?;
    for _ in 0..100 {
        let row = source.query_one("SELECT confirmed_flush_lsn::text FROM pg_replication_slots", &[]).await?;
        if row.get::<_, String>(0).parse::<Lsn>()? >= target {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    sandbox.kill_capture()?;
    std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
    ensure!(sandbox.up_again().is_err(), "the change in the lost disk's WAL would be skipped");
    let log = sandbox.capture_log();
    ensure!(log.contains("beyond") && log.contains("hint:"), "{log}");
    Ok(())
}
