//! What an older version left on S3 is loaded by this one: the history in `tests/formats` is replayed, without PostgreSQL and
//! without what wrote it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, run};

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

#[tokio::test]
async fn a_history_that_an_older_version_staged_is_replayed() -> Result<()> {
    let sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    let aws = Aws::of(&sandbox).await?;
    let history = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/history");
    let mut found = Vec::new();
    files(&history, &mut found)?;
    ensure!(found.len() > 15, "{found:?}");
    // The stream's own record is in the way, and goes.
    for file in found {
        let key = format!("re_dms/main/{}", file.strip_prefix(&history)?.display());
        let body = std::fs::read(&file)?;
        aws.s3.put_object().bucket(&aws.bucket).key(key).body(body.into()).send().await?;
    }
    let config = sandbox.text("capture_config")?.to_owned();
    let listed = run("re_dms", &["segments", "list", "--json", "--config", &config])?;
    ensure!(String::from_utf8_lossy(&listed.stdout).lines().count() == 7, "{listed:?}");
    let replayed = run("re_dms", &["replay", "--config", &config, "--into", "past"])?;
    ensure!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let warehouse = sandbox.warehouse().await?;
    let rows = warehouse.query("SELECT id::text || note FROM past.orders ORDER BY id", &[]).await?;
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    ensure!(rows == ["1a", "2b", "3d"], "{rows:?}");
    let left = warehouse.query_one("SELECT count(*) FROM past.items", &[]).await?;
    ensure!(left.try_get::<_, i64>(0).context("a count")? == 0);
    Ok(())
}
