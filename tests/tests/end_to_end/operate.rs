//! What people who run it have: passwords from where they are kept, `re_dms status`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, run};
use serde_json::Value;
use tokio_postgres::Client;

#[tokio::test]
async fn passwords_come_from_secrets_manager_and_files_and_may_be_rotated() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let (source, aws) = (sandbox.source().await?, Aws::of(&sandbox).await?);
    source
        .batch_execute(
            "SET password_encryption = 'scram-sha-256';
             CREATE ROLE of_secret LOGIN SUPERUSER PASSWORD 'Pw-first-geheim';
             CREATE TABLE t (id int PRIMARY KEY, v text)",
        )
        .await?;
    ask_for_password(&source, "of_secret").await?;
    let json = |password: &str| format!(r#"{{"username":"of_secret","password":"{password}","port":1}}"#);
    let secret = aws.secrets.create_secret().name("source/main").secret_string(json("Pw-first-geheim"));
    let arn = secret.send().await?.arn.context("a secret has an ARN")?;
    let config = format!("copy.enabled = false\n[source]\npassword_secret = \"{arn}\"\n");
    sandbox.new_stream("by_secret", &config)?;
    source.batch_execute("INSERT INTO t VALUES (1, 'a')").await?;
    sandbox.wait_and_compare()?;
    ensure!(streams_as(&source, "of_secret").await?, "the secret's user is not the one that streams");

    // Rotated while it runs: the next connection has the new one.
    source.batch_execute("ALTER ROLE of_secret PASSWORD 'Pw-second-geheim'").await?;
    aws.secrets.put_secret_value().secret_id(&arn).secret_string(json("Pw-second-geheim")).send().await?;
    let kick = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'of_secret'";
    source.batch_execute(kick).await?;
    source.batch_execute("INSERT INTO t VALUES (2, 'b')").await?;
    sandbox.wait_and_compare()?;

    // A file instead; what it says is not in the URL, and the URL's user counts.
    let file = sandbox.capture_data_dir()?.join("password");
    std::fs::write(&file, "Pw-second-geheim\n")?;
    let url = sandbox.text("source_url")?.replace("://postgres", "://of_secret");
    ensure!(url.contains("of_secret"), "the source's URL has another form: {url}");
    let config =
        format!("copy.enabled = false\n[source]\nurl = \"{url}\"\npassword_file = \"{}\"\n", file.display());
    sandbox.new_stream("by_file", &config)?;
    source.batch_execute("INSERT INTO t VALUES (3, 'c')").await?;
    sandbox.wait_and_compare()?;
    ensure!(streams_as(&source, "of_secret").await?, "the URL's user is not the one that streams");
    let log = std::fs::read_to_string(sandbox.text("capture_log")?)?;
    ensure!(!log.contains("geheim"), "a password is in the log");
    Ok(())
}

/// From now on the source asks this role for its password.
async fn ask_for_password(source: &Client, role: &str) -> Result<()> {
    let file: String = source.query_one("SHOW hba_file", &[]).await?.get(0);
    let before = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("host all {role} 127.0.0.1/32 scram-sha-256\n{before}"))?;
    source.batch_execute("SELECT pg_reload_conf()").await?;
    Ok(())
}

/// Does a role read a slot?
async fn streams_as(source: &Client, role: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM pg_stat_replication WHERE usename = $1 AND state = 'streaming'";
    let count: i64 = source.query_one(sql, &[&role]).await?.get(0);
    Ok(count > 0)
}

#[tokio::test]
async fn status_tells_how_a_stream_is_doing_though_its_machine_is_gone() -> Result<()> {
    let sandbox = Sandbox::up_with("s3.status_interval = \"1s\"")?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE busy (id int PRIMARY KEY, v text); CREATE TABLE calm (id int PRIMARY KEY);
             INSERT INTO busy SELECT i, 'x' FROM generate_series(1, 100) i; INSERT INTO calm VALUES (1)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let config = sandbox.text("capture_config")?.to_owned();
    // Read as from another machine: nothing of data_dir is there.
    let elsewhere = sandbox.capture_data_dir()?.join("elsewhere.toml");
    let text = std::fs::read_to_string(&config)?;
    let own = format!("data_dir = \"{}\"", sandbox.capture_data_dir()?.display());
    ensure!(text.contains(&own), "the config has another form");
    std::fs::write(&elsewhere, text.replace(&own, "data_dir = \"/nowhere\""))?;
    let elsewhere = elsewhere.display().to_string();

    let told = until(|| {
        let told = status(&elsewhere)?;
        Ok((told["capture"]["loaded"] == told["segments"]["loaded_lsn"]).then_some(told))
    })
    .await?;
    ensure!(told["capture"]["state"] == "streaming" && told["silent"] == false, "{told}");
    ensure!(told["segments"]["in_flight"] == 0 && told["segments"]["last_load"]["rows"].is_u64(), "{told}");
    let tables: Vec<_> = told["rates"]["tables"].as_array().context("rates")?.iter().collect();
    let [busy, calm] = tables[..] else { anyhow::bail!("{told}") };
    ensure!(busy["table"] == "public.busy" && busy["inserts"] == 100, "{told}");
    ensure!(calm["table"] == "public.calm" && calm["rows"] == 1, "{told}");

    // With its capture killed and its loader asleep, S3 has the rest.
    Aws::of(&sandbox).await?.deliver(false).await?;
    source.batch_execute("DELETE FROM busy WHERE id < 6").await?;
    let told = until(|| {
        let told = status(&elsewhere)?;
        Ok((told["segments"]["in_flight"] == 1).then_some(told))
    })
    .await?;
    ensure!(told["segments"]["waiting_since"].is_string(), "{told}");
    sandbox.kill_capture()?;
    let told = until(|| {
        let told = status(&elsewhere)?;
        Ok((told["silent"] == true).then_some(told))
    })
    .await?;
    ensure!(told["rates"]["tables"][0]["deletes"] == 5, "{told}");
    let shown = run("re_dms", &["status", "--config", &elsewhere])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("SILENT") && shown.contains("1 in flight, the oldest from"), "{shown}");
    ensure!(shown.contains("public.busy") && shown.contains("confirmed"), "{shown}");
    Ok(())
}

/// `re_dms status --json`
fn status(config: &str) -> Result<Value> {
    let output = run("re_dms", &["status", "--json", "--config", config])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Asks until there is an answer, a minute long.
pub(crate) async fn until<T>(mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..120 {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    anyhow::bail!("nothing like it within a minute")
}
