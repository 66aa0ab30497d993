//! Tables with a key are read anew range by range, while they are written to and while the stream goes on with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use re_dms_tests::{Sandbox, kill, loader_pids, run};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;

/// Keys of one column and of several, in another order than the table's; TOASTed values; partitions.
const TABLES: &str = "
    CREATE TABLE keyed (id int PRIMARY KEY, v text, body text, n int);
    ALTER TABLE keyed ALTER body SET STORAGE EXTERNAL;
    INSERT INTO keyed SELECT g * 10, md5(g::text), repeat(md5(g::text), 70), 0 FROM generate_series(2, 1500, 3) g;
    CREATE TABLE pairs (a int, body text, b bigint, PRIMARY KEY (b, a));
    ALTER TABLE pairs ALTER body SET STORAGE EXTERNAL;
    INSERT INTO pairs SELECT g % 7, repeat(md5(g::text), 70), g / 7 FROM generate_series(1, 200) g;
    CREATE TABLE named (id uuid PRIMARY KEY, at timestamptz, n int);
    INSERT INTO named SELECT md5(g::text)::uuid, now(), g FROM generate_series(1, 1000) g;
    CREATE TABLE dated (day date, price numeric(10,2), v text, PRIMARY KEY (day, price));
    INSERT INTO dated SELECT '2020-01-01'::date + g / 5, g % 5 + 0.25, 'd' FROM generate_series(1, 1000) g;
    CREATE TABLE parts (id int, part int, note text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
    INSERT INTO parts SELECT g, g % 3, 'n' || g FROM generate_series(1, 1000) g;
    CREATE TABLE steady (id int PRIMARY KEY, n int);
    INSERT INTO steady SELECT g, 0 FROM generate_series(1, 2000) g;
    CREATE TABLE worded (slug text PRIMARY KEY, n int);
    INSERT INTO worded SELECT 'k' || g, g FROM generate_series(1, 100) g;
";

const ALL: [&str; 7] = ["keyed", "pairs", "named", "dated", "parts", "steady", "worded"];

/// Over and over, in one transaction: rows go to keys behind and before them with values that only Redshift has, others come
/// and go.
const CHANGES: &str = "
    UPDATE keyed SET n = n + 1 WHERE id % 300 = %N% % 30 * 10;
    UPDATE keyed SET id = %N% * 10 % 15000 + 1 WHERE id = 15000 - %N% % 1400 * 10 AND %N% % 4 = 0;
    UPDATE keyed SET id = 14001 + %N% * 10 WHERE id = %N% % 500 * 10 + 500;
    UPDATE keyed SET id = id + 3 WHERE id = 7000 + %N% * 10 AND %N% % 3 = 0;
    UPDATE keyed SET body = repeat('%N%', 1500) WHERE id % 1000 = %N% % 100 * 10;
    DELETE FROM keyed WHERE id = 6000 + %N% * 20;
    INSERT INTO keyed VALUES (%N% * 30 + 7, 'new', repeat('x', 2500), 0) ON CONFLICT DO NOTHING;
    UPDATE pairs SET b = 29 - b + 1000 * (%N% % 2), a = a + 1000 * %N% WHERE b = %N% % 29 AND a < 2 AND %N% % 3 = 1;
    UPDATE pairs SET body = body || '.' WHERE b % 20 = %N% % 20 AND a = 5;
    DELETE FROM pairs WHERE b = (%N% * 3) % 29 AND a = 6;
    UPDATE named SET id = md5('%N%' || id::text)::uuid WHERE n % 200 = %N% % 200;
    DELETE FROM dated WHERE day = '2020-01-01'::date + %N% % 300 AND price < 1;
    INSERT INTO dated VALUES ('2020-01-01'::date + (%N% * 7) % 300, %N% + 10.50, 'new');
    UPDATE parts SET part = part + 1 WHERE id % 100 = %N% % 100;
    UPDATE parts SET id = 3000 - id WHERE id % 90 = %N% % 90 AND id <> 1500;
    UPDATE steady SET n = n + 1 WHERE id % 40 = %N% % 40;
    UPDATE worded SET n = %N% WHERE n % 10 = %N% % 10;
";

/// What the stream knows nothing of.
const DAMAGE: &str = "
    DELETE FROM public.keyed WHERE id % 70 = 0;
    UPDATE public.keyed SET v = 'spoilt', body = NULL WHERE id % 110 = 0;
    INSERT INTO public.keyed (id, v) VALUES (-1, 'surplus'), (100000, 'surplus'), (45, 'surplus'), (NULL, 'surplus');
    INSERT INTO public.keyed SELECT * FROM public.keyed WHERE id % 130 = 0;
    DELETE FROM public.pairs WHERE a = 1; UPDATE public.pairs SET body = 'spoilt' WHERE a IN (0, 2);
    INSERT INTO public.pairs (a, b) VALUES (-1, -1), (NULL, 7);
    DELETE FROM public.named;
    UPDATE public.dated SET v = 'spoilt' WHERE day > '2020-03-01'; DELETE FROM public.dated WHERE price > 3;
    INSERT INTO public.parts VALUES (-1, 9, 'surplus'); DELETE FROM public.parts WHERE id % 5 = 0;
    DELETE FROM public.worded WHERE n % 3 = 0;
";

/// Does something over and over until it is told to stop.
struct Worker {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<usize>>,
}

impl Worker {
    /// Writes; some transactions are open for a while, among others.
    fn write(client: Client, first: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut round = first;
            while !stopped.load(Ordering::Relaxed) {
                round += 1;
                let changes = CHANGES.replace("%N%", &round.to_string());
                client
                    .batch_execute(
                        "BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL deadlock_timeout = '50ms'",
                    )
                    .await?;
                let mut good = true;
                for change in changes.split(';').filter(|change| !change.trim().is_empty()) {
                    // Two who write may meet.
                    if let Err(error) = client.batch_execute(change).await {
                        ensure!(
                            error.code().is_some_and(|code| code.code().starts_with("23")
                                || ["40P01", "55P03"].contains(&code.code())),
                            "{error:?}"
                        );
                        good = false;
                        break;
                    }
                }
                if round.is_multiple_of(5) {
                    sleep(pause * 4).await;
                }
                client.batch_execute(if good { "COMMIT" } else { "ROLLBACK" }).await?;
                sleep(pause).await;
            }
            Ok(round - first)
        });
        Self { stop, task }
    }

    /// Reads a table that is right all the time: no row may be missing, or older than it was.
    fn watch(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut looks, mut last) = (0, HashMap::<i32, i32>::new());
            while !stopped.load(Ordering::Relaxed) {
                let rows = client.query("SELECT id, n FROM public.steady", &[]).await?;
                ensure!(rows.len() == 2000, "{} rows", rows.len());
                for row in rows {
                    let (id, n) = (row.get(0), row.get(1));
                    let before = last.insert(id, n);
                    ensure!(before.is_none_or(|before| before <= n), "row {id}: {n} after {before:?}");
                }
                looks += 1;
                sleep(Duration::from_millis(20)).await;
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

/// Runs `re_dms …` with the stream's config; what it printed.
fn re_dms(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let config = sandbox.text("capture_config")?.to_owned();
    let (command, more) =
        arguments.split_at(if ["segments", "tables"].contains(&arguments[0]) { 2 } else { 1 });
    let output = run("re_dms", &[command, &["--config", &config], more].concat())?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "{}: {said}\n{}", arguments.join(" "), sandbox.capture_log());
    Ok(said)
}

fn resync(sandbox: &Sandbox, tables: &[&str], more: &[&str]) -> Result<String> {
    let named: Vec<_> = tables.iter().map(|table| format!("public.{table}")).collect();
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    re_dms(sandbox, &[&["tables", "resync"], named.as_slice(), more].concat())
}

fn log(sandbox: &Sandbox) -> Result<String> {
    Ok(std::fs::read_to_string(sandbox.text("capture_log")?)?)
}

/// Lines of the log that say this, in order.
fn said(sandbox: &Sandbox, what: &str) -> Result<Vec<String>> {
    Ok(log(sandbox)?.lines().filter(|line| line.contains(what)).map(str::to_owned).collect())
}

async fn wait_until_read(sandbox: &Sandbox) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = sandbox.capture_status()?;
        let is_empty = |key: &str| status[key].as_array().is_none_or(Vec::is_empty);
        if is_empty("resyncs") && is_empty("quarantined") {
            return Ok(());
        }
        ensure!(started.elapsed() < Duration::from_secs(150), "{status}\n{}", sandbox.capture_log());
        sleep(Duration::from_millis(200)).await;
    }
}

/// Tables whose Redshift side is wrong in every way are right in the end, and what was right never was anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_tables_are_read_anew_range_by_range_under_heavy_writes() -> Result<()> {
    let sandbox =
        Sandbox::up_with("[copy]\nmax_bytes_per_second = \"1MiB\"\n[batch]\ninterval = \"300ms\"\n")?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    sandbox.wait_and_compare()?;
    warehouse.batch_execute(DAMAGE).await?;
    ensure!(!sandbox.diff()?.0, "the damage is to be seen");
    let writers = [
        Worker::write(sandbox.source().await?, 0, Duration::from_millis(30)),
        Worker::write(sandbox.source().await?, 5000, Duration::from_millis(60)),
    ];
    let watcher = Worker::watch(sandbox.warehouse().await?);
    sleep(Duration::from_millis(500)).await;
    let answer = resync(&sandbox, &ALL, &["--timeout", "170"])?;
    ensure!(answer.contains("as on the source again"), "{answer}");
    let mut rounds = 0;
    for writer in writers {
        rounds += writer.end().await?;
    }
    ensure!(rounds > 20, "{rounds} rounds are no heavy writing");
    ensure!(watcher.end().await? > 20);
    sandbox.wait_and_compare()?;
    let swept = said(&sandbox, "was read anew, range by range")?;
    for table in ALL.iter().filter(|table| **table != "worded") {
        let name = format!("public.{table}");
        ensure!(
            swept.iter().any(|line| line.contains(&name)),
            "{table}: {swept:?}\n{}",
            sandbox.capture_log()
        );
    }
    ensure!(!swept.iter().any(|line| line.contains("public.worded")), "texts have no order on both sides");
    let chunks =
        swept.iter().find(|line| line.contains("public.keyed")).and_then(|line| number(line, "chunks="));
    ensure!(chunks > Some(5), "{swept:?}");
    sandbox.down()
}

fn number(line: &str, key: &str) -> Option<u64> {
    let rest = &line[line.find(key)? + key.len()..];
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// The capture and the loaders die at random moments, once with the capture's disk: what was staged is not read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_ranges() -> Result<()> {
    let mut sandbox = Sandbox::up_with(
        "[copy]\nmax_bytes_per_second = \"512KiB\"\n[batch]\ninterval = \"300ms\"\n[slot]\nadvance_on = \"staged\"\n",
    )?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    sandbox.wait_and_compare()?;
    warehouse.batch_execute(DAMAGE).await?;
    let writer = Worker::write(sandbox.source().await?, 0, Duration::from_millis(60));
    resync(&sandbox, &ALL, &["--no-wait"])?;
    // The largest one takes some seconds.
    let file = sandbox.text("capture_log")?.to_owned();
    let begun_keyed = || {
        let log = std::fs::read_to_string(&file)?;
        let said = log.lines().filter(|line| line.contains("reading a table anew, range by range"));
        anyhow::Ok(said.filter(|line| line.contains("public.keyed")).count())
    };
    for round in 0..4 {
        let started = Instant::now();
        while round == 0 && begun_keyed()? == 0 {
            ensure!(started.elapsed() < Duration::from_secs(60), "{}", sandbox.capture_log());
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_millis(rand::random_range(0..900))).await;
        if round != 1 {
            sandbox.kill_capture()?;
        }
        if round == 2 {
            std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
        }
        // Its messages come again after a while.
        if round < 2 {
            for pid in loader_pids(sandbox.pid("aws")?) {
                kill(pid);
            }
        }
        if round == 3 {
            sandbox.crash_redshift()?;
        }
        sandbox.up_again()?;
    }
    wait_until_read(&sandbox).await?;
    let begun = begun_keyed()?;
    ensure!(begun > 1, "it was not read when the capture was killed: {begun}\n{}", sandbox.capture_log());
    writer.end().await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}

/// It goes on when the table goes on, through changes of its definition, and only some keys may be asked for; what is on S3 of
/// it can be replayed and merged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_paused_asked_for_and_replayed() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    sandbox.source().await?.batch_execute(TABLES).await?;
    let config = "[copy]\nmax_bytes_per_second = \"512KiB\"\nworkers = 2\n[batch]\ninterval = \"1s\"\n\
                  [[tables]]\nmatch = \"public.parts\"\nresync_by = \"snapshot\"\n";
    sandbox.new_stream("ranges", config)?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    sandbox.wait_and_compare()?;

    // Only what was asked for is read.
    warehouse
        .batch_execute("UPDATE public.keyed SET v = 'spoilt' WHERE id IN (500, 530, 2000, 9020); UPDATE public.pairs SET body = 'spoilt' WHERE b IN (7, 20)")
        .await?;
    let wish = |table: &str, id: u32, key: &str, ranges: &str| {
        format!(
            "SELECT pg_logical_emit_message(true, 're_dms.tables', '{{\"stream\":\"ranges\",\"request\":\"resync_keys\",\
             \"id\":\"{id}\",\"table\":{{\"oid\":' || '{table}'::regclass::oid || ',\"schema\":\"public\",\"name\":\"{table}\"}},\
             \"keys\":{{\"key\":[{key}],\"ranges\":[{ranges}]}}}}')"
        )
    };
    let keyed =
        r#"{"from":{"key":["500"],"included":true},"to":["505"]},{"from":{"key":["1990"]},"to":["2000"]}"#;
    source.batch_execute(&wish("keyed", 1, "\"id\"", keyed)).await?;
    let pairs = r#"{"from":{"key":["7","0"],"included":true},"to":["7","100"]}"#;
    source.batch_execute(&wish("pairs", 2, "\"b\",\"a\"", pairs)).await?;
    sandbox.wait(60)?;
    wait_for_log(&sandbox, "was read anew, range by range", 2).await?;
    wait_until_read(&sandbox).await?;
    sandbox.wait(60)?;
    let spoilt = |sql: &'static str| {
        let warehouse = &warehouse;
        async move { anyhow::Ok(warehouse.query_one(sql, &[]).await?.get::<_, String>(0)) }
    };
    let ids =
        spoilt("SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.keyed WHERE v = 'spoilt'").await?;
    ensure!(ids == "530 9020", "{ids}\n{}", sandbox.capture_log());
    let bs =
        spoilt("SELECT string_agg(DISTINCT b::text, ' ') FROM public.pairs WHERE body = 'spoilt'").await?;
    ensure!(bs == "20", "{bs}");

    // In the middle: the table stands still, and goes on; then its definition changes; then its rows go.
    warehouse
        .batch_execute("DELETE FROM public.keyed WHERE id % 20 = 0; DELETE FROM public.parts WHERE id > 700")
        .await?;
    let writer = Worker::write(sandbox.source().await?, 0, Duration::from_millis(100));
    resync(&sandbox, &["keyed", "parts"], &["--no-wait"])?;
    wait_for_log(&sandbox, "reading a table anew, range by range", 3).await?;
    re_dms(&sandbox, &["tables", "pause", "public.keyed"])?;
    sleep(Duration::from_secs(3)).await;
    let status = sandbox.capture_status()?;
    ensure!(status["resyncs"].to_string().contains("public.keyed"), "{status}");
    re_dms(&sandbox, &["tables", "resume", "public.keyed"])?;
    wait_for_log(&sandbox, "reading a table anew, range by range", 4).await?;
    sleep(Duration::from_millis(300)).await;
    source
        .batch_execute(
            "ALTER TABLE keyed ADD COLUMN more int DEFAULT 5, DROP COLUMN n, ADD COLUMN n int DEFAULT 1",
        )
        .await?;
    sleep(Duration::from_secs(2)).await;
    wait_until_read(&sandbox).await?;
    writer.end().await?;
    ensure!(said(&sandbox, "reading tables anew")?.len() == 1, "parts alone\n{}", sandbox.capture_log());
    let begun = said(&sandbox, "reading a table anew, range by range")?.len();
    ensure!(begun > 4, "its definition was changed when all was read\n{}", sandbox.capture_log());

    warehouse
        .batch_execute("DELETE FROM public.named; INSERT INTO public.named VALUES ('x', now(), 1)")
        .await?;
    resync(&sandbox, &["named", "pairs"], &["--no-wait"])?;
    wait_for_log(&sandbox, "reading a table anew, range by range", begun + 2).await?;
    source.batch_execute("TRUNCATE pairs; INSERT INTO pairs VALUES (1, 'after', 1)").await?;
    wait_until_read(&sandbox).await?;
    sandbox.wait_and_compare()?;

    // From S3 alone, and from a base image that has the ranges in it.
    let everything = ["keyed", "pairs", "named", "dated", "parts"];
    for (into, checkpoint) in [("again", false), ("merged", true)] {
        if checkpoint {
            re_dms(&sandbox, &["segments", "checkpoint"])?;
        }
        re_dms(&sandbox, &["replay", "--into", into])?;
        for table in everything {
            let sql = |schema: &str| {
                format!(
                    "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM (SELECT to_jsonb(x) t FROM {schema}.{table} x) t"
                )
            };
            let ours: Option<String> = warehouse.query_one(&sql(into), &[]).await?.get(0);
            let theirs: Option<String> = warehouse.query_one(&sql("public"), &[]).await?.get(0);
            ensure!(ours == theirs, "{into}.{table} differs");
        }
    }
    let listed = re_dms(&sandbox, &["segments", "list", "--table", "public.keyed"])?;
    ensure!(listed.contains("loaded"), "{listed}");
    sandbox.down()
}

async fn wait_for_log(sandbox: &Sandbox, what: &str, times: usize) -> Result<()> {
    let started = Instant::now();
    while said(sandbox, what)?.len() < times {
        ensure!(started.elapsed() < Duration::from_secs(90), "{what}\n{}", sandbox.capture_log());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
