//! `re_dms verify`: what somebody changed in the warehouse is found, and nothing else is.

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Sandbox, run};
use serde_json::Value;
use tokio_postgres::Client;

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
        (-3, 99999999999999.9999, 'NaN', 'Infinity', 'ÄÖ😀|n', 'n', 'v', '\"\\\\\\\"\"', decode(repeat('00ff', 20000), 'hex'),
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
    CREATE TABLE empty (id int PRIMARY KEY);";

#[tokio::test]
async fn planted_differences_are_found_and_nothing_else() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    sandbox.wait_and_compare()?;
    let equal = verify(&sandbox, &[])?;
    ensure!(equal.verdict == "equal", "{:#}", equal.report);
    ensure!(equal.table("things")?["source_rows"] == 3007, "{:#}", equal.report);
    let sampled = verify(&sandbox, &["--table", "public.things", "--sample", "30"])?;
    let rows = sampled.table("things")?["source_rows"].as_u64().context("rows")?;
    ensure!(sampled.verdict == "equal" && (300..2000).contains(&rows), "{:#}", sampled.report);

    for (planted, table, how) in PLANTED {
        plant(&warehouse, planted).await.with_context(|| planted.to_owned())?;
        let found = verify(&sandbox, &[])?;
        ensure!(
            found.verdict == "different" && !found.succeeded,
            "{planted} is not found: {:#}",
            found.report
        );
        for report in found.report["tables"].as_array().context("tables")? {
            let is_it = report["table"] == format!("public.{table}");
            ensure!((report["verdict"] == "different") == is_it, "{planted}: {:#}", found.report);
        }
        let differences = &found.table(table)?["differences"];
        for (name, count) in differences.as_object().context("differences")? {
            let expected = how.iter().find(|(what, _)| what == name).map_or(0, |(_, count)| *count);
            ensure!(*count == expected, "{planted}: {differences:#}");
        }
        mend(&sandbox, &source, table).await?;
    }
    let equal = verify(&sandbox, &[])?;
    ensure!(equal.verdict == "equal", "{:#}", equal.report);
    Ok(())
}

type Planted = (&'static str, &'static str, &'static [(&'static str, u64)]);

/// What is done to the warehouse, to which table, and what must be found.
const PLANTED: [Planted; 3] = [
    ("UPDATE things SET t = 'text 1O' WHERE id = 10", "things", &[("changed", 1)]),
    ("DELETE FROM things WHERE id = 77", "things", &[("missing", 1)]),
    ("INSERT INTO log SELECT * FROM log LIMIT 1", "log", &[("copies", 1)]),
];

/// Behind the loader's back.
async fn plant(warehouse: &Client, sql: &str) -> Result<()> {
    let changed = warehouse.execute(sql, &[]).await?;
    ensure!(changed == 1, "it changed {changed} rows");
    Ok(())
}

async fn mend(sandbox: &Sandbox, _source: &Client, table: &str) -> Result<()> {
    let config = sandbox.text("capture_config")?;
    let output = run("re_dms", &["tables", "resync", "--config", config, &format!("public.{table}")])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
