//! What runs full, or falls far behind: it is told, nothing is lost, and it passes by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use re_dms_shared::Lsn;
use re_dms_tests::{Aws, Sandbox, Signal, signal, wait_for_end};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_postgres::Client;

/// A file system in memory with room for little.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// None if this user may not mount one.
    fn mount(megabytes: u32) -> Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("re_dms-disk-").tempdir()?;
        let options = format!("size={megabytes}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "re_dms-test"])
            .arg(folder.path())
            .output();
        Ok(mount.is_ok_and(|mount| mount.status.success()).then_some(Self { folder }))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_out_and_costs_no_connection() -> Result<()> {
    let Some(disk) = SmallDisk::mount(12)? else {
        eprintln!(
            "SKIPPED: only root may mount a small disk. The same with a disk that plays it: capture/src/persist/tests.rs"
        );
        return Ok(());
    };
    let data_dir: PathBuf = disk.path().join("data");
    let mut sandbox = Sandbox::up_with(&format!(
        "data_dir = \"{}\"\n[batch]\nmax_memory = \"8MiB\"\nmax_bytes = \"1MiB\"\n",
        data_dir.display()
    ))?;
    let (aws, source) = (Aws::of(&sandbox).await?, sandbox.source().await?);
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await?;
    expect_statuses_every_second(&source).await?;
    sandbox.restart_capture()?;
    sandbox.wait_and_compare()?;

    aws.deliver(false).await?;
    for part in 0..12 {
        insert_megabytes(&source, part, 2).await?;
    }
    status(&sandbox, "the disk is full", |status| status["state"] == "disk_full").await?;
    let told = sandbox.capture_status()?["last_error"].as_str().context("an error is told")?.to_owned();
    ensure!(told.contains("no room on the disk of") && told.contains("hint: make room"), "{told}");
    let before = sender(&source).await?;
    sleep(Duration::from_secs(9)).await;
    ensure!(sender(&source).await? == before, "cut off by wal_sender_timeout:\n{}", sandbox.capture_log());
    ensure!(sandbox.capture_status()?["state"] == "disk_full", "{}", sandbox.capture_log());

    // A start on the full disk goes on from what is there.
    sandbox.restart_capture()?;
    status(&sandbox, "the disk is full again", |status| status["state"] == "disk_full").await?;
    aws.deliver(true).await?;
    sandbox.wait_and_compare()?;
    status(&sandbox, "all is well", |status| {
        status["state"] == "streaming" && status["last_error"].is_null()
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_slot_that_retains_too_much_falls_back_to_s3_and_returns() -> Result<()> {
    let mut sandbox = Sandbox::up_with(
        "[slot]\nretained_wal_warn = \"1MiB\"\nretained_wal_fallback = true\n\
         [batch]\ninterval = \"100ms\"\n[queues]\nresend_after = \"1s\"\n",
    )?;
    let (aws, source) = (Aws::of(&sandbox).await?, sandbox.source().await?);
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await?;
    sandbox.wait_and_compare()?;
    ensure!(sandbox.capture_status()?["advance_on"] == "loaded");

    aws.deliver(false).await?;
    sleep(Duration::from_secs(2)).await;
    for part in 0..3 {
        insert_megabytes(&source, part, 1).await?;
    }
    let status_now =
        status(&sandbox, "the slot follows S3", |status| status["advance_on"] == "staged").await?;
    let warning = status_now["warning"].as_str().context("it is told")?;
    ensure!(warning.contains("retain") && warning.contains("hint: "), "{warning}");

    // Far behind: many segments, few messages.
    for part in 0..80 {
        source.batch_execute(&format!("UPDATE t SET v = 'again' WHERE id = {part}")).await?;
        sleep(Duration::from_millis(120)).await;
    }
    let target: Lsn = text(&source, "SELECT pg_current_wal_lsn()::text").await?.parse()?;
    let told = status(&sandbox, "the slot moves without the loader", |status| {
        position(status, "confirmed").is_some_and(|confirmed| confirmed >= target)
    })
    .await?;
    let in_flight = told["segments_in_flight"].as_u64().context("a count")?;
    let announced = aws.announced().await?;
    ensure!(in_flight > 40, "too few segments to show anything: {in_flight}");
    // Those that may be ahead of the loader, and what was announced again with growing pauses.
    ensure!((20..30).contains(&announced), "{announced} messages for {in_flight} segments");

    // S3 has it all: the disk may go.
    sandbox.kill_capture()?;
    std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
    source.batch_execute("INSERT INTO t VALUES (-1, 'while it was away')").await?;
    sandbox.up_again()?;
    let lag = sandbox.capture_status()?["lag_seconds"].as_f64().context("a lag")?;
    ensure!(lag > 5.0, "{in_flight} segments are under way, and the lag is {lag} s");

    // Protocol fact 5: nobody loads, so that nothing more can be confirmed under `loaded`; the server ends all the same.
    let postgres = sandbox.pid("source")?;
    drop(source);
    let began = Instant::now();
    signal(postgres, Signal::INT)?;
    wait_for_end(postgres)?;
    println!("fast shutdown with the loader far behind: {} ms", began.elapsed().as_millis());
    sandbox.up_again()?;

    aws.deliver(true).await?;
    sandbox.wait_and_compare()?;
    status(&sandbox, "back to what is loaded", |status| {
        status["advance_on"] == "loaded" && status["warning"].is_null()
    })
    .await?;
    Ok(())
}

/// Waits until the capture's status is so.
async fn status(sandbox: &Sandbox, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        match sandbox.capture_status() {
            Ok(status) if is_so(&status) => return Ok(status),
            last if Instant::now() > until => bail!("not so: {what}: {last:?}\n{}", sandbox.capture_log()),
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn position(status: &Value, name: &str) -> Option<Lsn> {
    status[name].as_str()?.parse().ok()
}

/// Text that does not compress to nothing, in one transaction.
async fn insert_megabytes(source: &Client, part: u32, megabytes: u32) -> Result<()> {
    let (first, last) = (part * 10_000, part * 10_000 + megabytes * 1024 - 1);
    let row = "(SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 32) i)";
    source
        .batch_execute(&format!("INSERT INTO t SELECT g, {row} FROM generate_series({first}, {last}) g"))
        .await?;
    Ok(())
}

/// A capture that starts after this must be heard of every three seconds.
async fn expect_statuses_every_second(source: &Client) -> Result<()> {
    source.batch_execute("ALTER SYSTEM SET wal_sender_timeout = '3s'").await?;
    source.batch_execute("SELECT pg_reload_conf()").await?;
    Ok(())
}

/// The process that sends from the slot, and since when it runs.
async fn sender(source: &Client) -> Result<(i32, String)> {
    let sql =
        "SELECT pid, backend_start::text FROM pg_replication_slots JOIN pg_stat_activity ON pid = active_pid";
    let row = source.query_opt(sql, &[]).await?.context("nobody reads the slot")?;
    Ok((row.get(0), row.get(1)))
}

async fn text(client: &Client, sql: &str) -> Result<String> {
    Ok(client.query_one(sql, &[]).await?.get(0))
}
