//! What is easily lost: names that go round, tables that change their names while they stand still, what only Redshift has of
//! a row.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox};
use tokio_postgres::Client;

use super::table_rules::{columns, held, re_dms, rows};

const RULES: &str = r#"
    [batch]
    interval = "300ms"
    [source]
    look_interval = "1s"
    [[tables]]
    match = "public.keeps"
    dropped_columns = "keep"
    [[tables]]
    match = "public.holds*"
    schema_changes = "hold"
"#;

/// Without the event trigger, and faster than the catalog can be asked: each name stands for one table, then for the other.
async fn exchange(sandbox: &Sandbox, source: &Client) -> Result<()> {
    source
        .batch_execute(
            "CREATE TABLE this (id int PRIMARY KEY, v text); INSERT INTO this SELECT g, 'this' FROM generate_series(1, 5) g;
             CREATE TABLE that (id int PRIMARY KEY, v text, w int); INSERT INTO that SELECT g, 'that' FROM generate_series(1, 5) g",
        )
        .await?;
    sandbox.wait_and_compare()?;
    for round in 0..24 {
        let swap = "BEGIN; ALTER TABLE this RENAME TO x; ALTER TABLE that RENAME TO this; ALTER TABLE x RENAME TO that; COMMIT";
        source.batch_execute(swap).await?;
        let id = 10 + round;
        // Written to by turns: none, both, one, the other one.
        let written: &[&str] = [&[][..], &["this", "that"], &["this"], &["that"]][round % 4];
        for table in written {
            source.batch_execute(&format!("INSERT INTO {table} (id, v) VALUES ({id}, 'round {id}')")).await?;
        }
        if round % 8 == 7 {
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        }
    }
    source
        .batch_execute("INSERT INTO this (id) VALUES (100); UPDATE that SET v = 'end' WHERE id = 1")
        .await?;
    sandbox.wait_and_compare()?;
    let marked = sandbox.capture_status()?["needs_resync"].to_string();
    ensure!(marked == "[]", "nothing is in doubt: {marked}");
    Ok(())
}

/// What rows hold in a dropped column goes with them when their keys change, and not to others that get their keys.
async fn keep(sandbox: &Sandbox, source: &Client) -> Result<()> {
    source
        .batch_execute(
            "CREATE TABLE keeps (id int PRIMARY KEY, a text, b int); INSERT INTO keeps SELECT g, 'old' || g, g FROM generate_series(1, 6) g",
        )
        .await?;
    sandbox.wait_and_compare()?;
    source
        .batch_execute(
            "ALTER TABLE keeps DROP a;
             BEGIN; UPDATE keeps SET id = 11, b = 0 WHERE id = 1;
             UPDATE keeps SET b = 20 WHERE id = 2; UPDATE keeps SET id = 20 WHERE id = 2; UPDATE keeps SET id = 21 WHERE id = 20;
             DELETE FROM keeps WHERE id = 3; INSERT INTO keeps VALUES (3, 30);
             DELETE FROM keeps WHERE id = 4; UPDATE keeps SET id = 4 WHERE id = 5;
             INSERT INTO keeps VALUES (7, 7); UPDATE keeps SET id = 8 WHERE id = 7; COMMIT",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let kept = "SELECT concat_ws(':', id, b, COALESCE(a, '-')) FROM keeps ORDER BY id";
    let found = rows(&sandbox.warehouse().await?, kept).await?;
    ensure!(found == "3:30:- 4:5:old5 6:6:old6 8:7:- 11:0:old1 21:20:old2", "{found}");
    Ok(())
}

/// A table that stands still gives its name to another one, and takes one from a table that does not.
async fn hold(sandbox: &Sandbox, source: &Client) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    source
        .batch_execute(
            "CREATE TABLE holds (id int PRIMARY KEY, a text); INSERT INTO holds SELECT g, 'old' FROM generate_series(1, 3) g;
             CREATE TABLE plain (id int PRIMARY KEY, p date); INSERT INTO plain VALUES (1, '2020-01-01')",
        )
        .await?;
    sandbox.wait_and_compare()?;
    source
        .batch_execute("ALTER TABLE holds ADD c int DEFAULT 4; INSERT INTO holds VALUES (4, 'new', 4)")
        .await?;
    let told = held(sandbox).await?;
    ensure!(told.contains("public.holds"), "{told}");
    source
        .batch_execute(
            "ALTER TABLE holds RENAME TO holds_old; CREATE TABLE holds (id int PRIMARY KEY, z text);
             INSERT INTO holds VALUES (1, 'z'); INSERT INTO holds_old VALUES (5, 'newer', 5); DELETE FROM holds_old WHERE id = 1",
        )
        .await?;
    source
        .batch_execute("INSERT INTO holds VALUES (2, 'zz'); UPDATE holds_old SET c = 9 WHERE id = 2")
        .await?;
    sandbox.wait(120)?;
    ensure!(columns(&warehouse, "public.holds").await? == "a id", "nothing is done before it is approved");
    let (approved, said) = re_dms(sandbox, &["tables", "approve", "public.holds"])?;
    ensure!(approved, "{said}\n{}", sandbox.capture_log());
    sandbox.wait_and_compare()?;
    ensure!(columns(&warehouse, "public.holds").await? == "id z");

    // Two exchange their names, and only one of them stands still.
    source.batch_execute("ALTER TABLE holds ADD n int; INSERT INTO holds VALUES (3, 'z', 3)").await?;
    held(sandbox).await?;
    source
        .batch_execute(
            "BEGIN; ALTER TABLE holds RENAME TO x; ALTER TABLE plain RENAME TO holds; ALTER TABLE x RENAME TO plain;
             INSERT INTO holds VALUES (2, '2020-02-02'); INSERT INTO plain VALUES (4, 'z', 4); COMMIT",
        )
        .await?;
    source.batch_execute("DELETE FROM holds WHERE id = 1; DELETE FROM plain WHERE id = 1").await?;
    sandbox.wait(120)?;
    // By the other name.
    let (approved, said) = re_dms(sandbox, &["tables", "approve", "public.plain"])?;
    ensure!(approved, "{said}\n{}", sandbox.capture_log());
    sandbox.wait_and_compare()?;
    ensure!(columns(&warehouse, "public.holds").await? == "id p");
    ensure!(columns(&warehouse, "public.plain").await? == "id n z");
    Ok(())
}

#[tokio::test]
async fn names_go_round_and_kept_values_stay_with_their_rows() -> Result<()> {
    let sandbox = Sandbox::up_with(RULES)?;
    let source = sandbox.source().await?;
    exchange(&sandbox, &source).await?;
    keep(&sandbox, &source).await?;
    hold(&sandbox, &source).await
}

/// Nothing is read anew unless it is asked for.
const BY_HAND: &str = r#"
    [batch]
    interval = "300ms"
    [[tables]]
    match = "*.*"
    resync = "manual"
"#;

/// Types that hold less than they did, and what was NULL or not. What was in the rows is as PostgreSQL's own casts make it,
/// also where nobody can know that there was no USING; whether one is suspected is told.
async fn narrow(sandbox: &Sandbox, source: &Client, table: &str, suspected: bool) -> Result<()> {
    let run = async |sql: &str| source.batch_execute(&sql.replace("{t}", table)).await;
    run("CREATE TABLE {t} (id int PRIMARY KEY, v varchar(20), n numeric(10,4), b numeric(12,2), s text NOT NULL, w varchar(9));
         INSERT INTO {t} SELECT g, 'v' || g, g + 0.1250, g * 1000, 'längst ' || g, 'w' FROM generate_series(1, 5) g")
    .await?;
    sandbox.wait_and_compare()?;
    run("ALTER TABLE {t} ALTER v TYPE varchar(5), ALTER n TYPE numeric(6,2), ALTER b TYPE numeric(9,0), ALTER s DROP NOT NULL,
         ALTER v SET NOT NULL, ALTER w TYPE varchar(2)")
    .await?;
    run("INSERT INTO {t} VALUES (6, 'vwxyz', 9999.99, 999999999, NULL, '😀😀'); UPDATE {t} SET n = 0.01 WHERE id = 1").await?;
    sandbox.wait_and_compare()?;
    let is_marked = async || -> Result<bool> {
        Ok(sandbox.capture_status()?["needs_resync"].to_string().contains(&format!("public.{table}\"")))
    };
    ensure!(is_marked().await? == suspected, "{}", sandbox.capture_status()?["needs_resync"]);
    run("ALTER TABLE {t} ALTER s TYPE varchar(3) USING right(s, 3), ALTER n TYPE bigint USING id * 7")
        .await?;
    run("INSERT INTO {t} VALUES (7, 'v', 7, 7, 'sss', NULL)").await?;
    sandbox.wait(120)?;
    ensure!(is_marked().await?, "a USING is suspected, and there was one");
    let (asked, said) = re_dms(sandbox, &["tables", "resync", &format!("public.{table}")])?;
    ensure!(asked, "{said}");
    sandbox.wait_and_compare()?;
    ensure!(!is_marked().await?, "it was read anew");
    Ok(())
}

/// How many messages of the event trigger came since the last call.
async fn messages(source: &Client) -> Result<i64> {
    let sql = "SELECT count(*) FROM pg_logical_slot_get_binary_changes('looking', NULL, NULL, 'proto_version', '1', \
               'publication_names', 're_dms_main', 'messages', 'true') AS c WHERE position('re_dms.ddl'::bytea IN c.data) > 0";
    Ok(source.query_one(sql, &[]).await?.get(0))
}

#[tokio::test]
async fn narrower_types_are_followed_and_the_event_trigger_harms_nobody() -> Result<()> {
    let sandbox = Sandbox::up_with(BY_HAND)?;
    let source = sandbox.source().await?;
    narrow(&sandbox, &source, "by_catalog", true).await?;
    let (installed, said) = re_dms(&sandbox, &["init", "--ddl-trigger"])?;
    ensure!(installed, "{said}");
    narrow(&sandbox, &source, "by_trigger", false).await?;

    // What is not published is not told of.
    source.batch_execute("SELECT pg_create_logical_replication_slot('looking', 'pgoutput')").await?;
    source
        .batch_execute(
            "CREATE TEMP TABLE passing (id int); ALTER TABLE passing ADD v text; DROP TABLE passing;
             CREATE UNLOGGED TABLE unlogged (id int); ALTER TABLE unlogged ADD v text; CREATE VIEW seen AS SELECT 1 AS one;
             CREATE INDEX ON by_trigger (v); CREATE TYPE made AS ENUM ('a'); COMMENT ON TYPE made IS 'made'",
        )
        .await?;
    ensure!(messages(&source).await? == 0, "told of what is not published");
    source.batch_execute("ALTER TABLE by_trigger ADD told int").await?;
    ensure!(messages(&source).await? == 1, "not told of what is");

    // A role that may do nothing in the trigger's schema changes its own tables.
    source
        .batch_execute(
            "CREATE ROLE nobody; CREATE SCHEMA own AUTHORIZATION nobody; REVOKE ALL ON SCHEMA re_dms FROM PUBLIC;
             SET ROLE nobody; CREATE TABLE own.t (id int PRIMARY KEY); ALTER TABLE own.t ADD v int DEFAULT 3; RESET ROLE;
             INSERT INTO own.t VALUES (1)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    // The trigger itself is broken: commands go on, and the catalog is asked instead.
    source
        .batch_execute(
            "DROP FUNCTION re_dms.definition(bigint, text); ALTER TABLE by_trigger ADD untold int DEFAULT 8, DROP COLUMN told",
        )
        .await?;
    source
        .batch_execute("UPDATE by_trigger SET v = 'w' WHERE id = 1; ALTER TABLE own.t RENAME v TO w")
        .await?;
    source.batch_execute("INSERT INTO own.t VALUES (2)").await?;
    source.batch_execute("SELECT pg_drop_replication_slot('looking')").await?;
    sandbox.wait_and_compare()
}

/// Whether an object is tagged as one that nobody needs.
pub(super) async fn is_expendable(aws: &Aws, key: &str) -> Result<bool> {
    let tagging = aws.s3.get_object_tagging().bucket(&aws.bucket).key(key).send().await?;
    Ok(tagging.tag_set().iter().any(|tag| (tag.key(), tag.value()) == ("re_dms", "expendable")))
}

async fn until_expendable(sandbox: &Sandbox, aws: &Aws, key: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_expendable(aws, key).await? {
        ensure!(Instant::now() < deadline, "{key} is not tagged:\n{}", sandbox.capture_log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn files_that_nobody_names_are_tagged_and_no_others() -> Result<()> {
    // The rows of a table that is read as a whole have files of their own.
    let config =
        "[batch]\ninterval = \"300ms\"\n[[tables]]\nmatch = \"public.t\"\nresync_by = \"snapshot\"\n";
    let mut sandbox = Sandbox::up_with(config)?;
    let source = sandbox.source().await?;
    let aws = Aws::of(&sandbox).await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    sandbox.wait_and_compare()?;
    let (asked, said) = re_dms(&sandbox, &["tables", "resync", "public.t"])?;
    ensure!(asked, "{said}");
    sandbox.wait_and_compare()?;
    sandbox.kill_capture()?;

    // As if it had died with a file of its last segment written twice, and with one of the next.
    let manifests = aws.keys("/manifest.json").await?;
    let folder = |key: &str| key.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default();
    let last = folder(manifests.iter().max().context("a segment")?);
    let (segments, number) = last.rsplit_once('/').context("a segment's folder")?;
    let next = format!("{segments}/{:012}", number.parse::<u64>()? + 1);
    let first = folder(manifests.iter().min().context("a segment")?);
    let file = "0001-public.t-001-deadbeef.csv.gz";
    let [of_last, of_next, of_first] = [&last, &next, &first].map(|folder| format!("{folder}/{file}"));
    let copies = aws.keys(".csv.gz").await?.into_iter().find(|key| key.contains("/copy/"));
    let of_copy =
        format!("{}/16400-public.t-00001-deadbeef.csv.gz", folder(&copies.context("rows that were read")?));
    let made = [&of_last, &of_next, &of_first, &of_copy];
    for key in made {
        aws.s3.put_object().bucket(&aws.bucket).key(key).body(b"lost".to_vec().into()).send().await?;
    }
    sandbox.up_again()?;
    until_expendable(&sandbox, &aws, &of_last).await?;
    ensure!(!is_expendable(&aws, &of_next).await?, "another attempt may still name it");
    source.batch_execute("INSERT INTO t VALUES (2)").await?;
    sandbox.wait_and_compare()?;
    until_expendable(&sandbox, &aws, &of_next).await?;
    ensure!(!is_expendable(&aws, &of_first).await?, "nobody looks at old segments by himself");

    let clean = |arguments: &[&str]| re_dms(&sandbox, &[&["segments", "clean"], arguments].concat());
    let (done, said) = clean(&["--dry-run", "--older-than", "0"])?;
    ensure!(done && said.contains("4 files, 16 bytes would be tagged"), "{said}");
    ensure!(!is_expendable(&aws, &of_first).await?, "nothing is tagged by a dry run");
    let (done, said) = clean(&[])?;
    ensure!(done && said.contains("3 files, 12 bytes tagged"), "{said}");
    ensure!(
        is_expendable(&aws, &of_first).await? && !is_expendable(&aws, &of_copy).await?,
        "it is too young"
    );
    clean(&["--older-than", "0"])?;
    ensure!(is_expendable(&aws, &of_copy).await?, "{of_copy}");
    for key in aws.keys("").await?.iter().filter(|key| !made.contains(key)) {
        ensure!(!is_expendable(&aws, key).await?, "{key} is needed");
    }
    Ok(())
}
