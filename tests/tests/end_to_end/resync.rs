//! Tables are read anew while the stream goes on: because somebody wishes it, because their rows can't be known otherwise, or
//! because they joined the stream with rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::workload::Workload;
use re_dms_tests::{Sandbox, kill, loader_pids, run};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;

/// A table of each identity, with TOASTed values, and one whose number only grows.
const TABLES: &str = "
    CREATE TABLE ticks (id int PRIMARY KEY, n bigint);
    INSERT INTO ticks VALUES (1, 0);
    CREATE TABLE keyed (id int PRIMARY KEY, v text, body text, n int);
    ALTER TABLE keyed ALTER body SET STORAGE EXTERNAL;
    INSERT INTO keyed SELECT g, md5(g::text), repeat(md5(g::text), 90), 0 FROM generate_series(1, 3000) g;
    CREATE TABLE named (slug text, part int, body text, n int, PRIMARY KEY (slug, part));
    ALTER TABLE named ALTER body SET STORAGE EXTERNAL;
    INSERT INTO named SELECT 'k' || g, g % 3, repeat(md5(g::text), 90), g FROM generate_series(1, 500) g;
    CREATE TABLE keyless (a int, b text);
    ALTER TABLE keyless REPLICA IDENTITY FULL;
    INSERT INTO keyless SELECT g % 50, CASE WHEN g % 2 = 0 THEN 'x' END FROM generate_series(1, 1000) g;
    CREATE TABLE appended (at timestamptz, what text);
    INSERT INTO appended SELECT now(), 'w' FROM generate_series(1, 500);
    CREATE TABLE parts (id int, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
    INSERT INTO parts SELECT g, chr(97 + g % 3), 'n' || g FROM generate_series(1, 600) g;
    CREATE TABLE beside (id int PRIMARY KEY, v text);
    INSERT INTO beside VALUES (0, 'x');
";

/// What these go through, over and over, in one transaction.
const CHANGES: &str = "
    UPDATE ticks SET n = %N%;
    UPDATE keyed SET n = n + 1 WHERE id % 60 = %N% % 60;
    UPDATE keyed SET id = 100000 + %N% WHERE id = %N%;
    UPDATE keyed SET body = repeat('%N%', 3000) WHERE id = 1000 + %N% % 500;
    DELETE FROM keyed WHERE id = 3000 - %N%;
    INSERT INTO keyed (id, v) VALUES (200000 + %N%, 'new');
    UPDATE named SET slug = 'moved' || %N% WHERE slug = 'k' || %N%;
    UPDATE named SET n = n + 1 WHERE part = %N% % 3 AND n % 10 = 0;
    DELETE FROM keyless WHERE ctid = (SELECT max(ctid) FROM keyless);
    INSERT INTO keyless VALUES (%N% % 50, 'x'), (7, NULL);
    INSERT INTO appended VALUES (clock_timestamp(), 'now');
    UPDATE parts SET region = 'b' WHERE id = %N% AND region = 'a';
    INSERT INTO parts VALUES (5000 + %N%, 'z', 'new');
    INSERT INTO beside VALUES (%N%, 'x');
";

const ALL: [&str; 6] =
    ["public.ticks", "public.keyed", "public.named", "public.keyless", "public.appended", "public.parts"];

/// Rows in Redshift that the stream knows nothing of: changed, lost, doubled and surplus ones.
const DAMAGE: &str = "
    DELETE FROM public.keyed WHERE id % 7 = 0;
    UPDATE public.keyed SET v = 'spoilt', body = NULL WHERE id % 11 = 0;
    INSERT INTO public.keyed (id, v) VALUES (-1, 'surplus'), (-2, 'surplus');
    DELETE FROM public.named WHERE part = 1;
    INSERT INTO public.keyless SELECT * FROM public.keyless;
    DELETE FROM public.appended;
    INSERT INTO public.parts VALUES (-1, 'q', 'surplus');
    DELETE FROM public.parts WHERE id % 5 = 0;
";

/// Does something over and over until it is told to stop.
struct Worker {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<usize>>,
}

impl Worker {
    fn write(client: Client, mut workload: Option<Workload>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut round = 0;
            while !stopped.load(Ordering::Relaxed) {
                round += 1;
                let changes = CHANGES.replace("%N%", &round.to_string());
                client.batch_execute(&format!("BEGIN; {changes} COMMIT")).await?;
                if let Some(workload) = &mut workload {
                    workload.transactions(2).await?;
                }
                sleep(Duration::from_millis(15)).await;
            }
            Ok(round)
        });
        Self { stop, task }
    }

    /// Reads a table that grows: it must be there at every moment, and never be older than it was.
    fn watch(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut looks, mut last) = (0, 0_i64);
            while !stopped.load(Ordering::Relaxed) {
                let row = client.query_one("SELECT count(*), max(n) FROM public.ticks", &[]).await?;
                let (rows, now): (i64, i64) = (row.get(0), row.get(1));
                ensure!(rows == 1 && now >= last, "{rows} rows, and {now} after {last}");
                (looks, last) = (looks + 1, now);
                sleep(Duration::from_millis(10)).await;
            }
            Ok(looks)
        });
        Self { stop, task }
    }

    async fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// Runs `re_dms tables …` with the stream's config; what it printed.
fn tables(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let (done, said) = try_tables(sandbox, arguments)?;
    ensure!(done, "{}: {said}\n{}", arguments.join(" "), sandbox.capture_log());
    Ok(said)
}

fn try_tables(sandbox: &Sandbox, arguments: &[&str]) -> Result<(bool, String)> {
    let config = sandbox.text("capture_config")?.to_owned();
    let arguments: Vec<_> =
        ["tables"].iter().chain(arguments).chain(&["--config", &config]).copied().collect();
    let output = run("re_dms", &arguments)?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok((output.status.success(), said))
}

/// Waits until nothing is to be read anew, needs to be, or waits for being loaded.
pub(super) async fn wait_until_healed(sandbox: &Sandbox) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = sandbox.capture_status()?;
        let is_empty = |key: &str| status[key].as_array().is_none_or(Vec::is_empty);
        let is_told = status["quarantined_told"] == true;
        if is_told && is_empty("resyncs") && is_empty("needs_resync") && is_empty("quarantined") {
            return Ok(());
        }
        ensure!(started.elapsed() < Duration::from_secs(120), "{status}\n{}", sandbox.capture_log());
        sleep(Duration::from_millis(200)).await;
    }
}

/// How often the capture said it.
pub(super) fn said(sandbox: &Sandbox, what: &str) -> Result<usize> {
    Ok(std::fs::read_to_string(sandbox.text("capture_log")?)?.matches(what).count())
}

/// All that was damaged is mended while the tables are written to, and readers see nothing but the table going on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_tables_are_read_anew_under_heavy_writes() -> Result<()> {
    let sandbox = Sandbox::up_with("[copy]\nworkers = 3\n[batch]\nmax_file_bytes = \"64KiB\"\n")?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    let workload = Workload::start(sandbox.source().await?, 31).await?;
    sandbox.wait_and_compare()?;
    warehouse.batch_execute(DAMAGE).await?;
    ensure!(!sandbox.diff()?.0, "the damage is to be seen");
    let writer = Worker::write(sandbox.source().await?, Some(workload));
    let watcher = Worker::watch(sandbox.warehouse().await?);
    sleep(Duration::from_millis(500)).await;
    let others = warehouse.query_one("SELECT count(*) FROM public.beside", &[]).await?.get::<_, i64>(0);
    // A snapshot waits for whoever is in the middle of a transaction: the stream must not.
    let slow = sandbox.source().await?;
    slow.batch_execute(
        "BEGIN; INSERT INTO appended VALUES (now(), 'slow'); UPDATE ticks SET n = n WHERE false",
    )
    .await?;
    let mut arguments = vec!["resync", "--timeout", "120"];
    arguments.extend(ALL);
    arguments.push("--no-wait");
    tables(&sandbox, &arguments)?;
    sleep(Duration::from_secs(3)).await;
    let now = warehouse.query_one("SELECT count(*) FROM public.beside", &[]).await?.get::<_, i64>(0);
    ensure!(now > others, "the other tables stand still: {now} rows after {others}");
    slow.batch_execute("COMMIT").await?;
    arguments.pop();
    // Once more, and to the end.
    let said = tables(&sandbox, &arguments)?;
    ensure!(said.contains("as on the source again"), "{said}");
    let rounds = writer.end().await?;
    ensure!(rounds > 20, "{rounds} rounds are no heavy writing");
    let looks = watcher.end().await?;
    ensure!(looks > 100, "{looks} looks");
    sandbox.wait_and_compare()?;

    let (done, said) = try_tables(&sandbox, &["resync", "public.nobody"])?;
    ensure!(!done && said.contains("no table public.nobody") && said.contains("hint:"), "{said}");
    let (done, said) = try_tables(&sandbox, &["resync", "public.parts_a"])?;
    ensure!(!done && said.contains("not replicated"), "{said}");
    let (done, said) = try_tables(&sandbox, &["remove", "public.keyed"])?;
    ensure!(!done && said.contains("has all tables"), "{said}");

    // What can't be loaded is mended by it, too, and what stands still goes on.
    warehouse.batch_execute("ALTER TABLE public.beside ALTER id TYPE date USING NULL").await?;
    source.batch_execute("INSERT INTO beside VALUES (-1, 'x')").await?;
    sandbox.wait(120)?;
    ensure!(sandbox.capture_status()?["quarantined"].to_string().contains("public.beside"));
    tables(&sandbox, &["resync", "public.beside"])?;
    sandbox.wait_and_compare()?;
    tables(&sandbox, &["pause", "public.keyed"])?;
    source.batch_execute("DELETE FROM keyed; INSERT INTO beside VALUES (-2, 'y')").await?;
    sandbox.wait(120)?;
    let rows = warehouse.query_one("SELECT count(*) FROM public.keyed", &[]).await?.get::<_, i64>(0);
    ensure!(rows > 1000, "{rows} rows of a table that stands still");
    ensure!(tables(&sandbox, &["list"])?.contains("public.keyed  paused"));
    tables(&sandbox, &["resume", "public.keyed"])?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}

/// The capture dies at random moments, once with its disk; loaders die; a resync comes to its end all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_resync() -> Result<()> {
    let mut sandbox =
        Sandbox::up_with("[copy]\nmax_bytes_per_second = \"1MiB\"\n[slot]\nadvance_on = \"staged\"\n")?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    sandbox.wait_and_compare()?;
    warehouse.batch_execute(DAMAGE).await?;
    let writer = Worker::write(sandbox.source().await?, None);
    let mut arguments = vec!["resync", "--no-wait"];
    arguments.extend(ALL);
    tables(&sandbox, &arguments)?;
    for round in 0..6 {
        sleep(Duration::from_millis(rand::random_range(100..2500))).await;
        if round % 3 != 1 {
            sandbox.kill_capture()?;
        }
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
    wait_until_healed(&sandbox).await?;
    ensure!(said(&sandbox, "reading tables anew")? > 0);
    writer.end().await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}

/// Whatever leaves rows unproven is read anew without anybody's doing; so is what joins the publication with rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_it_is_read_anew_by_itself() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, v text);
             INSERT INTO shop.orders SELECT g, 'o' FROM generate_series(1, 300) g;
             CREATE TABLE shop.by_hand (id int PRIMARY KEY); INSERT INTO shop.by_hand VALUES (1), (2);
             CREATE TABLE shop.parts (id int, p int, v text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
             CREATE TABLE shop.p1 PARTITION OF shop.parts FOR VALUES IN (1);
             CREATE TABLE shop.p2 PARTITION OF shop.parts FOR VALUES IN (2);
             CREATE TABLE shop.p3 PARTITION OF shop.parts FOR VALUES IN (3);
             CREATE TABLE shop.p4 PARTITION OF shop.parts FOR VALUES IN (4);
             INSERT INTO shop.parts SELECT g, 1 + g % 4, 'p' FROM generate_series(1, 400) g;
             CREATE PUBLICATION re_dms_healing FOR TABLE shop.orders, shop.by_hand, shop.parts
                WITH (publish_via_partition_root = true)",
        )
        .await?;
    sandbox.new_stream(
        "healing",
        "[source]\ninclude = [\"shop.*\"]\nlook_interval = \"1s\"\n\
         [[tables]]\nmatch = \"shop.by_hand\"\nresync = \"manual\"\n",
    )?;
    sandbox.wait_and_compare()?;
    // A volatile default: no value of it is in the stream.
    source
        .batch_execute(
            "ALTER TABLE shop.orders ADD COLUMN token uuid DEFAULT gen_random_uuid();
             ALTER TABLE shop.by_hand ADD COLUMN token uuid DEFAULT gen_random_uuid();
             UPDATE shop.orders SET v = 'changed' WHERE id < 10; UPDATE shop.by_hand SET id = id WHERE id = 1",
        )
        .await?;
    wait_for(&sandbox, "shop.by_hand needs it", |status| {
        status["needs_resync"].to_string().contains("shop.by_hand")
    })
    .await?;
    tables(&sandbox, &["resync", "shop.by_hand"])?;
    wait_until_healed(&sandbox).await?;
    sandbox.wait_and_compare()?;

    // Tables join: one by the catalog alone, one by the command.
    source
        .batch_execute(
            "CREATE TABLE shop.joined (a int, b text); INSERT INTO shop.joined SELECT g, 'j' FROM generate_series(1, 100) g;
             CREATE TABLE shop.added (LIKE shop.joined); INSERT INTO shop.added SELECT * FROM shop.joined;
             ALTER PUBLICATION re_dms_healing ADD TABLE shop.joined; INSERT INTO shop.joined VALUES (0, 'later')",
        )
        .await?;
    tables(&sandbox, &["add", "shop.added"])?;
    wait_for_rows(&sandbox, "shop.joined", 101).await?;
    sandbox.wait_and_compare()?;
    tables(&sandbox, &["remove", "shop.added"])?;
    source.batch_execute("INSERT INTO shop.added VALUES (-1, 'unseen')").await?;
    tables(&sandbox, &["add", "shop.added"])?;
    sandbox.wait_and_compare()?;

    // Partitions: attached with rows, detached with rows, truncated by its own name; and one that is made as one, which
    // needs nothing.
    let before = said(&sandbox, "reading tables anew")?;
    source.batch_execute("CREATE TABLE shop.p5 PARTITION OF shop.parts FOR VALUES IN (5)").await?;
    source.batch_execute("INSERT INTO shop.parts VALUES (1, 5, 'new')").await?;
    sleep(Duration::from_secs(3)).await;
    ensure!(said(&sandbox, "reading tables anew")? == before, "{}", sandbox.capture_log());
    source
        .batch_execute(
            "BEGIN; CREATE TABLE shop.p6 (LIKE shop.parts); INSERT INTO shop.p6 SELECT g, 6, 'brought' FROM generate_series(1, 50) g;
             ALTER TABLE shop.parts ATTACH PARTITION shop.p6 FOR VALUES IN (6); COMMIT",
        )
        .await?;
    wait_for_rows(&sandbox, "shop.parts", 451).await?;
    source.batch_execute("TRUNCATE shop.p2").await?;
    wait_for_rows(&sandbox, "shop.parts", 351).await?;
    source
        .batch_execute(
            "ALTER TABLE shop.parts DETACH PARTITION shop.p3; ALTER PUBLICATION re_dms_healing ADD TABLE shop.p3;
             DROP TABLE shop.p4",
        )
        .await?;
    wait_for_rows(&sandbox, "shop.p3", 100).await?;
    wait_for_rows(&sandbox, "shop.parts", 151).await?;
    // And what happens while nobody looks.
    sandbox.kill_capture()?;
    source.batch_execute("TRUNCATE shop.p1").await?;
    sandbox.up_again()?;
    wait_for_rows(&sandbox, "shop.parts", 51).await?;
    wait_until_healed(&sandbox).await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}

async fn wait_for(
    sandbox: &Sandbox,
    what: &str,
    is: impl Fn(&serde_json::Value) -> bool + Send,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = sandbox.capture_status()?;
        if is(&status) {
            return Ok(());
        }
        ensure!(started.elapsed() < Duration::from_secs(60), "{what}: {status}\n{}", sandbox.capture_log());
        sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn wait_for_rows(sandbox: &Sandbox, table: &str, rows: i64) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    let started = Instant::now();
    loop {
        let found = warehouse.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await;
        let found: Option<i64> = found.ok().map(|row| row.get(0));
        if found == Some(rows) {
            return Ok(());
        }
        let status = sandbox.capture_status().context("no status")?;
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "{table}: {found:?} rows instead of {rows}: {status}\n{}",
            sandbox.capture_log()
        );
        sleep(Duration::from_millis(100)).await;
    }
}
