//! Two captures on one stream: one of them stops, and the data stay right.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_tests::workload::Workload;
use re_dms_tests::{Aws, Sandbox, Signal, binary, kill, signal, wait_for_end};
use tokio::time::sleep;

#[tokio::test]
async fn who_loses_the_race_for_a_manifest_stops() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let aws = Aws::of(&sandbox).await?;
    let source = sandbox.source().await?;
    let mut workload = Workload::start(sandbox.source().await?, 9).await?;
    workload.transactions(30).await?;
    sandbox.wait_and_compare()?;

    // The first one is frozen with a batch in its memory, as if its machine had been cut off.
    let first = sandbox.pid("capture")?;
    workload.transactions(30).await?;
    sleep(Duration::from_millis(300)).await;
    signal(first, Signal::STOP)?;
    source
        .execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active", &[])
        .await?;

    // The second one takes over on another machine, that is, with another disk.
    let config = std::fs::read_to_string(sandbox.text("capture_config")?)?;
    let data_dir = sandbox.capture_data_dir()?.display().to_string();
    let elsewhere = tempfile::tempdir()?;
    let path = elsewhere.path().join("second.toml");
    std::fs::write(&path, config.replace(&data_dir, &elsewhere.path().join("data").display().to_string()))?;
    let before = aws.keys("/manifest.json").await?.len();
    let mut second = Command::new(binary("re_dms"))
        .args(["run", "--config", &path.display().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    for _ in 0..200 {
        workload.transactions(5).await?;
        if aws.keys("/manifest.json").await?.len() > before + 1 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    ensure!(aws.keys("/manifest.json").await?.len() > before + 1, "the second capture did not take over");

    signal(first, Signal::CONT)?;
    let ended = wait_for_end(first);
    kill(second.id());
    second.wait()?;
    ended.with_context(|| format!("the first capture goes on:\n{}", sandbox.capture_log()))?;
    let log = sandbox.capture_log();
    ensure!(log.contains("another capture runs this stream"), "{log}");

    // Whoever starts next, with whichever disk, goes on from S3.
    sandbox.up_again()?;
    workload.transactions(30).await?;
    sandbox.wait_and_compare()
}
