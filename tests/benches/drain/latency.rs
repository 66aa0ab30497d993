//! How long a lone commit takes to be durable in the local WAL, while the stream is quiet.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::RngExt;
use re_dms_capture::progress::Progress;
use re_dms_shared::Lsn;
use tokio_postgres::NoTls;

const COMMITS: usize = 200;

/// Commits one after the other with pauses between; gives the milliseconds from a commit's return to its being durable
/// in the local WAL, sorted. One that was durable before the commit returned counts as 0.
pub(crate) async fn measure(url: &str, progress: &Progress) -> Result<Vec<f64>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE IF NOT EXISTS lone (id bigserial PRIMARY KEY, note text)").await?;
    client.batch_execute("SET synchronous_commit = on").await?;
    let mut times = Vec::with_capacity(COMMITS);
    let mut watching = progress.subscribe();
    for _ in 0..COMMITS {
        let pause = rand::rng().random_range(20..80);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let insert = "INSERT INTO lone (note) VALUES ('x') RETURNING pg_current_wal_insert_lsn()::text";
        let row = client.query_one(insert, &[]).await?;
        let committed = Instant::now();
        // The commit's own record comes behind this.
        let before: Lsn = row.get::<_, String>(0).parse()?;
        let wait = watching.wait_for(|state| state.held > before);
        tokio::time::timeout(Duration::from_secs(10), wait).await.context("a commit never arrived")??;
        times.push(committed.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
