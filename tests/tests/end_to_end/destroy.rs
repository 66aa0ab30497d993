//! `re_dms destroy`: all that a stream made goes, and nothing else; never while it runs; and again where it broke off.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, Signal, run, signal, wait_for_end};
use serde_json::json;
use tokio_postgres::Client;

use crate::stand_in::set;

/// What it prints and how it exits.
fn destroy(config: &Path, more: &[&str]) -> Result<(bool, String)> {
    let config = config.display().to_string();
    let mut arguments = vec!["destroy", "--config", &config];
    arguments.extend(more);
    let output = run("re_dms", &arguments)?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

fn refused(config: &Path, more: &[&str], says: &str) -> Result<()> {
    let (succeeded, text) = destroy(config, more)?;
    ensure!(!succeeded && text.contains(says), "not refused with {says:?}: {text}");
    Ok(())
}

/// Slots, publications, event triggers, and schemas of re_dms's name.
async fn left_on_the_source(source: &Client) -> Result<Vec<String>> {
    let sql = "SELECT 'slot ' || slot_name FROM pg_replication_slots UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
               UNION ALL SELECT 'trigger ' || evtname FROM pg_event_trigger \
               UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 're_dms' ORDER BY 1";
    Ok(source.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

async fn tables_in_redshift(warehouse: &Client) -> Result<Vec<String>> {
    let sql = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('shop', 're_dms') ORDER BY 1";
    Ok(warehouse.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

fn stop(sandbox: &Sandbox) -> Result<()> {
    let pid = sandbox.pid("capture")?;
    signal(pid, Signal::TERM)?;
    wait_for_end(pid)
}

#[tokio::test]
async fn a_stream_is_removed_with_all_that_it_made_and_nothing_else() -> Result<()> {
    let mut sandbox = Sandbox::up_with("s3.status_interval = \"never\"")?;
    let (source, aws) = (sandbox.source().await?, Aws::of(&sandbox).await?);
    let config = Path::new(sandbox.text("capture_config")?).to_path_buf();
    let trigger = run("re_dms", &["init", "--ddl-trigger", "--config", &config.display().to_string()])?;
    ensure!(trigger.status.success(), "{}", String::from_utf8_lossy(&trigger.stderr));
    source
        .batch_execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY); CREATE TABLE shop.\"Items\" (id int PRIMARY KEY);
             INSERT INTO shop.orders VALUES (1); INSERT INTO shop.\"Items\" VALUES (1)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let all = ["re_dms.ledger_main", "re_dms.tables_main", "shop.items", "shop.orders"];
    ensure!(tables_in_redshift(&warehouse).await? == all);

    // Not while it runs, seen by the disk's lock, by the slot, by what S3 heard of it.
    refused(&config, &["--yes"], "in use by another re_dms")?;
    let elsewhere = config.with_file_name("elsewhere.toml");
    let text = std::fs::read_to_string(&config)?;
    let own = format!("data_dir = \"{}\"", sandbox.capture_data_dir()?.display());
    ensure!(text.contains(&own), "the config has another form");
    std::fs::write(&elsewhere, text.replace(&own, "data_dir = \"/nowhere\""))?;
    refused(&elsewhere, &["--yes"], "is read at this moment")?;
    let folder = aws.keys("/stream.json").await?.pop().context("a stream.json")?.replace("stream.json", "");
    let put = |key: String, body: String| {
        aws.s3.put_object().bucket(&aws.bucket).key(key).body(body.into_bytes().into()).send()
    };
    let status = |state: &str| json!({ "state": state, "updated_at": jiff::Timestamp::now() }).to_string();
    put(format!("{folder}status.json"), status("connecting")).await?;
    refused(&elsewhere, &["--yes"], "was heard of")?;
    put(format!("{folder}status.json"), status("stopped")).await?;

    // Another stream's, whose name begins alike.
    let foreign = format!("{}_past/stream.json", folder.trim_end_matches('/'));
    put(foreign.clone(), "{}".to_owned()).await?;
    stop(&sandbox)?;
    let before = left_on_the_source(&source).await?;
    ensure!(before.len() == 6, "slot, publication, three triggers and a schema: {before:?}");
    let (succeeded, shown) = destroy(&config, &["--dry-run", "--drop-tables"])?;
    ensure!(succeeded && !shown.contains("stays") && shown.contains("table shop.items"), "{shown}");
    refused(&config, &[], "nobody is there to be asked")?;
    ensure!(left_on_the_source(&source).await? == before && tables_in_redshift(&warehouse).await? == all);

    // It breaks off in the middle, and goes on.
    set(&sandbox, &json!({ "cluster": "paused" })).await?;
    refused(&config, &["--yes", "--drop-tables"], "paused")?;
    ensure!(left_on_the_source(&source).await?.is_empty(), "{:?}", left_on_the_source(&source).await?);
    ensure!(!aws.keys("/stream.json").await?.is_empty(), "S3 comes last");
    set(&sandbox, &json!({ "cluster": "available" })).await?;
    let (succeeded, done) = destroy(&config, &["--yes", "--drop-tables"])?;
    ensure!(succeeded && done.contains("the table shop.items dropped"), "{done}");
    ensure!(tables_in_redshift(&warehouse).await?.is_empty(), "{:?}", tables_in_redshift(&warehouse).await?);
    ensure!(aws.keys("").await? == [foreign], "{:?}", aws.keys("").await?);
    ensure!(!sandbox.capture_data_dir()?.exists(), "data_dir is there");
    let (succeeded, again) = destroy(&config, &["--yes"])?;
    ensure!(succeeded && again.contains("S3: 0 objects removed"), "{again}");

    // Who may not do all of it is told what is left, and somebody who may goes on.
    sandbox.new_stream("fresh", "")?;
    source.batch_execute("CREATE ROLE weak LOGIN REPLICATION").await?;
    let config = Path::new(sandbox.text("capture_config")?).to_path_buf();
    let trigger = run("re_dms", &["init", "--ddl-trigger", "--config", &config.display().to_string()])?;
    ensure!(trigger.status.success(), "{}", String::from_utf8_lossy(&trigger.stderr));
    sandbox.wait_and_compare()?;
    stop(&sandbox)?;
    let weak = config.with_file_name("weak.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&weak, text.replace("postgres://postgres@", "postgres://weak@"))?;
    refused(&weak, &["--yes", "--drop-tables"], "must be owner of event trigger")?;
    let left = left_on_the_source(&source).await?;
    ensure!(left.len() == 5 && !left.iter().any(|what| what.starts_with("slot")), "{left:?}");
    let (succeeded, done) = destroy(&config, &["--yes"])?;
    ensure!(succeeded, "{done}");
    ensure!(left_on_the_source(&source).await?.is_empty() && aws.keys("").await?.len() == 1, "{done}");

    // Nothing stands in the way of the same name; a publication of somebody else's stays, and so do the tables.
    source
        .batch_execute("CREATE PUBLICATION theirs FOR ALL TABLES WITH (publish_via_partition_root = true)")
        .await?;
    sandbox.new_stream("main", "[source]\npublication = \"theirs\"")?;
    sandbox.wait_and_compare()?;
    stop(&sandbox)?;
    let config = Path::new(sandbox.text("capture_config")?).to_path_buf();
    let (succeeded, done) = destroy(&config, &["--yes"])?;
    ensure!(succeeded && done.contains("publication theirs stays"), "{done}");
    ensure!(left_on_the_source(&source).await? == ["publication theirs"]);
    ensure!(tables_in_redshift(&warehouse).await? == ["shop.items", "shop.orders"]);
    Ok(())
}
