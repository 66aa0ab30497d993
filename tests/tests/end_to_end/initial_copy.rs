//! Rows from before the stream: tables of every shape, copied while they are written to, through crashes, lost disks and
//! changes of their definitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use re_dms_tests::workload::Workload;
use re_dms_tests::{Aws, Sandbox, kill, loader_pids};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;

/// Every shape that a copy treats in a way of its own, with rows. `wide` has one row a block, and so several chunks.
const TABLES: &str = r#"
    CREATE TYPE mood AS ENUM ('fine', 'not so fine');
    CREATE TABLE kinds (id int PRIMARY KEY, t text, v varchar(20), b bytea, j jsonb, n numeric(12,3), f float8, d date,
        at timestamptz, ok boolean, a int[], m mood, i interval, u uuid);
    INSERT INTO kinds SELECT g,
        CASE g % 9 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'a\tb\nc\\d\re\bf\vg\fh' WHEN 3 THEN '\N' WHEN 4 THEN '\.'
            WHEN 5 THEN ' "q", ' WHEN 6 THEN repeat('ü€', g % 50) WHEN 7 THEN E'\\\\' ELSE md5(g::text) END,
        left(md5(g::text), g % 20), decode(md5(g::text), 'hex'), jsonb_build_object('k', g, 's', E'"\n\t'), g / 7.0,
        g / 3.0::float8, '2020-01-01'::date + g, '2021-05-06 07:08:09.123456+02'::timestamptz + g * interval '1 s', g % 3 = 0,
        ARRAY[g, NULL, -g], CASE g % 2 WHEN 0 THEN 'fine' ELSE 'not so fine' END::mood, g * interval '1 min', NULL
        FROM generate_series(1, 4000) g;
    CREATE TABLE parts (id int, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a') PARTITION BY RANGE (id);
    CREATE TABLE parts_a_1 (note text, gone int, region text NOT NULL, id int NOT NULL);
    ALTER TABLE parts_a_1 DROP COLUMN gone;
    ALTER TABLE parts_a ATTACH PARTITION parts_a_1 FOR VALUES FROM (0) TO (500);
    CREATE TABLE parts_a_2 PARTITION OF parts_a DEFAULT;
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
    INSERT INTO parts SELECT g, chr(97 + g % 3), 'n' || g FROM generate_series(1, 1500) g;
    CREATE TABLE twice (a int, b text);
    ALTER TABLE twice REPLICA IDENTITY FULL;
    INSERT INTO twice SELECT g % 5, CASE WHEN g % 2 = 0 THEN 'x' END FROM generate_series(1, 100) g;
    CREATE TABLE appended (at timestamptz, what text);
    INSERT INTO appended SELECT now(), 'w' FROM generate_series(1, 50);
    CREATE TABLE toasted (id text PRIMARY KEY, body text, n int);
    ALTER TABLE toasted ALTER body SET STORAGE EXTERNAL;
    INSERT INTO toasted SELECT 'k' || g, repeat(md5(g::text), 400), g FROM generate_series(1, 200) g;
    CREATE TABLE empty (id int PRIMARY KEY, v text);
    CREATE TABLE one (v text);
    INSERT INTO one VALUES (''), (NULL), ('x'), (' ');
    CREATE TABLE "Quoted ""Name" ("Id" int PRIMARY KEY, "select" text, "a,b" int);
    INSERT INTO "Quoted ""Name" VALUES (1, 's', 2), (3, NULL, NULL);
    CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, v text);
    INSERT INTO generated (id, v) SELECT g, 'v' FROM generate_series(1, 20) g;
    CREATE TABLE people (id int PRIMARY KEY, mail text, secret text, name text);
    INSERT INTO people SELECT g, 'm' || g || E'\t@x', 's', 'n' FROM generate_series(1, 300) g;
    CREATE TABLE wide (id int PRIMARY KEY, v text, n int) WITH (fillfactor = 10, autovacuum_enabled = off);
    INSERT INTO wide SELECT g, rpad(md5(g::text), 700, 'x'), 0 FROM generate_series(1, 20000) g;
    CREATE SCHEMA other;
    CREATE TABLE other.elsewhere (id bigint PRIMARY KEY, v numeric);
    INSERT INTO other.elsewhere SELECT g, g * 1.5 FROM generate_series(1, 10) g;
    CREATE TABLE no_columns ();
    CREATE TABLE doomed (id int PRIMARY KEY);
    INSERT INTO doomed VALUES (1);
    CREATE TABLE unseen (id int PRIMARY KEY);
    INSERT INTO unseen VALUES (1);
    ANALYZE;
"#;

/// What those tables' rows go through, over and over.
const CHANGES: &str = r#"
    UPDATE kinds SET t = E'changed\t' || id, n = n + 1 WHERE id % 40 = %N% % 40;
    DELETE FROM kinds WHERE id = 3000 + %N%;
    INSERT INTO kinds (id, t) VALUES (10000 + %N%, 'new');
    UPDATE parts SET region = 'b' WHERE id = %N% AND region = 'a';
    INSERT INTO parts VALUES (5000 + %N%, 'z', 'new');
    DELETE FROM twice WHERE ctid = (SELECT max(ctid) FROM twice);
    INSERT INTO twice VALUES (%N% % 5, 'x'), (7, NULL);
    INSERT INTO appended VALUES (clock_timestamp(), 'now');
    UPDATE toasted SET n = n + 1 WHERE n % 10 = %N% % 10;
    UPDATE toasted SET id = 'moved' || %N% WHERE id = 'k' || %N%;
    INSERT INTO empty VALUES (%N%, 'x');
    UPDATE wide SET n = n + 1 WHERE id BETWEEN %N% * 50 AND %N% * 50 + 20;
    DELETE FROM wide WHERE id = 19000 + %N%;
    UPDATE people SET mail = 'other' || %N% WHERE id = %N%;
    INSERT INTO one VALUES ('');
"#;

/// Writes until it is told to stop; says how many rounds it came.
struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<usize>>,
}

impl Writer {
    fn start(client: Client, mut workload: Workload) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut round = 0;
            while !stopped.load(Ordering::Relaxed) {
                round += 1;
                client
                    .batch_execute(&format!("BEGIN; {} COMMIT", CHANGES.replace("%N%", &round.to_string())))
                    .await?;
                workload.transactions(3).await?;
                sleep(Duration::from_millis(10)).await;
            }
            Ok(round)
        });
        Self { stop, task }
    }

    async fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// A sandbox whose source has the tables, with rows, and no stream that has seen them.
async fn with_rows(tables: &str, seed: u64) -> Result<(Sandbox, Workload)> {
    let sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    let source = sandbox.source().await?;
    source.batch_execute(tables).await?;
    let mut workload = Workload::start(sandbox.source().await?, seed).await?;
    workload.transactions(150).await?;
    Ok((sandbox, workload))
}

/// Segments of the copy that are on S3.
async fn copied(aws: &Aws, stream: &str) -> Result<usize> {
    let mut found = 0;
    for key in aws.keys("/manifest.json").await?.iter().filter(|key| key.contains(&format!("/{stream}/"))) {
        let manifest: serde_json::Value = serde_json::from_slice(&aws.object(key).await?)?;
        found += usize::from(manifest["copy"].is_object());
    }
    Ok(found)
}

async fn is_done(aws: &Aws, stream: &str) -> Result<bool> {
    Ok(aws.keys("/copied.json").await?.iter().any(|key| key.contains(&format!("/{stream}/"))))
}

async fn wait_until_done(sandbox: &Sandbox, aws: &Aws, stream: &str) -> Result<()> {
    let started = Instant::now();
    while !is_done(aws, stream).await? {
        if started.elapsed() > Duration::from_secs(120) {
            bail!("the copy does not end:\n{}", sandbox.capture_log());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

const CONFIG: &str = r#"
    [source]
    exclude = ["public.unseen"]
    hash_columns = ["public.people.mail"]
    exclude_columns = ["public.people.secret"]
    hash_key = "0123456789abcdef"
    [batch]
    max_file_bytes = "512KiB"
    [copy]
    max_bytes_per_second = "%RATE%"
    workers = 3
"#;

fn config(rate: &str, more: &str) -> String {
    format!("{}\n{more}", CONFIG.replace("%RATE%", rate))
}

/// The stream is staged beside the copy, tables change their definitions in the middle of it, and both sides are equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_every_shape_arrive_while_they_are_written_to() -> Result<()> {
    let (mut sandbox, workload) = with_rows(TABLES, 21).await?;
    let source = sandbox.source().await?;
    let aws = Aws::of(&sandbox).await?;
    let writer = Writer::start(sandbox.source().await?, workload);
    sandbox.new_stream("copied", &config("3MiB", "[slot]\nadvance_on = \"staged\"\n"))?;
    // Somebody holds a table for longer than a lock is waited for, and changes it then.
    source.batch_execute("BEGIN; ALTER TABLE other.elsewhere ADD COLUMN late text DEFAULT 'l'").await?;
    ensure!(!is_done(&aws, "copied").await?, "the copy is to be slow enough for the rest of this test");
    sleep(Duration::from_secs(3)).await;
    // Tables that have not been read yet, most likely: whichever they are, both sides must be equal. One transaction each:
    // the writer has locks, too.
    for change in [
        "COMMIT",
        "ALTER TABLE toasted ADD COLUMN added int DEFAULT 7",
        "ALTER TABLE empty RENAME COLUMN v TO w",
        "TRUNCATE one",
        "ALTER TABLE parts RENAME note TO remark",
        "DROP TABLE doomed",
        "CREATE TABLE later (id int PRIMARY KEY)",
        "ALTER PUBLICATION re_dms_copied ADD TABLE later",
        "INSERT INTO later VALUES (1)",
    ] {
        source.batch_execute(change).await?;
    }
    bail_unless_staged_beside(&sandbox, &aws).await?;
    let status = sandbox.capture_status()?;
    ensure!(status["copy"]["tables"].as_u64() >= Some(15), "{status}");
    wait_until_done(&sandbox, &aws, "copied").await?;
    let rounds = writer.end().await?;
    ensure!(rounds > 5, "{rounds} rounds are no heavy writing");
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let rows: i64 = warehouse
        .query_one("SELECT count(*) FROM public.people WHERE mail ~ '^[0-9a-f]{64}$'", &[])
        .await?
        .get(0);
    ensure!(rows == 300, "{rows} hashes");
    ensure!(
        warehouse
            .query("SELECT 1 FROM information_schema.tables WHERE table_name = 'unseen'", &[])
            .await?
            .is_empty()
    );
    sandbox.down()
}

/// The slot moves on while the copy goes on.
async fn bail_unless_staged_beside(sandbox: &Sandbox, aws: &Aws) -> Result<()> {
    let started = Instant::now();
    loop {
        let keys = aws.keys("/manifest.json").await?;
        let last = keys.iter().filter(|key| key.contains("/copied/")).max().context("no segment")?.clone();
        let manifest: serde_json::Value = serde_json::from_slice(&aws.object(&last).await?)?;
        if manifest["after_copy"].is_string() {
            return Ok(());
        }
        ensure!(!is_done(aws, "copied").await?, "nothing was staged beside the copy");
        ensure!(started.elapsed() < Duration::from_secs(60), "nothing is staged:\n{}", sandbox.capture_log());
        sleep(Duration::from_millis(50)).await;
    }
}

/// The capture dies at random moments, once with its disk; loaders die; what is copied is not copied again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_mid_copy_and_a_lost_disk() -> Result<()> {
    let (mut sandbox, workload) = with_rows(TABLES, 22).await?;
    let aws = Aws::of(&sandbox).await?;
    let writer = Writer::start(sandbox.source().await?, workload);
    sandbox.new_stream("copied", &config("4MiB", "[slot]\nadvance_on = \"staged\"\n"))?;
    let mut most = 0;
    for round in 0..5 {
        sleep(Duration::from_millis(rand::random_range(100..900))).await;
        let done = copied(&aws, "copied").await?;
        ensure!(done >= most, "{done} tables are copied, and {most} were before");
        most = done;
        sandbox.kill_capture()?;
        if round == 2 {
            std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
        }
        for pid in loader_pids(sandbox.pid("aws")?) {
            kill(pid);
        }
        if round == 3 {
            sandbox.crash_redshift()?;
        }
        sandbox.up_again()?;
    }
    ensure!(!is_done(&aws, "copied").await?, "the copy is to be slow enough to be killed so often");
    wait_until_done(&sandbox, &aws, "copied").await?;
    // And once more behind it.
    sleep(Duration::from_millis(500)).await;
    sandbox.restart_capture()?;
    writer.end().await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}

/// A table that is not empty gets no copy on top of what it holds; without a copy only changes arrive.
#[tokio::test]
async fn a_table_that_holds_rows_is_refused_and_no_copy_copies_nothing() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE before (id int PRIMARY KEY, v text); INSERT INTO before VALUES (1, 'a'), (2, 'b'); \
             CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO beside VALUES (1)",
        )
        .await?;
    sandbox.wait_and_compare()?;
    // Redshift has the first stream's rows: the second one's copy must not double them.
    let warehouse = sandbox.warehouse().await?;
    warehouse.batch_execute("DELETE FROM public.beside").await?;
    sandbox.new_stream("second", "")?;
    source.batch_execute("INSERT INTO before VALUES (3, 'c'); INSERT INTO beside VALUES (2)").await?;
    sandbox.wait(120)?;
    let count = async |table: &str| -> Result<i64> {
        Ok(warehouse.query_one(&format!("SELECT count(*) FROM public.{table}"), &[]).await?.get(0))
    };
    ensure!((count("before").await?, count("beside").await?) == (2, 2));
    let quarantined = sandbox.capture_status()?["quarantined"].to_string();
    ensure!(quarantined.contains("holds rows already") && quarantined.contains("TRUNCATE"), "{quarantined}");
    warehouse.batch_execute("DELETE FROM public.before").await?;
    let config = sandbox.text("capture_config")?.to_owned();
    let resumed = re_dms_tests::run("re_dms", &["tables", "resume", "--config", &config, "public.before"])?;
    ensure!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    sandbox.wait_and_compare()?;

    sandbox.new_stream("third", "[copy]\nenabled = false\n")?;
    ensure!(sandbox.capture_log().contains("not copied"), "{}", sandbox.capture_log());
    source.batch_execute("INSERT INTO before VALUES (4, 'd')").await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}
