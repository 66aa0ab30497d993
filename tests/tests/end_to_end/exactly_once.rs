//! A segment is applied exactly once, in order, whatever the queue does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_shared::manifest::{Manifest, sha256_hex};
use re_dms_shared::message::{self, SegmentStaged};
use re_dms_tests::{Aws, Sandbox};
use tokio::time::sleep;

#[tokio::test]
async fn a_message_delivered_three_times_changes_nothing() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let aws = Aws::of(&sandbox).await?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE log (at int, line text); INSERT INTO log SELECT g, 'x' FROM generate_series(1, 500) g").await?;
    sandbox.wait_and_compare()?;
    // More statements than a batch and even its merges hold: staged side by side, merged in a session.
    source
        .batch_execute(
            "DO $$ BEGIN FOR n IN 1..45 LOOP
                 EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, v text)', n);
                 EXECUTE format('INSERT INTO many_%s SELECT g, g FROM generate_series(1, 20) g', n);
             END LOOP; END $$;
             INSERT INTO log SELECT g, 'y' FROM generate_series(1, 500) g",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let staging = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'stage.%'";
    let left: i64 = sandbox.warehouse().await?.query_one(staging, &[]).await?.get(0);
    ensure!(left == 0, "{left} staging tables are left");
    let before = ledger(&sandbox).await?;

    // Rows without a key: anything loaded twice would show.
    let segments = segments(&aws).await?;
    ensure!(segments.len() >= 2, "expected two segments at least");
    for _ in 0..3 {
        for segment in &segments {
            announce(&aws, segment).await?;
        }
    }
    until_the_queue_is_empty(&aws).await?;
    ensure!(ledger(&sandbox).await? == before, "the ledger changed");
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn a_gap_is_refused_and_healed() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let aws = Aws::of(&sandbox).await?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await?;
    source.batch_execute("INSERT INTO t VALUES (0)").await?;
    sandbox.wait_and_compare()?;

    // Segments pile up, and the queue loses all messages but the last one's.
    aws.deliver(false).await?;
    sleep(Duration::from_secs(2)).await;
    let staged_before = segments(&aws).await?.len();
    for id in 1..=3 {
        source
            .batch_execute(&format!(
                "INSERT INTO t VALUES ({id}); SELECT pg_logical_emit_message(true, 're_dms.barrier', '')"
            ))
            .await?;
        sleep(Duration::from_millis(700)).await;
    }
    let staged = segments(&aws).await?;
    ensure!(staged.len() >= staged_before + 3, "a barrier cuts a segment");
    aws.sqs.purge_queue().queue_url(&aws.queue_url).send().await?;
    announce(&aws, staged.last().context("a segment")?).await?;
    let last_loaded = ledger(&sandbox).await?.last().context("a ledger row")?.0;
    aws.deliver(true).await?;
    sandbox.wait_and_compare()?;
    let ledger = ledger(&sandbox).await?;
    ensure!(ledger.last().context("a ledger row")?.0 >= last_loaded + 3);
    let seqs: Vec<i64> = ledger.iter().map(|row| row.0).collect();
    let all: Vec<i64> = (1..).take(seqs.len()).collect();
    ensure!(seqs == all, "one row a segment, no gap: {seqs:?}");
    Ok(())
}

/// Sequence number and checksum of each ledger row, in order.
async fn ledger(sandbox: &Sandbox) -> Result<Vec<(i64, String)>> {
    let warehouse = sandbox.warehouse().await?;
    let tables = warehouse
        .query_one("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 're_dms' AND table_name LIKE 'ledger%'", &[])
        .await?;
    let sql = format!(
        "SELECT seq::bigint, manifest_sha256::text FROM re_dms.{} ORDER BY epoch, seq",
        tables.get::<_, &str>(0)
    );
    let rows = warehouse.query(&sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Messages for all segments on S3, in order.
async fn segments(aws: &Aws) -> Result<Vec<SegmentStaged>> {
    let mut keys = aws.keys("/manifest.json").await?;
    keys.sort();
    let mut messages = Vec::new();
    for key in keys {
        let json = aws.object(&key).await?;
        let manifest = Manifest::from_json(&json)?;
        messages.push(SegmentStaged {
            format: message::FORMAT,
            stream: manifest.stream,
            epoch: manifest.epoch,
            seq: manifest.seq,
            bucket: aws.bucket.clone(),
            manifest_key: key,
            manifest_sha256: sha256_hex(&json),
            ack_queue_url: aws.ack_queue_url.clone(),
        });
    }
    Ok(messages)
}

async fn announce(aws: &Aws, segment: &SegmentStaged) -> Result<()> {
    let id: u128 = rand::random();
    aws.sqs
        .send_message()
        .queue_url(&aws.queue_url)
        .message_body(serde_json::to_string(segment)?)
        .message_group_id(&segment.stream)
        .message_deduplication_id(id.to_string())
        .send()
        .await?;
    Ok(())
}

async fn until_the_queue_is_empty(aws: &Aws) -> Result<()> {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    for _ in 0..150 {
        let get = aws.sqs.get_queue_attributes().queue_url(&aws.queue_url);
        let attributes = get.attribute_names(Name::All).send().await?;
        let attributes = attributes.attributes.unwrap_or_default();
        let count =
            |name: &Name| attributes.get(name).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        if count(&Name::ApproximateNumberOfMessages) + count(&Name::ApproximateNumberOfMessagesNotVisible)
            == 0
        {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("the loader did not empty the queue")
}
