//! `segments.retention`: what no replay within it needs is tagged, the bucket removes it, and everything goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, run};
use serde_json::Value;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::exact::is_expendable;

const TABLES: &str = "
    CREATE TABLE moving (id int PRIMARY KEY, v text);
    INSERT INTO moving SELECT g, 'v' || g FROM generate_series(1, 50) g;
    CREATE TABLE still (id int PRIMARY KEY, v text);
    INSERT INTO still SELECT g, 'v' || g FROM generate_series(1, 20) g;";

const CONFIG: &str = "[batch]\ninterval = \"200ms\"\n[segments]\nretention = \"2s\"\n";

/// Runs `re_dms` with the stream's config: whether it was content, and what it said.
fn re_dms(sandbox: &Sandbox, arguments: &[&str]) -> Result<(bool, String)> {
    let of_two = ["segments", "tables"].contains(&arguments[0]);
    let (command, more) = arguments.split_at(if of_two { 2 } else { 1 });
    let config = sandbox.text("capture_config")?;
    let output = run("re_dms", &[command, &["--config", config], more].concat())?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok((output.status.success(), said.concat()))
}

fn done(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let (good, said) = re_dms(sandbox, arguments)?;
    ensure!(good, "{arguments:?}: {said}\n{}", sandbox.capture_log());
    Ok(said)
}

/// The segment that a checkpoint is as of.
fn checkpoint(sandbox: &Sandbox) -> Result<u64> {
    let said = done(sandbox, &["segments", "checkpoint"])?;
    let rest = said.rsplit_once("as of segment ").context("no segment")?.1;
    Ok(rest.split_once(',').context("no segment")?.0.parse()?)
}

/// Some segments.
async fn write(sandbox: &Sandbox, source: &Client, tables: &[&str], from: u32) -> Result<()> {
    for n in from..from + 4 {
        for table in tables {
            let sql = format!(
                "INSERT INTO {table} VALUES ({}, 'new'); UPDATE {table} SET v = 'round {n}' WHERE id % 7 = {n} % 7",
                1000 + n
            );
            source.batch_execute(&sql).await?;
        }
        sleep(Duration::from_millis(350)).await;
    }
    sandbox.wait(60)
}

struct Bucket {
    aws: Aws,
}

impl Bucket {
    /// `retention.json`, once it says so.
    async fn until(&self, sandbox: &Sandbox, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let started = Instant::now();
        loop {
            let keys = self.aws.keys("/retention.json").await?;
            let told = match keys.first() {
                Some(key) => serde_json::from_slice(&self.aws.object(key).await?)?,
                None => Value::Null,
            };
            if is(&told) {
                return Ok(told);
            }
            let late = started.elapsed() > Duration::from_secs(60);
            ensure!(!late, "{what}: {told}\n{}", sandbox.capture_log());
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn json(&self, key: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.aws.object(key).await?)?)
    }

    /// As the bucket's rule does it.
    async fn remove_expendable(&self) -> Result<usize> {
        let mut removed = 0;
        for key in self.aws.keys("").await? {
            if is_expendable(&self.aws, &key).await? {
                self.aws.s3.delete_object().bucket(&self.aws.bucket).key(&key).send().await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Tagged is all of these segments, but for the shapes that later ones name, and the initial copy's rows. Nothing else is.
    async fn are_tagged(&self, up_to: u64) -> Result<()> {
        let keys = self.aws.keys("").await?;
        let number = |key: &str| -> Option<u64> {
            key.split_once("/segments/").and_then(|(_, rest)| rest.get(..12)?.parse().ok())
        };
        let next = keys.iter().find(|key| number(key) == Some(up_to + 1) && key.ends_with("/manifest.json"));
        let next = self.json(next.context("the next segment")?).await?;
        for key in &keys {
            let of_copy = key.contains("/copy/") && !key.contains("shapes");
            let of_segment = number(key).is_some_and(|number| number <= up_to) && next["shapes"] != **key;
            let expected = of_copy || of_segment;
            ensure!(is_expendable(&self.aws, key).await? == expected, "{key} is tagged: {}", !expected);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_replay_needs_goes_and_everything_goes_on() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    let source = sandbox.source().await?;
    source.batch_execute(TABLES).await?;
    sandbox.new_stream("kept", CONFIG)?;
    let bucket = Bucket { aws: Aws::of(&sandbox).await? };
    sandbox.wait_and_compare()?;
    write(&sandbox, &source, &["moving", "still"], 0).await?;
    done(&sandbox, &["tables", "pause", "public.still"])?;
    write(&sandbox, &source, &["moving", "still"], 10).await?;

    // Without a checkpoint nothing may go, whatever its age.
    sleep(Duration::from_secs(3)).await;
    let said = done(&sandbox, &["segments", "clean"])?;
    ensure!(said.contains("segments up to 0: 0 files") && said.contains("no checkpoint"), "{said}");
    let listed = done(&sandbox, &["segments", "list"])?;
    ensure!(listed.contains("nothing expires: no checkpoint") && !listed.contains("expendable"), "{listed}");
    ensure!(sandbox.capture_log().contains("lets nothing more go"), "{}", sandbox.capture_log());

    // With one, what a table that stands still lacks stays all the same.
    let base = checkpoint(&sandbox)?;
    let status = sandbox.capture_status()?;
    let since = status["quarantined"][0]["since_seq"].as_u64().context("it stands still")?;
    ensure!(since > 3 && since < base, "{since} of {base}");
    write(&sandbox, &source, &["moving"], 20).await?;
    bucket.until(&sandbox, "up to the pause", |told| told["tagged"] == since - 1).await?;
    let said = done(&sandbox, &["segments", "clean"])?;
    ensure!(said.contains(&format!("segments up to {}: 0 files", since - 1)), "{said}");
    ensure!(said.contains("stands still lacks"), "{said}");
    bucket.are_tagged(since - 1).await?;
    let listed = done(&sandbox, &["segments", "list", "--to", &since.to_string()])?;
    ensure!(listed.matches("  expendable").count() == usize::try_from(since - 1)?, "{listed}");
    let to = (since - 1).to_string();
    let said = done(&sandbox, &["replay", "--dry-run", "--to", &to, "--into", "early"])?;
    ensure!(said.contains("tagged as expendable"), "{said}");
    ensure!(bucket.remove_expendable().await? > 10);
    done(&sandbox, &["tables", "resume", "public.still"])?;
    sandbox.wait_and_compare()?;

    // Then what the checkpoint has; the stream finds its place behind it, also without its disk.
    bucket.until(&sandbox, "up to the checkpoint", |told| told["tagged"] == base).await?;
    sandbox.kill_capture()?;
    std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
    bucket.are_tagged(base).await?;
    ensure!(bucket.remove_expendable().await? > 5);
    sandbox.up_again()?;
    write(&sandbox, &source, &["moving", "still"], 30).await?;
    sandbox.wait_and_compare()?;

    // Replays begin with the checkpoint, and those to a time before it say so at once.
    let (good, said) = re_dms(&sandbox, &["replay", "--to", &to, "--into", "early"])?;
    ensure!(!good && said.contains("is not on S3") && said.contains("hint:"), "{said}");
    ensure!(bucket.aws.keys("replay.json").await?.is_empty());
    let said = done(&sandbox, &["replay", "--into", "again"])?;
    ensure!(!said.contains("expendable"), "{said}");
    let warehouse = sandbox.warehouse().await?;
    for table in ["moving", "still"] {
        let sql =
            |schema| format!("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {schema}.{table} t");
        let ours: String = warehouse.query_one(&sql("again"), &[]).await?.get(0);
        let theirs: String = warehouse.query_one(&sql("public"), &[]).await?.get(0);
        ensure!(ours == theirs, "again.{table} differs");
    }

    // A newer checkpoint lets the older one go.
    let newer = checkpoint(&sandbox)?;
    ensure!(newer > base);
    bucket.until(&sandbox, "the older checkpoint", |told| told["checkpoints"] == newer).await?;
    let folder = |seq: u64| format!("/checkpoints/{seq:012}-");
    for key in bucket.aws.keys("").await?.iter().filter(|key| key.contains("/checkpoints/")) {
        let expected = key.contains(&folder(base));
        ensure!(expected || key.contains(&folder(newer)), "{key}");
        ensure!(is_expendable(&bucket.aws, key).await? == expected, "{key} is tagged: {}", !expected);
    }
    // The last that is loaded stays, and the newest.
    let told = bucket.until(&sandbox, "what is loaded", |told| told["up_to"].as_u64() > Some(base)).await?;
    let listed = done(&sandbox, &["segments", "list"])?;
    let last = listed.lines().filter(|line| line.contains("  loaded  ")).count();
    ensure!(last >= 1 && told["up_to"].as_u64() < Some(newer), "{told}\n{listed}");
    sandbox.wait_and_compare()?;
    sandbox.down()
}
