//! PostgreSQL's less common cases, as its own server sends them.

use anyhow::{Result, ensure};
use re_dms_tests::{Sandbox, wait_for_end};

#[tokio::test]
async fn transactions_of_every_kind() -> Result<()> {
    let mut sandbox = Sandbox::up_with("[batch]\ninterval = \"300ms\"\n")?;
    let source = sandbox.source().await?;
    source.batch_execute("ALTER SYSTEM SET max_prepared_transactions = 10").await?;
    sandbox.restart_source()?;
    let source = sandbox.source().await?;

    // TRUNCATE of several tables, of those that refer to them, and of sequences, among rows.
    source
        .batch_execute(
            "CREATE TABLE parent (id serial PRIMARY KEY, v text);
             CREATE TABLE child (id serial PRIMARY KEY, parent_id int REFERENCES parent, v text);
             CREATE TABLE apart (id serial PRIMARY KEY, v text);
             INSERT INTO parent (v) SELECT 'old' FROM generate_series(1, 5);
             INSERT INTO child (parent_id) SELECT generate_series(1, 5);
             INSERT INTO apart (v) SELECT 'old' FROM generate_series(1, 5)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    source
        .batch_execute(
            "BEGIN; INSERT INTO parent (v) VALUES ('gone at once'); UPDATE apart SET v = 'gone at once';
             TRUNCATE parent, apart RESTART IDENTITY CASCADE;
             INSERT INTO parent (v) VALUES ('new'), ('new'); INSERT INTO child (parent_id) VALUES (1);
             UPDATE parent SET v = 'newer' WHERE id = 2; COMMIT;
             BEGIN; INSERT INTO apart (v) VALUES ('a'); SAVEPOINT s; TRUNCATE apart; ROLLBACK TO s; COMMIT",
        )
        .await?;
    sandbox.wait_and_compare()?;

    // Two-phase commits arrive when they are committed, also when the server was restarted before.
    source
        .batch_execute("BEGIN; INSERT INTO apart VALUES (100, 'prepared'); PREPARE TRANSACTION 'kept'")
        .await?;
    source
        .batch_execute("BEGIN; INSERT INTO apart VALUES (101, 'prepared'); PREPARE TRANSACTION 'lost'")
        .await?;
    source.batch_execute("INSERT INTO apart VALUES (102, 'between')").await?;
    sandbox.wait_and_compare()?;
    sandbox.restart_source()?;
    let source = sandbox.source().await?;
    source.batch_execute("COMMIT PREPARED 'kept'").await?;
    source.batch_execute("ROLLBACK PREPARED 'lost'").await?;
    sandbox.wait_and_compare()?;
    let row = source.query_one("SELECT count(*) FROM apart WHERE id IN (100, 101)", &[]).await?;
    ensure!(row.get::<_, i64>(0) == 1, "the source itself");

    // Rows that came from elsewhere, messages of others, transactions without rows, and what is not replicated at all.
    source
        .batch_execute(
            "SELECT pg_replication_origin_create('elsewhere'), pg_replication_origin_session_setup('elsewhere')",
        )
        .await?;
    source.batch_execute("INSERT INTO apart VALUES (200, 'from elsewhere')").await?;
    source.batch_execute("SELECT pg_replication_origin_session_reset()").await?;
    source
        .batch_execute(
            "BEGIN; SELECT pg_logical_emit_message(true, 'others', 'x'); INSERT INTO apart VALUES (201, 'y'); COMMIT;
             SELECT pg_logical_emit_message(false, 'others', 'x'); BEGIN; SELECT txid_current(); COMMIT;
             CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY); INSERT INTO unlogged VALUES (1);
             CREATE TEMP TABLE temporary (id int PRIMARY KEY); INSERT INTO temporary VALUES (1);
             SELECT nextval('apart_id_seq');
             CREATE SCHEMA \"Sche.ma\"; CREATE TABLE \"Sche.ma\".\"Ta \"\"b.le\" (\"Co.l\" int PRIMARY KEY, v text);
             INSERT INTO \"Sche.ma\".\"Ta \"\"b.le\" VALUES (1, 'quoted'), (2, 'q');
             UPDATE \"Sche.ma\".\"Ta \"\"b.le\" SET v = 'again' WHERE \"Co.l\" = 2",
        )
        .await?;
    source.batch_execute("COPY apart FROM PROGRAM 'printf \"300\\tcopied\\n301\\tagain\\n\"'").await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let arrived =
        warehouse.query_one("SELECT count(*) FROM apart WHERE id IN (200, 201, 300, 301)", &[]).await?;
    ensure!(arrived.get::<_, i64>(0) == 4, "all of them are there");
    Ok(())
}

/// As many columns as both sides take, all operations, and rows that get another key and keep a value that is not sent.
async fn widest(source: &tokio_postgres::Client) -> Result<()> {
    let columns: Vec<String> = (0..1597).map(|n| format!("c{n} int")).collect();
    let numbers: Vec<String> = (0..1597).map(|n| n.to_string()).collect();
    let (columns, numbers) = (columns.join(", "), numbers.join(", "));
    source
        .batch_execute(&format!(
            "CREATE TABLE widest (id int, region text, toasted text, {columns}, PRIMARY KEY (id, region));
             INSERT INTO widest SELECT g, 'region, \"' || g || ' ', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i), {numbers}
             FROM generate_series(1, 6) g"
        ))
        .await?;
    // A batch of its own for each, so that Redshift has what is not sent again.
    for change in [
        "UPDATE widest SET c1596 = 7 WHERE id = 1",
        "UPDATE widest SET id = id + 100, region = 'é' WHERE id = 2",
        "DELETE FROM widest WHERE id = 3; UPDATE widest SET toasted = 'short' WHERE id = 4; UPDATE widest SET c0 = NULL WHERE id = 5",
    ] {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        source.batch_execute(change).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tables_of_every_kind() -> Result<()> {
    let sandbox = Sandbox::up_with("[batch]\ninterval = \"300ms\"\n")?;
    let source = sandbox.source().await?;
    widest(&source).await?;
    source
        .batch_execute(
            "CREATE TABLE root (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
             CREATE TABLE north PARTITION OF root FOR VALUES IN ('north');
             INSERT INTO root SELECT g, 'north', 'v' FROM generate_series(1, 5) g;
             CREATE TABLE south (LIKE root INCLUDING ALL); ALTER TABLE root ATTACH PARTITION south FOR VALUES IN ('south');
             INSERT INTO south VALUES (10, 'south', 'direct'); UPDATE root SET region = 'south' WHERE id = 3;
             DELETE FROM north WHERE id = 4; UPDATE south SET v = 'again'; TRUNCATE root; INSERT INTO root VALUES (1, 'south', 'last');
             CREATE TABLE generated (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text);
             INSERT INTO generated (id, a, b) VALUES (1, 2, 'x'), (2, 3, 'y'); UPDATE generated SET a = 9 WHERE id = 1;
             CREATE TABLE large (id int PRIMARY KEY, t text, j jsonb, x bytea, n int);
             INSERT INTO large SELECT 1, repeat('é', 2000000), to_jsonb(array_agg(repeat('j', 60000))), NULL, 1 FROM generate_series(1, 30);
             INSERT INTO large SELECT 2, 'small', NULL, decode(repeat('ab', 900000), 'hex'), 1;
             INSERT INTO large SELECT 3, 'small', NULL, decode(repeat('cd', 3000000), 'hex'), 1;
             UPDATE large SET n = 2",
        )
        .await?;
    sandbox.wait_and_compare()?;
    source.batch_execute("UPDATE large SET n = 3; UPDATE large SET id = id + 10 WHERE id < 3").await?;
    sandbox.wait_and_compare()?;
    let log = sandbox.capture_log();
    ensure!(log.contains("met a policy"), "what does not fit is told:\n{log}");

    // What a load has no room for.
    let capture = sandbox.pid("capture")?;
    source
        .batch_execute(&format!(
            "CREATE TABLE wider ({}); INSERT INTO wider VALUES (1)",
            (0..1597).map(|n| format!("c{n} int")).collect::<Vec<_>>().join(", ")
        ))
        .await?;
    wait_for_end(capture)?;
    let log = sandbox.capture_log();
    ensure!(
        log.contains("public.wider: it has 1597 columns, and at most 1596") && log.contains("hint:"),
        "{log}"
    );
    Ok(())
}
