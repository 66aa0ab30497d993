//! The source dies and a standby takes its place: the slot goes with it, and the stream goes on without a gap or a
//! doubled row; or it stops, where the standby lacks what the stream holds.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_shared::Lsn;
use re_dms_tests::workload::Workload;
use re_dms_tests::{Aws, Sandbox, Signal, Standby, binary, postgresql, signal, wait_for_end};
use tokio::time::sleep;
use tokio_postgres::Client;

const SLOT: &str = "re_dms_main";

/// The slot follows the capture closely, so that standbys take it up soon.
const CONFIG: &str = "[slot]\nidle_interval = \"300ms\"\n[batch]\ninterval = \"300ms\"\n";

/// Restarts the sandbox's own source with a standby beside it.
async fn with_standby(sandbox: &mut Sandbox) -> Result<Standby> {
    let source = sandbox.source().await?;
    source.batch_execute("SELECT pg_create_physical_replication_slot('standby', true)").await?;
    let pid = sandbox.pid("source")?;
    signal(pid, Signal::INT)?;
    wait_for_end(pid)?;
    let data = sandbox.source_folder()?.join("data");
    let mut standby = Standby::of_stopped(sandbox, &data, port(sandbox)?, "standby")?;
    sandbox.up_again()?;
    standby.start()?;
    standby.has_slot(&sandbox.source().await?, SLOT).await?;
    Ok(standby)
}

/// The source's port, where the capture looks for it.
fn port(sandbox: &Sandbox) -> Result<u16> {
    let url = sandbox.text("source_url")?;
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).context("a port")?.0;
    Ok(port.parse()?)
}

/// The sandbox's own source dies without warning.
fn crash_source(sandbox: &Sandbox) -> Result<()> {
    let pid = sandbox.pid("source")?;
    signal(pid, Signal::QUIT)?;
    wait_for_end(pid)
}

/// Puts the standby where the source was, as a moving address does, and promotes it.
async fn take_over(sandbox: &Sandbox, standby: &mut Standby) -> Result<Client> {
    standby.stop()?;
    standby.start_on(port(sandbox)?)?;
    let client = standby.connect().await?;
    // The capture finds it before it is promoted, and waits.
    for _ in 0..600 {
        if sandbox.capture_log().contains("is a standby") {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(sandbox.capture_log().contains("is a standby"), "{}", sandbox.capture_log());
    client.batch_execute("SELECT pg_promote()").await?;
    Ok(client)
}

/// A capture that the sandbox does not know: `sandbox up` would start the dead source, too.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn lsn(client: &Client, expression: &str) -> Result<Lsn> {
    let text: String = client.query_one(&format!("SELECT ({expression})::text"), &[]).await?.get(0);
    Ok(text.parse()?)
}

async fn count(client: &Client, table: &str) -> Result<i64> {
    Ok(client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?.get(0))
}

#[tokio::test]
async fn a_crash_in_the_middle_loses_and_doubles_nothing() -> Result<()> {
    let mut sandbox = Sandbox::up_with_source(&postgresql::programs(17)?, CONFIG)?;
    let mut standby = with_standby(&mut sandbox).await?;
    let source = sandbox.source().await?;
    // Nothing is sent to the capture before the standby has it.
    source.batch_execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'").await?;
    source.batch_execute("SELECT pg_reload_conf()").await?;
    let mut workload = Workload::start(sandbox.source().await?, 17).await?;
    workload.transactions(50).await?;
    sandbox.wait_and_compare()?;
    let running = tokio::spawn(async move { workload.transactions(1_000_000).await });
    sleep(Duration::from_secs(2)).await;
    crash_source(&sandbox)?;
    ensure!(running.await?.is_err(), "the workload ends with its server");

    let source = take_over(&sandbox, &mut standby).await?;
    source
        .batch_execute("CREATE TABLE after_it (id int PRIMARY KEY); INSERT INTO after_it VALUES (1)")
        .await?;
    sandbox.wait_and_compare()?;
    // From here on the new timeline is the stream's.
    let record = Aws::of(&sandbox).await?.keys("/stream.json").await?;
    let record = Aws::of(&sandbox).await?.object(&record[0]).await?;
    let record: serde_json::Value = serde_json::from_slice(&record)?;
    ensure!(record["timeline"] == 2, "{record}");
    sandbox.kill_capture()?;
    let config = sandbox.text("capture_config")?;
    let restarted =
        Command::new(binary("re_dms")).args(["run", "--config", config]).stderr(Stdio::null()).spawn()?;
    let restarted = KillOnDrop(restarted);
    source.batch_execute("INSERT INTO after_it VALUES (2)").await?;
    sandbox.wait_and_compare()?;
    drop(restarted);
    let epoch = sandbox.capture_status()?["epoch"].as_str().context("an epoch")?.to_owned();
    ensure!(epoch.contains(&format!("-1-{SLOT}-")), "the epoch is the slot's, and stays: {epoch}");
    Ok(())
}

#[tokio::test]
async fn positions_beyond_the_fork_are_taken_back_and_transactions_beyond_it_are_a_hard_stop() -> Result<()> {
    let mut sandbox = Sandbox::up_with(CONFIG)?;
    let mut standby = with_standby(&mut sandbox).await?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    sandbox.wait_and_compare()?;

    // The standby is cut off. What comes now holds nothing of ours, and yet the stream's positions follow it.
    standby.stop()?;
    source.batch_execute("CREATE DATABASE elsewhere").await?;
    let beyond = lsn(&source, "pg_current_wal_lsn()").await?;
    let slot = format!("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{SLOT}'");
    for _ in 0..200 {
        if lsn(&source, &slot).await? >= beyond {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    ensure!(lsn(&source, &slot).await? >= beyond, "the slot of an idle stream follows");
    drop(source);
    crash_source(&sandbox)?;
    let source = take_over(&sandbox, &mut standby).await?;
    source.batch_execute("INSERT INTO t VALUES (2)").await?;
    ensure!(lsn(&source, "pg_current_wal_lsn()").await? < beyond, "the positions lie before the old ones");
    sandbox.wait_and_compare()?;

    // Once more, and now a transaction of ours is lost with the primary.
    source.batch_execute("SELECT pg_create_physical_replication_slot('second', true)").await?;
    drop(source);
    standby.stop()?;
    let mut second =
        Standby::of_stopped(&sandbox, &PathBuf::from(standby.data()), port(&sandbox)?, "second")?;
    standby.start()?;
    let source = standby.connect().await?;
    second.start()?;
    source.batch_execute("INSERT INTO t VALUES (3)").await?;
    sandbox.wait_and_compare()?;
    second.has_slot(&source, SLOT).await?;
    second.stop()?;
    source.batch_execute("INSERT INTO t VALUES (4)").await?;
    sandbox.wait_and_compare()?;
    let held = lsn(&source, "pg_current_wal_lsn()").await?;
    drop(source);
    standby.crash()?;
    let capture = sandbox.pid("capture")?;
    second.start_on(port(&sandbox)?)?;
    let source = second.connect().await?;
    source.batch_execute("SELECT pg_promote()").await?;
    source.batch_execute("CREATE TABLE other AS SELECT generate_series(1, 100000)").await?;
    ensure!(lsn(&source, "pg_current_wal_lsn()").await? > held, "its own positions hide the loss");
    wait_for_end(capture)?;
    let log = sandbox.capture_log();
    ensure!(log.contains("has never seen the last of them") && log.contains("hint:"), "{log}");
    ensure!(count(&source, "t").await? == 3, "the standby never had the row");
    Ok(())
}
