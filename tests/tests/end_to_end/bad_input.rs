//! Mistakes get a clear error with a hint, an exit code, and leave nothing half-made behind.

use anyhow::{Result, ensure};
use re_dms_tests::{Aws, Sandbox, run};
use tempfile::TempDir;

/// A config for a stream of its own on the sandbox's parts.
struct Input {
    dir: TempDir,
    source_url: String,
    bucket: String,
    segments_url: String,
    acks_url: String,
    aws_endpoint: String,
}

impl Input {
    fn of(sandbox: &Sandbox) -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            source_url: sandbox.text("source_url")?.to_owned(),
            bucket: sandbox.text("bucket")?.to_owned(),
            segments_url: sandbox.text("queue_url")?.to_owned(),
            acks_url: sandbox.text("ack_queue_url")?.to_owned(),
            aws_endpoint: sandbox.text("aws_endpoint")?.to_owned(),
        })
    }

    /// Runs the capture, which must refuse; returns what it says.
    fn refused(&self) -> Result<String> {
        let config = format!(
            "stream = \"bad\"\ndata_dir = \"{}\"\nsource.url = \"{}\"\ns3.bucket = \"{}\"\n\
             queues = {{ segments_url = \"{}\", acks_url = \"{}\" }}\n\
             [aws]\nendpoint_url = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"test\"\nsecret_access_key = \"test\"\ns3_path_style = true\n",
            self.dir.path().join("data").display(),
            self.source_url,
            self.bucket,
            self.segments_url,
            self.acks_url,
            self.aws_endpoint
        );
        refused(&self.dir, &config)
    }
}

fn refused(dir: &TempDir, config: &str) -> Result<String> {
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, config)?;
    let output = run("re_dms", &["run", "--config", &path.display().to_string()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "it was accepted:\n{said}");
    ensure!(said.contains("hint:"), "no hint:\n{said}");
    Ok(said)
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_and_nothing_is_left_behind() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;

    let mut input = Input::of(&sandbox)?;
    input.source_url = "postgres://postgres@127.0.0.1:1/app".into();
    let said = input.refused()?;
    ensure!(said.contains("can't be reached"), "{said}");

    let mut input = Input::of(&sandbox)?;
    input.source_url = input.source_url.replace("/app", "/nowhere");
    let said = input.refused()?;
    ensure!(said.contains("nowhere"), "{said}");

    source.batch_execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").await?;
    let mut input = Input::of(&sandbox)?;
    input.source_url = input.source_url.replace("/app", "/bytes");
    let said = input.refused()?;
    ensure!(said.contains("encoding SQL_ASCII") && said.contains("hint:"), "{said}");

    let mut input = Input::of(&sandbox)?;
    input.bucket = "no-such-bucket".into();
    let said = input.refused()?;
    ensure!(said.contains("bucket no-such-bucket does not exist"), "{said}");

    let mut input = Input::of(&sandbox)?;
    input.segments_url = input.segments_url.replace(".fifo", "-wrong.fifo");
    let said = input.refused()?;
    ensure!(said.contains("queues.segments_url"), "{said}");

    let input = Input::of(&sandbox)?;
    source.batch_execute("SELECT pg_create_logical_replication_slot('re_dms_bad', 'pgoutput')").await?;
    let said = input.refused()?;
    ensure!(said.contains("this stream has never used it"), "{said}");
    source.batch_execute("SELECT pg_drop_replication_slot('re_dms_bad')").await?;

    let left = source
        .query_one(
            "SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%bad%'), (SELECT count(*) FROM pg_publication WHERE pubname LIKE '%bad%')",
            &[],
        )
        .await?;
    ensure!(left.get::<_, i64>(0) == 0 && left.get::<_, i64>(1) == 0, "slot or publication left behind");
    let objects = Aws::of(&sandbox).await?.keys("stream.json").await?;
    ensure!(!objects.iter().any(|key| key.contains("/bad/")), "left on S3: {objects:?}");
    Ok(())
}

#[tokio::test]
async fn wal_level_must_be_logical() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let mut input = Input::of(&sandbox)?;
    // The warehouse's server has no reason to write logical WAL.
    input.source_url = sandbox.text("warehouse_url")?.to_owned();
    let said = input.refused()?;
    ensure!(said.contains("wal_level is"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_lost_and_a_foreign_slot_stop_the_stream() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    sandbox.wait_and_compare()?;
    sandbox.kill_capture()?;
    let slot: String =
        source.query_one("SELECT slot_name::text FROM pg_replication_slots", &[]).await?.get(0);
    wait_until_inactive(&source).await?;
    source.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&slot]).await?;
    let config = sandbox.text("capture_config")?.to_owned();

    let output = run("re_dms", &["run", "--config", &config])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("is gone") && said.contains("hint:"), "{said}");

    source.batch_execute("INSERT INTO t VALUES (2)").await?;
    source.execute("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&slot]).await?;
    let output = run("re_dms", &["run", "--config", &config])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("beyond") && said.contains("hint:"), "{said}");
    ensure!(sandbox.up_again().is_err(), "sandbox up tells that the capture does not run");
    Ok(())
}

async fn wait_until_inactive(source: &tokio_postgres::Client) -> Result<()> {
    for _ in 0..100 {
        let active: bool =
            source.query_one("SELECT bool_or(active) FROM pg_replication_slots", &[]).await?.get(0);
        if !active {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the slot is still active")
}

#[test]
fn five_mistakes_in_a_config_are_told_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let said = refused(
        &dir,
        "stream = \"No!\"\ndata_dirr = \"/tmp\"\nsource.url = \"nonsense\"\nbatch.interval = \"soon\"\ns3.bucket = \"s3://x\"\n",
    )?;
    for key in [
        "stream ",
        "data_dir ",
        "source.url ",
        "batch.interval ",
        "s3.bucket ",
        "queues.segments_url ",
        "data_dirr ",
    ] {
        ensure!(said.contains(key), "{key} is not mentioned:\n{said}");
    }
    ensure!(said.contains("did you mean data_dir?"), "{said}");
    Ok(())
}
