//! The loader's own ways: tables that are committed one by one, segments that are applied together, merges that look at
//! a range of keys only.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, kill, loader_pids};
use serde_json::json;
use tokio::time::sleep;
use tokio_postgres::Client;

/// Rows without a key in all of them: what is loaded twice shows.
const ALONE: [&str; 5] = ["alone_1", "alone_2", "alone_3", "alone_4", "alone_5"];

#[tokio::test]
async fn tables_that_are_committed_alone_are_loaded_once_whatever_dies() -> Result<()> {
    let slow = json!({ "faults": { "latency_ms": 40, "commit_latency_ms": 40 } });
    let mut sandbox = Sandbox::up_with_loader(&json!({ "RE_DMS_ATOMIC": "table" }), &slow)?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    let everywhere = |sql: &str| {
        let all: String = ALONE.iter().map(|table| sql.replace("$t", table) + ";").collect();
        format!("BEGIN; {all} COMMIT")
    };
    source.batch_execute(&everywhere("CREATE TABLE $t (n int, line text)")).await?;
    source
        .batch_execute("CREATE TABLE keyed (id int PRIMARY KEY, v int); CREATE TABLE moved_2 (n int)")
        .await?;
    source.batch_execute(&everywhere("INSERT INTO $t VALUES (0, 'first')")).await?;
    sandbox.wait_and_compare()?;

    // One transaction of the source, and a moment in which some of its tables are there and others are not.
    source.batch_execute(&everywhere("INSERT INTO $t SELECT 1, 'x' FROM generate_series(1, 20)")).await?;
    let mut halves = 0;
    for _ in 0..4_000 {
        let counts = counts(&warehouse).await?;
        if counts.iter().all(|count| *count == 21) {
            break;
        }
        halves += usize::from(counts.contains(&21));
        sleep(Duration::from_millis(5)).await;
    }
    ensure!(halves > 0, "the tables changed all at once");

    let (mut killed, mut halfway) = (0, 0);
    for round in 2..14_i64 {
        let next = round + 1;
        source
            .batch_execute(&everywhere(&format!(
                "INSERT INTO $t SELECT {round}, 'x' FROM generate_series(1, 20)"
            )))
            .await?;
        source
            .batch_execute(&format!(
                "BEGIN; TRUNCATE alone_3; INSERT INTO alone_3 VALUES ({round}, 'after'); ALTER TABLE alone_2 ADD COLUMN c{round} int;
                 INSERT INTO alone_2 (n, c{round}) VALUES ({round}, {round}); DELETE FROM keyed WHERE id = {round} - 1;
                 INSERT INTO keyed VALUES ({round}, {round}); COMMIT;
                 BEGIN; INSERT INTO moved_{round} VALUES ({round}); ALTER TABLE moved_{round} RENAME TO moved_{next};
                 INSERT INTO moved_{next} VALUES ({next}); COMMIT"
            ))
            .await?;
        // After another table of another segment each time.
        if until_loaded_alone(&warehouse, 2 + round % 3).await? {
            halfway += 1;
        }
        for pid in loader_pids(sandbox.pid("aws")?) {
            kill(pid);
            killed += 1;
        }
        if killed >= 3 && halfway >= 3 {
            break;
        }
    }
    ensure!(killed > 0 && halfway > 0, "{killed} loaders were killed, {halfway} segments half loaded");
    sandbox.wait_and_compare()?;

    // One that commits whole segments goes on with what is done in part.
    source.batch_execute(&everywhere("INSERT INTO $t SELECT 99, 'y' FROM generate_series(1, 20)")).await?;
    ensure!(until_loaded_alone(&warehouse, 2).await?, "no segment was loaded in part");
    sandbox.restart_with_loader(&json!({ "RE_DMS_ATOMIC": "segment" }))?;
    for pid in loader_pids(sandbox.pid("aws")?) {
        kill(pid);
    }
    source.batch_execute(&everywhere("INSERT INTO $t VALUES (100, 'z')")).await?;
    sandbox.wait_and_compare()?;
    ensure!(loaded_alone(&warehouse).await? <= 1, "what was recorded of single tables stays");
    sandbox.down()
}

async fn counts(warehouse: &Client) -> Result<Vec<i64>> {
    let sql: Vec<_> = ALONE.iter().map(|table| format!("(SELECT count(*) FROM public.{table})")).collect();
    let row = warehouse.query_one(&format!("SELECT {}", sql.join(", ")), &[]).await?;
    Ok((0..ALONE.len()).map(|place| row.get(place)).collect())
}

/// Waits until a segment is loaded in part: the log's last row stays when it is complete.
async fn until_loaded_alone(warehouse: &Client, tables: i64) -> Result<bool> {
    for _ in 0..2_000 {
        if loaded_alone(warehouse).await? >= tables {
            return Ok(true);
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(false)
}

/// Tables that are recorded as done, though their segment is not.
async fn loaded_alone(warehouse: &Client) -> Result<i64> {
    let log = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 're_dms' AND table_name LIKE 'tables%'";
    let log: String = warehouse.query_one(log, &[]).await?.get(0);
    let sql = format!("SELECT count(*) FROM re_dms.{log} WHERE event::text = 'loaded'");
    Ok(warehouse.query_one(&sql, &[]).await?.get(0))
}

/// What happens to a table, by its name and its keys.
type Change = dyn Fn(&str, &str) -> String;

/// Keys at the ends of what their types hold, on both sides of zero, with digits that compare otherwise as text.
const KEYS: [(&str, &str, &str); 9] = [
    ("small", "smallint", "-32768, -1, 0, 1, 9, 10, 32767"),
    ("integer", "int", "-2147483648, -10, -9, 0, 9, 10, 2147483647"),
    ("big", "bigint", "-9223372036854775808, -1, 0, 2, 10, 9007199254740993, 9223372036854775807"),
    (
        "fixed",
        "numeric(38,10)",
        "-9999999999999999999999999999.9999999999, -0.0000000001, 0, 0.0000000001, 2, 10, 9999999999999999999999999999.9999999999",
    ),
    (
        "day",
        "date",
        "'0001-01-01', '0999-12-31', '1969-12-31', '1970-01-01', '2000-02-29', '2024-12-31', '9999-12-31'",
    ),
    (
        "moment",
        "timestamp",
        "'0001-01-01', '1969-12-31 23:59:59.999999', '1970-01-01', '1970-01-01 00:00:00.000001', '2000-01-01', '2024-06-30 12:00', '9999-12-31 23:59:59.999999'",
    ),
    (
        "instant",
        "timestamptz",
        "'0001-01-02 00:00+00', '1969-12-31 23:59:59.999999+00', '1970-01-01 02:00+02', '1970-01-01 00:00:00.000001+00', '2024-03-31 01:59:59+00', '2024-03-31 03:00+02', '9999-12-30 23:59:59.999999+00'",
    ),
    (
        "clock",
        "time",
        "'00:00:00', '00:00:00.000001', '01:00', '09:59:59.999999', '10:00', '12:00', '23:59:59.999999'",
    ),
    // No range for these: equal or not must not hang on their order.
    ("words", "text", "'', ' ', 'a', 'a ', 'B', 'ß', 'ÿ'"),
];

/// The keys at these places.
fn ends(keys: &str, which: [usize; 2]) -> String {
    let keys: Vec<_> = keys.split(", ").collect();
    which.map(|place| keys[place].to_owned()).join(", ")
}

#[tokio::test]
async fn segments_that_wait_are_applied_together_and_keys_at_all_ends_are_found() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let aws = Aws::of(&sandbox).await?;
    let source = sandbox.source().await?;
    for (table, ty, keys) in KEYS {
        let row = |key: &str| format!("({key}, 0, repeat('long', 1000))");
        let rows: Vec<_> = keys.split(", ").map(row).collect();
        source
            .batch_execute(&format!(
                "CREATE TABLE {table} (k {ty} PRIMARY KEY, v int, big text); ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL;
                 INSERT INTO {table} VALUES {}",
                rows.join(", ")
            ))
            .await?;
    }
    sandbox.wait_and_compare()?;

    aws.deliver(false).await?;
    sleep(Duration::from_secs(2)).await;
    let before = aws.keys("/manifest.json").await?.len();
    // Updates that leave TOASTed values where they are, deletes and key changes, each at the ends and in the middle.
    let changes: [&Change; 5] = [
        &|table, keys| format!("UPDATE {table} SET v = 1 WHERE k IN ({})", ends(keys, [0, 6])),
        &|table, keys| format!("UPDATE {table} SET v = 2, big = 'short' WHERE k IN ({})", ends(keys, [3, 5])),
        &|table, keys| format!("DELETE FROM {table} WHERE k IN ({})", ends(keys, [0, 4])),
        &|table, keys| {
            let keys: Vec<_> = keys.split(", ").collect();
            format!(
                "UPDATE {table} SET k = {} WHERE k = {}; UPDATE {table} SET k = {} WHERE k = {}",
                keys[0], keys[6], keys[4], keys[1]
            )
        },
        &|table, keys| {
            format!(
                "UPDATE {table} SET v = v + 10 WHERE k IN ({}); DELETE FROM {table} WHERE k IN ({})",
                ends(keys, [0, 4]),
                ends(keys, [2, 2])
            )
        },
    ];
    for change in changes {
        let sql: Vec<_> = KEYS.iter().map(|(table, _, keys)| change(table, keys)).collect();
        let barrier = "SELECT pg_logical_emit_message(true, 're_dms.barrier', '')";
        source.batch_execute(&format!("BEGIN; {}; {barrier}; COMMIT", sql.join("; "))).await?;
        sleep(Duration::from_millis(700)).await;
    }
    // And some that are small enough to go together.
    for n in 1..=5 {
        let barrier = "SELECT pg_logical_emit_message(true, 're_dms.barrier', '')";
        source
            .batch_execute(&format!("BEGIN; INSERT INTO integer VALUES ({n}00, {n}, ''); {barrier}; COMMIT"))
            .await?;
        sleep(Duration::from_millis(700)).await;
    }
    let staged = aws.keys("/manifest.json").await?.len();
    ensure!(staged >= before + 10, "{staged} segments, {before} before");
    aws.deliver(true).await?;
    sandbox.wait_and_compare()?;

    let warehouse = sandbox.warehouse().await?;
    let ledger = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 're_dms' AND table_name LIKE 'ledger%'";
    let ledger: String = warehouse.query_one(ledger, &[]).await?.get(0);
    let together =
        format!("SELECT max(n) FROM (SELECT count(*) AS n FROM re_dms.{ledger} GROUP BY xmin::text) AS t");
    let together: i64 = warehouse.query_one(&together, &[]).await?.get(0);
    ensure!(together >= 2, "no two of the segments that waited were one transaction");
    let applied = warehouse.query_one(&format!("SELECT count(*) FROM re_dms.{ledger}"), &[]).await?;
    let applied = usize::try_from(applied.get::<_, i64>(0)).context("a count")?;
    ensure!(applied >= staged, "{applied} of {staged} segments are in");
    sandbox.down()
}
