//! Before a stream runs: `re_dms init --new` and `re_dms check`, which finds each fault that is planted.

mod rights;

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use aws_sdk_sqs::types::QueueAttributeName as Name;
use re_dms_tests::{Aws, Sandbox, run};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::stand_in::set;

/// What `re_dms check --json` says.
struct Checked {
    succeeded: bool,
    report: Value,
}

impl Checked {
    fn run(config: &Path, more: &[&str]) -> Result<Self> {
        let config = config.display().to_string();
        let mut arguments = vec!["check", "--json", "--config", &config];
        arguments.extend(more);
        Self::of(&run("re_dms", &arguments)?)
    }

    fn of(output: &Output) -> Result<Self> {
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no report: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(Self { succeeded: output.status.success(), report })
    }

    /// Verdict and text of one item.
    fn finding(&self, item: &str) -> Result<(&str, &str)> {
        let findings = self.report["findings"].as_array().context("findings")?;
        let found = findings.iter().find(|finding| finding["item"] == item);
        let found = found.with_context(|| format!("nothing about {item}: {}", self.report))?;
        let verdict = found["verdict"].as_str().context("a verdict")?;
        ensure!(
            (verdict == "ok") == found["hint"].is_null(),
            "a hint where it is not ok, and only there: {found}"
        );
        Ok((verdict, found["what"].as_str().context("a text")?))
    }

    /// The item has this verdict, and its text says so.
    fn expect(&self, item: &str, verdict: &str, says: &str) -> Result<()> {
        let found = self.finding(item)?;
        ensure!(
            found.0 == verdict && found.1.contains(says),
            "{item} is {found:?}, not {verdict} with {says:?}"
        );
        ensure!(
            self.succeeded != (self.report["verdict"] == "error"),
            "the exit code says otherwise: {}",
            self.report
        );
        Ok(())
    }
}

/// A copy of the capture's config with other texts in it.
fn changed(sandbox: &Sandbox, name: &str, changes: &[(&str, &str)]) -> Result<PathBuf> {
    let config = PathBuf::from(sandbox.text("capture_config")?);
    let mut text = std::fs::read_to_string(&config)?;
    for (from, to) in changes {
        ensure!(text.contains(from), "the config has no {from}");
        text = text.replacen(from, to, 1);
    }
    let file = config.with_file_name(format!("{name}.toml"));
    std::fs::write(&file, text)?;
    Ok(file)
}

#[tokio::test]
async fn check_finds_nothing_wrong_with_a_stream_that_runs_and_each_fault_that_is_planted() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let (source, aws) = (sandbox.source().await?, Aws::of(&sandbox).await?);
    source
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
        .await?;
    sandbox.wait(120)?;
    let config = changed(&sandbox, "same", &[])?;
    let checked = Checked::run(&config, &[])?;
    ensure!(checked.succeeded, "{:#}", checked.report);
    for item in [
        "source: server",
        "source: replication",
        "source: slots left",
        "source: senders left",
        "source: tables",
        "source: identities",
        "source: names and rules",
        "S3: objects",
        "S3: clock",
        "SQS: segment queue",
        "SQS: ack queue",
        "loader: clock",
        "loader: time limit",
        "Redshift: login",
        "Redshift: CREATE on the database",
        "Redshift: CREATE in re_dms",
        "Redshift: COPY",
        "Redshift: rows",
    ] {
        checked.expect(item, "ok", "")?;
    }
    checked.expect("source: slot", "ok", "read at this moment")?;
    checked.expect("S3: writing once", "ok", "If-None-Match")?;
    checked.expect("loader: answer", "ok", "re_dms loader")?;
    checked.expect("Redshift: isolation level", "ok", "Snapshot")?;
    checked.expect("source: types", "ok", "long_text 1")?;
    checked.expect("source: max_slot_wal_keep_size", "warning", "no limit")?;
    let left = aws.keys("").await?;
    ensure!(!left.iter().any(|key| key.contains("/checks/")), "something stays: {left:?}");
    let shown = run("re_dms", &["check", "--no-loader", "--config", &config.display().to_string()])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("ok       source: server: PostgreSQL") && shown.contains("0 errors"), "{shown}");

    of_the_source(&sandbox, &source, &config).await?;
    of_aws(&sandbox, &aws).await?;
    of_the_loader(&sandbox, &aws, &config).await?;

    // The stream was not disturbed by any of it; a slot that is gone is the last thing that it can stand.
    source.batch_execute("INSERT INTO t VALUES (2, 'b')").await?;
    sandbox.wait_and_compare()?;
    sandbox.kill_capture()?;
    source
        .batch_execute(
            "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_replication_slots WHERE active) LOOP PERFORM pg_sleep(0.1); \
             END LOOP; END $$; SELECT pg_drop_replication_slot('re_dms_main')",
        )
        .await?;
    Checked::run(&config, &["--no-loader"])?.expect("source: slot", "error", "is gone")
}

async fn of_the_source(sandbox: &Sandbox, source: &Client, config: &Path) -> Result<()> {
    let check = |config: &Path| Checked::run(config, &["--no-loader"]);
    source
        .batch_execute("CREATE TABLE no_key (a int); ALTER PUBLICATION re_dms_main SET (publish = 'insert')")
        .await?;
    let checked = check(config)?;
    checked.expect("source: identities", "warning", "public.no_key")?;
    checked.expect("source: publication", "warning", "leaves out")?;
    source
        .batch_execute(
            "DROP TABLE no_key; ALTER PUBLICATION re_dms_main SET (publish = 'insert, update, delete, truncate', \
             publish_via_partition_root = false); CREATE TABLE \"T\" (id int PRIMARY KEY)",
        )
        .await?;
    let checked = check(config)?;
    checked.expect("source: publication", "warning", "publish_via_partition_root")?;
    checked.expect("source: names and rules", "error", "would both become")?;
    source
        .batch_execute(
            "DROP TABLE \"T\"; ALTER PUBLICATION re_dms_main SET (publish_via_partition_root = true);
             CREATE ROLE weak LOGIN; ALTER ROLE weak SET wal_sender_timeout = 0;
             CREATE PUBLICATION re_dms_fresh FOR TABLE t WITH (publish_via_partition_root = true);
             CREATE TABLE beside (id int PRIMARY KEY)",
        )
        .await?;

    // A new stream, with a role that may do nothing.
    let fresh = ("stream = \"main\"", "stream = \"fresh\"");
    let weak = changed(sandbox, "weak", &[fresh, ("postgres://postgres", "postgres://weak")])?;
    let checked = check(&weak)?;
    checked.expect("source: replication", "error", "weak may not replicate")?;
    checked.expect("source: initial copy", "error", "weak may not read public.t")?;
    checked.expect("source: wal_sender_timeout", "warning", "never")?;
    checked.expect("source: slot", "ok", "will be made")?;
    checked.expect("source: tables", "warning", "beside")?;
    source.batch_execute("DROP TABLE beside; DROP PUBLICATION re_dms_fresh").await?;
    check(&weak)?.expect("source: publication", "error", "may not make it")?;

    // No slot left, and one of the name that it wants.
    let strong = changed(sandbox, "strong", &[fresh])?;
    source.batch_execute("SELECT pg_create_logical_replication_slot('re_dms_fresh', 'pgoutput')").await?;
    let most: i64 =
        source.query_one("SELECT current_setting('max_replication_slots')::bigint", &[]).await?.get(0);
    for number in 0..most {
        let sql = format!("SELECT pg_create_physical_replication_slot('fill_{number}')");
        if source.batch_execute(&sql).await.is_err() {
            break;
        }
    }
    let checked = check(&strong)?;
    checked.expect("source: slot", "error", "has never used it")?;
    checked.expect("source: slots left", "error", "0 of")?;
    source
        .batch_execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
             WHERE slot_name LIKE 'fill%' OR slot_name = 're_dms_fresh'",
        )
        .await?;
    let place = sandbox.text("source_url")?.rsplit_once('@').context("a URL")?.1.to_owned();
    let database = place.split_once('/').context("a database")?.1;
    let port = changed(sandbox, "port", &[(&place, &format!("127.0.0.1:1/{database}"))])?;
    let checked = check(&port)?;
    ensure!(checked.finding("source: connection")?.0 == "error", "{}", checked.report);
    checked.expect("S3: objects", "ok", "written and read")
}

async fn of_aws(sandbox: &Sandbox, aws: &Aws) -> Result<()> {
    let bucket = format!("\"{}\"", aws.bucket);
    let bucket = changed(sandbox, "bucket", &[(&bucket, "\"no-such-bucket\"")])?;
    let checked = Checked::run(&bucket, &[])?;
    checked.expect("S3: bucket", "error", "does not exist")?;
    checked.expect("loader: answer", "error", "was not asked")?;

    let create = aws.sqs.create_queue().queue_name("loose.fifo").attributes(Name::FifoQueue, "true");
    let loose = create.attributes(Name::MessageRetentionPeriod, "3600").send().await?;
    let loose = loose.queue_url.context("a URL")?;
    let queues = changed(
        sandbox,
        "queues",
        &[
            (&format!("\"{}\"", aws.queue_url), &format!("\"{loose}\"")),
            (&format!("\"{}\"", aws.ack_queue_url), &format!("\"{}-gone\"", aws.ack_queue_url)),
        ],
    )?;
    let checked = Checked::run(&queues, &["--no-loader"])?;
    checked.expect("SQS: retention", "warning", "1 hours")?;
    checked.expect("SQS: dead letters", "warning", "no queue for them")?;
    ensure!(checked.finding("SQS: ack queue")?.0 == "error", "{}", checked.report);
    // Nobody reads that queue.
    Checked::run(&queues, &["--timeout", "2"])?.expect("loader: answer", "error", "none within 2 s")
}

async fn of_the_loader(sandbox: &Sandbox, aws: &Aws, config: &Path) -> Result<()> {
    set(sandbox, &json!({ "cluster": "paused" })).await?;
    let checked = Checked::run(config, &[])?;
    ensure!(checked.finding("Redshift: login")?.0 == "error", "{}", checked.report);
    set(sandbox, &json!({ "cluster": "available", "disk_full": true })).await?;
    let checked = Checked::run(config, &[])?;
    checked.expect("Redshift: login", "ok", "")?;
    let findings = checked.report["findings"].as_array().context("findings")?;
    let wrong = findings.iter().find(|finding| finding["verdict"] == "error").context("an error")?;
    ensure!(wrong["item"].as_str().is_some_and(|item| item.starts_with("Redshift:")), "{wrong}");
    set(sandbox, &json!({ "disk_full": false })).await?;

    let visibility =
        aws.sqs.get_queue_attributes().queue_url(&aws.queue_url).attribute_names(Name::VisibilityTimeout);
    let before = visibility.send().await?.attributes.unwrap_or_default();
    let before = before.get(&Name::VisibilityTimeout).context("a time-out")?;
    let change = |seconds: &str| {
        aws.sqs
            .set_queue_attributes()
            .queue_url(&aws.queue_url)
            .attributes(Name::VisibilityTimeout, seconds)
            .send()
    };
    change("1").await?;
    Checked::run(config, &[])?.expect("loader: time limit", "error", "1 s before")?;
    change(before).await?;
    Ok(())
}

#[tokio::test]
async fn what_init_writes_is_what_a_stream_runs_with() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, note text); \
             CREATE TABLE shop.items (id int PRIMARY KEY); CREATE TABLE public.other (id int PRIMARY KEY); \
             INSERT INTO shop.orders SELECT i, 'n' || i FROM generate_series(1, 100) i",
        )
        .await?;
    let folder = PathBuf::from(sandbox.text("capture_config")?).with_file_name("new");
    std::fs::create_dir(&folder)?;
    let (file, password) = (folder.join("fresh.toml"), folder.join("password"));
    std::fs::write(&password, "the source asks nobody for it")?;
    let url = sandbox.text("source_url")?.to_owned();
    let (host, database) =
        url.rsplit_once('@').and_then(|(_, place)| place.split_once('/')).context("a URL")?;
    let (host, port) = host.split_once(':').context("a port")?;
    let aws = Aws::of(&sandbox).await?;
    let (path, password) = (file.display().to_string(), password.display().to_string());
    let init = |more: &[&str]| {
        let mut arguments = vec![
            "init",
            "--new",
            &path,
            "--stream",
            "fresh",
            "--host",
            host,
            "--port",
            port,
            "--database",
            database,
            "--password-file",
            &password,
            "--tables",
            "shop.*",
            "--segments-url",
            &aws.queue_url,
            "--acks-url",
            &aws.ack_queue_url,
        ];
        arguments.extend(more);
        run("re_dms", &arguments)
    };
    let without = init(&[])?;
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    ensure!(!without.status.success() && said.contains("--bucket is missing"), "{said}");
    let written = init(&["--bucket", &aws.bucket])?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let again = init(&["--bucket", &aws.bucket])?;
    ensure!(!again.status.success(), "what is there was overwritten");

    source.batch_execute(&std::fs::read_to_string(file.with_extension("sql"))?).await?;
    let triggers: i64 = source.query_one("SELECT count(*) FROM pg_event_trigger", &[]).await?.get(0);
    ensure!(triggers == 3, "{triggers} event triggers");
    let text = std::fs::read_to_string(&file)?;
    let (_, rest) = text.split_once("[source]").context("the config has a source")?;
    sandbox.new_stream("fresh", &format!("[source]{rest}"))?;
    let config = PathBuf::from(sandbox.text("capture_config")?);
    let checked = Checked::run(&config, &["--no-loader"])?;
    checked.expect("source: tables", "ok", "2 are replicated")?;
    checked.expect("source: event trigger", "ok", "exactly")?;
    source
        .batch_execute(
            "UPDATE shop.orders SET note = 'later' WHERE id < 10; ALTER TABLE shop.items ADD COLUMN v text; \
             INSERT INTO shop.items VALUES (1, 'a')",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let sql = "SELECT rolsuper FROM pg_stat_replication JOIN pg_roles ON rolname = usename WHERE state = 'streaming'";
    let superuser: bool = source.query_one(sql, &[]).await?.get(0);
    ensure!(!superuser, "the stream does not run with the role that was made for it");
    Ok(())
}
