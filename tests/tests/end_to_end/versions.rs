//! A short walk through all that differs between PostgreSQL's versions, on each version that is supported. The rest of
//! the suite runs on the sandbox's default source, PostgreSQL 18.

use anyhow::{Result, ensure};
use re_dms_tests::{Sandbox, postgresql, run};
use tokio_postgres::Client;

#[tokio::test]
async fn postgresql_14() -> Result<()> {
    walk(14).await
}

#[tokio::test]
async fn postgresql_15() -> Result<()> {
    walk(15).await
}

#[tokio::test]
async fn postgresql_16() -> Result<()> {
    walk(16).await
}

#[tokio::test]
async fn postgresql_17() -> Result<()> {
    walk(17).await
}

const TABLES: &str = "
    CREATE TABLE plain (id int PRIMARY KEY, v text, doc text);
    ALTER TABLE plain ALTER doc SET STORAGE EXTERNAL;
    CREATE TABLE truncated (id int PRIMARY KEY);
    CREATE TABLE parts (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT;";

const CHANGES: &str = "
    INSERT INTO plain SELECT g, 'v' || g, repeat(md5(g::text), 200) FROM generate_series(1, 100) g;
    UPDATE plain SET v = 'changed' WHERE id % 3 = 0;
    UPDATE plain SET id = id + 1000 WHERE id <= 10;
    DELETE FROM plain WHERE id BETWEEN 50 AND 60;
    INSERT INTO truncated SELECT generate_series(1, 10);
    BEGIN; INSERT INTO truncated VALUES (11); TRUNCATE truncated; INSERT INTO truncated VALUES (12); COMMIT;
    BEGIN; INSERT INTO plain VALUES (200, 'kept'); SAVEPOINT s; UPDATE plain SET v = 'lost'; ROLLBACK TO s; COMMIT;
    INSERT INTO parts SELECT g, CASE g % 2 WHEN 0 THEN 'north' ELSE 'south' END, 'v' FROM generate_series(1, 20) g;
    UPDATE parts SET region = 'south' WHERE id = 2;
    DELETE FROM parts WHERE id = 4;";

/// What comes after the sides have been compared once: rows that Redshift holds already.
const LATER_CHANGES: &str = "
    UPDATE plain SET v = 'the document stays' WHERE id > 1000;
    UPDATE plain SET id = id + 5000 WHERE id = 100;
    ALTER TABLE plain ADD COLUMN added numeric(10,2);
    ALTER TABLE parts ADD COLUMN added int;
    INSERT INTO plain VALUES (300, 'wider', NULL, 12.34);
    UPDATE plain SET added = 1 WHERE id = 70;
    INSERT INTO parts VALUES (500, 'north', 'wider', 7);";

async fn walk(major: i32) -> Result<()> {
    let programs = postgresql::programs(major.try_into()?)?;
    let mut sandbox = Sandbox::up_with_source(&programs, "[source]\ndecoding_work_mem = \"64KiB\"\n")?;
    let source = sandbox.source().await?;
    let row = source.query_one("SELECT current_setting('server_version_num')::int / 10000", &[]).await?;
    ensure!(row.get::<_, i32>(0) == major, "another version runs: {}", row.get::<_, i32>(0));
    // What the server was asked for, in its own words.
    let asked: String = source
        .query_one(
            "SELECT query FROM pg_stat_activity WHERE backend_type = 'walsender' AND query LIKE 'START_REPLICATION%'",
            &[],
        )
        .await?
        .get(0);
    for option in ["proto_version '2'", "messages 'true'", "streaming 'on'"] {
        ensure!(asked.contains(option), "{option} is missing: {asked}");
    }

    source.batch_execute(TABLES).await?;
    source.batch_execute(CHANGES).await?;
    sandbox.wait_and_compare()?;
    source.batch_execute(LATER_CHANGES).await?;
    sandbox.wait_and_compare()?;

    // Two transactions at once, both larger than the server's memory for them; one is rolled back.
    let (mut one, mut two) = (sandbox.source().await?, sandbox.source().await?);
    let rows = "INSERT INTO plain SELECT g, repeat(md5(g::text), 20) FROM generate_series($1, $1 + 499) g";
    let (kept, lost) = (one.transaction().await?, two.transaction().await?);
    kept.batch_execute(&rows.replace("$1", "10000")).await?;
    lost.batch_execute(&rows.replace("$1", "20000")).await?;
    let part = format!("SAVEPOINT s; {}; ROLLBACK TO s", rows.replace("$1", "30000"));
    kept.batch_execute(&part).await?;
    kept.batch_execute("DELETE FROM plain WHERE id % 2 = 0").await?;
    lost.rollback().await?;
    kept.commit().await?;
    sandbox.wait_and_compare()?;
    let streamed: i64 = source
        .query_one("SELECT sum(stream_count)::bigint FROM pg_stat_replication_slots", &[])
        .await?
        .get(0);
    ensure!(streamed > 0, "nothing was streamed while in progress, so nothing was tested");

    // Who holds tables while he changes them keeps the capture from nothing, not even from its start.
    sandbox.kill_capture()?;
    source
        .batch_execute("INSERT INTO plain VALUES (350, 'held'); INSERT INTO parts VALUES (350, 'north')")
        .await?;
    let changing = two.transaction().await?;
    changing.batch_execute("LOCK TABLE plain, parts, truncated IN ACCESS EXCLUSIVE MODE").await?;
    sandbox.up_again()?;
    sandbox.wait(60)?;
    changing.rollback().await?;
    sandbox.wait_and_compare()?;

    sandbox.restart_source()?;
    let source = sandbox.source().await?;
    source.batch_execute("INSERT INTO plain VALUES (400, 'after the restart'); TRUNCATE parts").await?;
    sandbox.wait_and_compare()?;
    copied_and_read_anew(&mut sandbox, &source).await
}

/// Another stream begins with an initial copy; then a table is read anew range by range, and one as a whole.
async fn copied_and_read_anew(sandbox: &mut Sandbox, source: &Client) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    sandbox.kill_capture()?;
    warehouse.batch_execute("DROP TABLE plain, parts, truncated").await?;
    source
        .batch_execute("INSERT INTO parts VALUES (600, 'north', 'copied'), (601, 'south', 'copied')")
        .await?;
    sandbox.new_stream("copied", "")?;
    sandbox.wait_and_compare()?;
    warehouse
        .batch_execute(
            "DELETE FROM plain WHERE id % 3 = 1; INSERT INTO plain (id, v) VALUES (-1, 'surplus');
             UPDATE parts SET v = 'spoilt'",
        )
        .await?;
    ensure!(!sandbox.diff()?.0, "the damage is to be seen");
    let config = sandbox.text("capture_config")?;
    let tables = ["public.plain", "public.parts"];
    let output = run("re_dms", &[&["tables", "resync", "--config", config], tables.as_slice()].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(sandbox.text("capture_log")?)?;
    ensure!(log.contains("was read anew, range by range"), "{}", sandbox.capture_log());
    ensure!(log.contains("reading tables anew"), "{}", sandbox.capture_log());
    sandbox.wait_and_compare()
}
