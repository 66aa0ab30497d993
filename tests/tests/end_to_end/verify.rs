//! `re_dms verify`: what somebody changed in the warehouse is found, and nothing else is.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Sandbox, binary, run};
use serde_json::Value;
use tokio_postgres::Client;

use crate::operate::until;

/// A table of everything that is compared, with rows at the edges.
const TABLES: &str = "
    CREATE TABLE things (id bigint PRIMARY KEY, b boolean, i2 smallint, i4 int, n numeric(18,4), big numeric(38,10),
        plain numeric, r real, d double precision, t text, v varchar(20), c char(6), u uuid, bin bytea, day date,
        ts timestamp, tz timestamptz, tm time, tmz timetz, j jsonb, tags text[], mood interval);
    INSERT INTO things
    SELECT i, i % 2 = 0, i % 100, i * 3, i / 7.0, i * 123456789.0123456789, i / 3.0, i / 7.0, 1.0 / i, 'text ' || i,
        'v' || i, 'c' || i, md5(i::text)::uuid, decode(md5(i::text), 'hex'), DATE '2001-01-01' + i,
        TIMESTAMP '2001-01-01 00:00:00.123456' + i * INTERVAL '1 minute 1 microsecond',
        TIMESTAMPTZ '1999-12-31 23:59:59.5+03' + i * INTERVAL '1 hour', TIME '00:00:00.000001' + i * INTERVAL '1 second',
        TIMETZ '10:00:00+02' + i * INTERVAL '1 second', jsonb_build_object('a', i, 'b b', jsonb_build_array(1.5, 'x, y', NULL)),
        ARRAY['a', 'b ' || i, NULL], i * INTERVAL '1 day'
    FROM generate_series(1, 3000) AS i;
    INSERT INTO things (id) VALUES (-1);
    INSERT INTO things (id, n, r, d, t, v, c, j, bin, tm, ts, day, plain) VALUES
        (-2, -0.5, '-0', '-0', '', ' ', '', '[]', '\\x', '24:00', '0001-01-01', '9999-12-31', 'NaN'),
        (-3, 99999999999999.9999, 'NaN', 'Infinity', 'ÄÖ😀|n', 'n', 'v', '\"\\\\\\\"\"', decode(repeat('00ff', 40000), 'hex'),
            '23:59:59.999999', 'infinity', '-infinity', 1e-20),
        (-4, 0, 1.17549435e-38, 4.9e-324, repeat('😀', 20000), NULL, NULL, '{\"k\": {\"z\": [1, 2, {\"q\": \"a: b, c\"}]}}', '\\x00', NULL,
            '1970-01-01', '0001-01-01', 123456789012345678901234567890.5),
        (-5, 0, 3.4028235e38, 1.7976931348623157e308, E'\\n\\t\\\\N', 'x ', 'x', 'null', NULL, NULL, NULL, NULL, -0.10),
        (-6, 0, 16777216, 18446744073709551616, 'a', '', '', '1', NULL, NULL, NULL, NULL, 0),
        (-7, 0, -1e-30, -2.2250738585072014e-308, 'a', '', '', 'true', NULL, NULL, NULL, NULL, 0);
    CREATE TABLE log (at int, what text);
    ALTER TABLE log REPLICA IDENTITY FULL;
    INSERT INTO log SELECT i / 2, 'line ' || i / 4 FROM generate_series(1, 500) AS i;
    CREATE TABLE pairs (a text, b int, v text, PRIMARY KEY (a, b));
    INSERT INTO pairs SELECT 'k' || i % 7, i, 'v' FROM generate_series(1, 100) AS i;
    CREATE TABLE empty (id int PRIMARY KEY);
    CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (500);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (500) TO (1000);
    INSERT INTO parts SELECT i, 'v' FROM generate_series(0, 999) AS i;";

/// What is done to the warehouse behind the loader's back: the table, the SQL, the key as it is shown, and what it is.
const PLANTED: [(&str, &str, &str, &str); 22] = [
    ("things", "UPDATE things SET t = 'text 1O' WHERE id = 10", "10", "changed"),
    ("things", "UPDATE things SET t = NULL WHERE id = -2", "-2", "changed"),
    ("things", "UPDATE things SET n = n + 0.0001 WHERE id = 11", "11", "changed"),
    ("things", "UPDATE things SET big = big + 0.0000000001 WHERE id = 12", "12", "changed"),
    ("things", "UPDATE things SET d = 0.33333333333333337 WHERE id = 3", "3", "changed"),
    ("things", "UPDATE things SET d = 1.0000000000000002 WHERE id = 1", "1", "changed"),
    ("things", "UPDATE things SET d = 1e-323 WHERE id = -4", "-4", "changed"),
    ("things", "UPDATE things SET ts = ts + INTERVAL '1 microsecond' WHERE id = 13", "13", "changed"),
    ("things", "UPDATE things SET tz = tz - INTERVAL '1 hour' WHERE id = 19", "19", "changed"),
    ("things", "UPDATE things SET tm = tm + INTERVAL '1 microsecond' WHERE id = 20", "20", "changed"),
    ("things", "UPDATE things SET tmz = tmz + INTERVAL '1 microsecond' WHERE id = 21", "21", "changed"),
    ("things", "DELETE FROM things WHERE id = 77", "77", "missing"),
    ("things", "INSERT INTO things SELECT * FROM things WHERE id = 78", "78", "copies"),
    ("things", "INSERT INTO things (id) VALUES (9999)", "9999", "extra"),
    ("things", "UPDATE things SET t = v, v = t WHERE id = 14", "14", "changed"),
    (
        "things",
        r#"UPDATE things SET j = '{"a": 15, "b b": [1.5, "x,y", null]}' WHERE id = 15"#,
        "15",
        "changed",
    ),
    ("things", "UPDATE things SET v = v || ' ' WHERE id = 16", "16", "changed"),
    ("things", "UPDATE things SET bin = set_byte(bin, 79999, 7) WHERE id = -3", "-3", "changed"),
    ("things", "UPDATE things SET b = NOT b WHERE id = 18", "18", "changed"),
    ("pairs", "UPDATE pairs SET v = 'w' WHERE b = 8", "k1, 8", "changed"),
    ("parts", "DELETE FROM parts WHERE id = 999", "999", "missing"),
    ("log", "INSERT INTO log SELECT * FROM log LIMIT 1", "", "copies"),
];

#[tokio::test]
async fn planted_differences_are_found_each_and_repaired() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    sandbox.wait_and_compare()?;
    let equal = verify(&sandbox, &[])?;
    ensure!(equal.verdict == "equal" && equal.succeeded, "{:#}", equal.report);
    ensure!(equal.table("things")?["source_rows"] == 3007, "{:#}", equal.report);
    let sampled = verify(&sandbox, &["--table", "public.things", "--sample", "30"])?;
    let rows = sampled.table("things")?["source_rows"].as_u64().context("rows")?;
    ensure!(sampled.verdict == "equal" && (300..2000).contains(&rows), "{:#}", sampled.report);

    for (_, sql, ..) in PLANTED {
        let changed = warehouse.execute(sql, &[]).await.with_context(|| sql.to_owned())?;
        ensure!(changed == 1, "{sql} changed {changed} rows");
    }
    let found = verify(&sandbox, &["--show-keys"])?;
    ensure!(found.verdict == "different" && !found.succeeded, "{:#}", found.report);
    for table in ["things", "pairs", "parts", "log"] {
        let report = found.table(table)?;
        let keys = report["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let keys: BTreeSet<_> = keys.iter().map(|key| (key["key"].as_str(), key["what"].as_str())).collect();
        let planted = PLANTED.iter().filter(|(of, _, key, _)| *of == table && !key.is_empty());
        let planted: BTreeSet<_> = planted.map(|(_, _, key, what)| (Some(*key), Some(*what))).collect();
        ensure!(keys == planted, "{table}: {keys:?} instead of {planted:?}");
        for what in ["changed", "missing", "extra", "copies"] {
            let expected = PLANTED.iter().filter(|(of, _, _, is)| *of == table && *is == what).count();
            ensure!(report["differences"][what] == expected, "{report:#}");
        }
    }
    // Values only where they were asked for.
    let untold = verify(&sandbox, &[])?;
    ensure!(untold.table("pairs")?["differences"]["changed"] == 1, "{:#}", untold.report);
    ensure!(!untold.report.to_string().contains("k1"), "{:#}", untold.report);
    ensure!(!sandbox.capture_log().contains("k1"), "{}", sandbox.capture_log());

    let repaired = verify(&sandbox, &["--repair"])?;
    ensure!(repaired.verdict == "equal" && repaired.succeeded, "{:#}", repaired.report);
    // Only what differed was read where there is an order; keys that follow each other are one range.
    let whole = Value::from("whole");
    for (table, repair, rows) in [
        ("things", serde_json::json!({"ranges": 7}), Some(18)),
        ("parts", serde_json::json!({"ranges": 1}), Some(1)),
        ("pairs", whole.clone(), None),
        ("log", whole, None),
    ] {
        ensure!(repaired.table(table)?["repair"] == repair, "{:#}", repaired.report);
        let log = std::fs::read_to_string(sandbox.text("capture_log")?)?;
        let name = format!("public.{table}");
        let said = "was read anew, range by range";
        let line = log.lines().find(|line| line.contains(said) && line.contains(&name));
        let told = rows.map(|rows| format!("rows={rows} "));
        ensure!(line.is_some() == told.is_some(), "{line:?}");
        let fits = line.is_none_or(|line| told.is_some_and(|told| line.contains(&told)));
        ensure!(fits, "{line:?}");
    }
    ensure!(!repaired.report.to_string().contains("9999"), "no key is told: {:#}", repaired.report);
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn what_cannot_be_compared_is_told() -> Result<()> {
    let sandbox = Sandbox::up_with(
        "[source]\nexclude_columns = [\"*.*.ssn\"]\nhash_columns = [\"*.*.mail\"]\nhash_key = \"sixteen bytes or more\"\n",
    )?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source
        .batch_execute(
            "CREATE TABLE people (id int PRIMARY KEY, ssn text, mail text, raw json, at point);
             INSERT INTO people SELECT i, 's', 'm' || i, '{\"b\": 1, \"a\": 2}', '(1,2)' FROM generate_series(1, 9) i;
             CREATE TABLE still (id int PRIMARY KEY); INSERT INTO still VALUES (1);
             CREATE TABLE lost (id int PRIMARY KEY); INSERT INTO lost VALUES (1)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let config = sandbox.text("capture_config")?;
    let tables = |arguments: &[&str]| -> Result<()> {
        let output = run("re_dms", &[&["tables"], arguments].concat())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    tables(&["pause", "--config", config, "public.still"])?;
    warehouse.batch_execute("DROP TABLE lost").await?;
    let told = verify(&sandbox, &[])?;
    let columns: Vec<_> = told.table("people")?["columns"].as_array().context("columns")?.iter().collect();
    let reasons = |name: &str| columns.iter().filter(|column| column["column"] == name).count();
    ensure!(["ssn", "mail", "raw"].map(reasons) == [1, 1, 1] && reasons("at") == 0, "{:#}", told.report);
    ensure!(told.table("people")?["verdict"] == "equal", "{:#}", told.report);
    ensure!(told.table("still")?["verdict"] == "unverified", "{:#}", told.report);
    ensure!(told.table("lost")?["verdict"] == "different" && !told.succeeded, "{:#}", told.report);
    ensure!(told.table("lost")?["differences"]["missing"] == 1, "{:#}", told.report);
    tables(&["resume", "--config", config, "public.still"])?;
    let nothing = verify(&sandbox, &["--table", "still", "--table", "public.nowhere"])?;
    ensure!(nothing.table("still")?["verdict"] == "equal", "{:#}", nothing.report);
    ensure!(nothing.table("nowhere")?["verdict"] == "unverified", "{:#}", nothing.report);
    Ok(())
}

#[tokio::test]
async fn no_alarm_is_false_while_everything_is_written_to() -> Result<()> {
    let mut sandbox = Sandbox::up_with("[batch]\ninterval = \"200ms\"\n[verify]\ninterval = \"1s\"\n")?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source
        .batch_execute(
            "CREATE TABLE busy (id int PRIMARY KEY, v text, big text); ALTER TABLE busy ALTER big SET STORAGE EXTERNAL;
             CREATE TABLE heap (at int, v text); ALTER TABLE heap REPLICA IDENTITY FULL;
             INSERT INTO busy SELECT i, 'v', repeat('x', 3000) FROM generate_series(1, 2000) i;
             INSERT INTO heap SELECT i % 50, 'v' FROM generate_series(1, 500) i",
        )
        .await?;
    sandbox.wait(120)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..4 {
        let (client, stop) = (sandbox.source().await?, Arc::clone(&stop));
        writers.push(tokio::spawn(async move { write(&client, number, &stop).await }));
    }
    let mut seen = BTreeSet::new();
    let started = Instant::now();
    while seen.len() < 5 {
        ensure!(started.elapsed() < Duration::from_secs(150), "only {seen:?}:\n{}", sandbox.capture_log());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = sandbox.capture_status()?;
        let verified = &status["verified"];
        let Some(id) = verified["id"].as_str() else { continue };
        let fine = verified["different"].as_array().is_some_and(Vec::is_empty)
            && verified["unverified"].as_array().is_some_and(Vec::is_empty)
            && verified["error"].is_null();
        ensure!(fine, "{verified:#}\n{}", sandbox.capture_log());
        seen.insert(id.to_owned());
    }
    let asked = verify(&sandbox, &[])?;
    ensure!(asked.verdict == "equal", "{:#}", asked.report);
    ensure!(asked.table("busy")?["source_rows"].as_u64() > Some(1000), "{:#}", asked.report);
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        ensure!(writer.await?? > 20, "a writer stood still");
    }
    sandbox.wait_and_compare()?;
    // What is found by itself is told.
    let changed = warehouse.execute("UPDATE heap SET v = 'planted' WHERE at = 7", &[]).await?;
    ensure!(changed > 0, "there is nothing to change");
    let told = until(|| {
        let status = sandbox.capture_status()?;
        let different = status["verified"]["different"].as_array().cloned().unwrap_or_default();
        Ok((!different.is_empty()).then_some(different))
    })
    .await?;
    ensure!(told == ["public.heap"], "{told:?}");
    sandbox.wait(120)?;

    // Killed in the middle of it, capture or command leave nothing behind that holds anything up.
    for round in 0..4 {
        let mut command = Command::new(binary("re_dms"));
        command.args(["verify", "--timeout", "60", "--config", sandbox.text("capture_config")?]);
        let mut command = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..900))).await;
        command.kill()?;
        command.wait()?;
        if round % 2 == 0 {
            sandbox.restart_capture()?;
        }
        source.batch_execute("INSERT INTO heap VALUES (-1, 'goes on')").await?;
        sandbox.wait(60)?;
    }
    sandbox.kill_capture()?;
    until(|| Ok((!sandbox.runs("capture")?).then_some(()))).await?;
    let slots = "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots";
    let started = Instant::now();
    loop {
        let slots: String = source.query_one(slots, &[]).await?.get(0);
        if !slots.contains(' ') {
            break;
        }
        ensure!(started.elapsed() < Duration::from_secs(30), "more than the stream's own: {slots}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Inserts, updates, deletes, new keys and rollbacks, some of them slow; says how many transactions there were.
async fn write(client: &Client, number: i32, stop: &AtomicBool) -> Result<u32> {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = rand::random_range(1..2000);
        let new = 10_000 * (number + 1) + rand::random_range(0..500);
        let sql = match rand::random_range(0..9) {
            0 => format!(
                "INSERT INTO busy VALUES ({new}, 'new', repeat('y', 4000)) ON CONFLICT (id) DO UPDATE SET v = 'again'"
            ),
            1 => format!("DELETE FROM busy WHERE id = {new}"),
            2 => format!(
                "UPDATE busy SET id = {new} WHERE id = {id} AND NOT EXISTS (SELECT FROM busy WHERE id = {new})"
            ),
            3 => format!("UPDATE busy SET v = v || '{number}' WHERE id BETWEEN {id} AND {id} + 20"),
            4 => format!("INSERT INTO heap SELECT {id} % 50, 'w' FROM generate_series(1, 5)"),
            5 => {
                format!("DELETE FROM heap WHERE ctid IN (SELECT ctid FROM heap WHERE at = {id} % 50 LIMIT 3)")
            }
            6 => format!("UPDATE busy SET big = repeat('z', 3500) WHERE id = {id}"),
            7 => format!("BEGIN; UPDATE busy SET v = 'never' WHERE id = {id}; ROLLBACK"),
            _ => format!("BEGIN; UPDATE busy SET v = 'slow' WHERE id = {id}; SELECT pg_sleep(0.3); COMMIT"),
        };
        if client.batch_execute(&sql).await.is_err() {
            // Two of them waited for each other.
            client.batch_execute("ROLLBACK").await?;
        }
        done += 1;
    }
    Ok(done)
}

/// Whatever the tables are made of, nothing is taken for a difference that is none.
pub(crate) fn no_difference_is_found(sandbox: &Sandbox) -> Result<()> {
    let found = verify(sandbox, &[])?;
    let tables = found.report["tables"].as_array().context("tables")?;
    ensure!(found.verdict == "equal" && !tables.is_empty(), "{:#}", found.report);
    Ok(())
}

struct Verified {
    report: Value,
    verdict: String,
    succeeded: bool,
}

impl Verified {
    fn table(&self, name: &str) -> Result<&Value> {
        let tables = self.report["tables"].as_array().context("tables")?;
        let found = tables.iter().find(|table| table["table"] == format!("public.{name}"));
        found.with_context(|| format!("{name} is not in {:#}", self.report))
    }
}

/// `re_dms verify --json`
fn verify(sandbox: &Sandbox, arguments: &[&str]) -> Result<Verified> {
    let mut all = vec!["verify", "--json", "--timeout", "120", "--config", sandbox.text("capture_config")?];
    all.extend(arguments);
    let output = run("re_dms", &all)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{told}\n{}", sandbox.capture_log()))?;
    let verdict = report["verdict"].as_str().context("verdict")?.to_owned();
    Ok(Verified { report, verdict, succeeded: output.status.success() })
}
