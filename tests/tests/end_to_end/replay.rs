//! What was loaded once is loaded again from S3 alone: as it was at a time, into another schema, into a warehouse that lost
//! everything, through crashes. The live stream goes on and is not touched.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, binary, kill, loader_pids, run};
use tokio::time::sleep;
use tokio_postgres::Client;

/// There before the stream: they come by the initial copy.
const TABLES: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, v text, gone int, n numeric(12,2), at timestamptz);
    ALTER TABLE orders ALTER v SET STORAGE EXTERNAL;
    INSERT INTO orders SELECT g, repeat(md5(g::text), 100), g, g / 7.0, '2024-01-01'::timestamptz + g * interval '1 h'
        FROM generate_series(1, 400) g;
    CREATE TABLE twice (a int, b text);
    ALTER TABLE twice REPLICA IDENTITY FULL;
    INSERT INTO twice SELECT g % 5, CASE WHEN g % 2 = 0 THEN 'x' END FROM generate_series(1, 60) g;
    CREATE SCHEMA other;
    CREATE TABLE other.plain (id int PRIMARY KEY, j jsonb);
    INSERT INTO other.plain SELECT g, jsonb_build_object('k', g) FROM generate_series(1, 50) g;";

/// What happens to them, a phase before each point in time: every operation, keys that change while TOASTed values do not,
/// columns and tables that are renamed, dropped and added.
const PHASES: [&[&str]; 3] = [
    &[
        "UPDATE orders SET n = n + 1 WHERE id % 3 = 0",
        "DELETE FROM orders WHERE id % 50 = 0",
        "UPDATE orders SET id = id + 1000 WHERE id BETWEEN 10 AND 20",
        "DELETE FROM twice WHERE ctid IN (SELECT ctid FROM twice WHERE a = 1 LIMIT 3)",
        "INSERT INTO twice VALUES (1, NULL), (1, NULL), (7, 'y')",
    ],
    &[
        "ALTER TABLE orders ADD COLUMN state varchar(20) DEFAULT 'new'",
        "UPDATE orders SET state = 'paid' WHERE id % 4 = 0",
        "ALTER TABLE orders RENAME COLUMN n TO amount",
        "ALTER TABLE orders DROP COLUMN gone",
        "INSERT INTO orders (id, v, amount) SELECT g, 'later', g FROM generate_series(2000, 2100) g",
        "CREATE TABLE fresh (id int PRIMARY KEY, v varchar(10))",
        "INSERT INTO fresh SELECT g, 'f' FROM generate_series(1, 30) g",
    ],
    &[
        "ALTER TABLE orders RENAME TO bought",
        "UPDATE bought SET id = id + 5000 WHERE id BETWEEN 2000 AND 2050",
        "UPDATE bought SET amount = NULL, state = 'void' WHERE id % 7 = 0",
        "TRUNCATE twice",
        "INSERT INTO twice SELECT g, 'after' FROM generate_series(1, 10) g",
        "ALTER TABLE fresh ADD COLUMN w bigint DEFAULT 5",
        "DELETE FROM fresh WHERE id < 10",
        "ALTER TABLE fresh ALTER v TYPE varchar(100)",
        "UPDATE fresh SET v = 'longer than ten characters' WHERE id = 15",
        "UPDATE other.plain SET j = '[1, {\"a\": null}]' WHERE id < 9",
    ],
];

/// What a warehouse is without.
const LOSE_EVERYTHING: &str = "DROP SCHEMA re_dms CASCADE; DROP SCHEMA other CASCADE;
    DROP SCHEMA public CASCADE; CREATE SCHEMA public";

/// Tables by name, with their rows.
type Dump = Vec<(String, Vec<String>)>;

/// A table's rows, whatever order its columns have.
async fn rows(client: &Client, table: &str) -> Result<Vec<String>> {
    let rows = client.query(&format!("SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1"), &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A sandbox with a stream that has copied the tables.
async fn copied(config: &str) -> Result<Sandbox> {
    let mut sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    sandbox.source().await?.batch_execute(TABLES).await?;
    sandbox.new_stream("main_line", config)?;
    sandbox.wait_and_compare()?;
    Ok(sandbox)
}

/// What `re_dms` says, and whether it is content.
fn re_dms(sandbox: &Sandbox, arguments: &[&str]) -> Result<(bool, String)> {
    let (command, more) = arguments.split_at(if arguments[0] == "segments" { 2 } else { 1 });
    let config = sandbox.text("capture_config")?;
    let output = run("re_dms", &[command, &["--config", config], more].concat())?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), said))
}

fn replay(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let (good, said) = re_dms(sandbox, &[&["replay"], arguments].concat())?;
    ensure!(good, "{said}");
    Ok(said)
}

/// One table, and all of them, at three points in time, each equal to a dump that was taken then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_comes_back_as_it_was_at_three_points_in_time() -> Result<()> {
    let mut sandbox = copied("[batch]\ninterval = \"300ms\"\n").await?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    let mut dumps: Vec<(String, Dump)> = Vec::new();
    for phase in PHASES {
        for statement in phase {
            source.batch_execute(statement).await?;
        }
        sandbox.wait_and_compare()?;
        let now: String = source.query_one("SELECT to_json(clock_timestamp())#>>'{}'", &[]).await?.get(0);
        let names = source
            .query(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind = 'r' AND n.nspname IN ('public', 'other') ORDER BY 1",
                &[],
            )
            .await?;
        let mut dump = Vec::new();
        for name in names.iter().map(|row| row.get::<_, String>(0)) {
            dump.push((name.clone(), rows(&source, &name).await?));
        }
        dumps.push((now, dump));
    }

    // The list has what is there, and how to name it.
    let (_, listed) = re_dms(&sandbox, &["segments", "list", "--table", "public.orders"])?;
    ensure!(listed.contains("initial copy as of") && listed.contains("definition changed"), "{listed}");
    ensure!(!listed.contains("twice") && listed.contains("loaded"), "{listed}");
    let (_, listed) = re_dms(&sandbox, &["segments", "list", "--json", "--from", &dumps[0].0])?;
    let first: serde_json::Value = serde_json::from_str(listed.lines().next().context("no segment")?)?;
    let later = first["seq"].as_u64().context("a number")?;
    let (good, shown) = re_dms(&sandbox, &["segments", "show", &later.to_string()])?;
    ensure!(good && shown.contains("loaded at") && shown.contains("definition: add_column"), "{shown}");

    for (number, (time, dump)) in dumps.iter().enumerate() {
        let (one, all) = (format!("one_{number}"), format!("all_{number}"));
        replay(&sandbox, &["--to", time, "--table", "public.orders", "--into", &one])?;
        replay(&sandbox, &["--to", time, "--into", &all, "--stream", &format!("replay_{number}")])?;
        for (name, expected) in dump {
            let table = name.split_once('.').context("a schema")?.1;
            ensure!(rows(&warehouse, &format!("{all}.{table}")).await? == *expected, "{all}.{table} differs");
            if table == "orders" || table == "bought" {
                ensure!(
                    rows(&warehouse, &format!("{one}.{table}")).await? == *expected,
                    "{one}.{table} differs"
                );
            }
        }
        let made = "SELECT count(*) FROM information_schema.tables WHERE table_schema = $1";
        let count =
            async |schema: &str| -> Result<i64> { Ok(warehouse.query_one(made, &[&schema]).await?.get(0)) };
        ensure!((count(&one).await?, count(&all).await?) == (1, i64::try_from(dump.len())?));
    }
    // The same once more does nothing; another wish by the same name is refused, as is what would touch the live tables.
    let again = replay(&sandbox, &["--to", &dumps[0].0, "--table", "public.orders", "--into", "one_0"])?;
    ensure!(again.contains("0 segments and 0 rows loaded now"), "{again}");
    for (arguments, words) in [
        (&["--to", "4", "--into", "one_0"][..], "is there already"),
        (&["--into", "public", "--stream", "x"], "holds tables of the live stream"),
        (&["--stream", "x"], "--into SCHEMA"),
        (&["--table", "public.orders"], "whole segments"),
        (&["--from", "3"], "the ledger says from where"),
        (&["--into", "y", "--table", "public.nothing"], "concerns these tables"),
        (&["--into", "y", "--to", "1"], "before the initial copy's snapshot"),
    ] {
        let (good, said) = re_dms(&sandbox, &[&["replay"], arguments].concat())?;
        ensure!(!good && said.contains(words) && said.contains("hint:"), "{arguments:?}: {said}");
    }

    // What is gone is said before anything starts.
    let aws = Aws::of(&sandbox).await?;
    let files = aws.keys(".csv.gz").await?;
    let file =
        files.iter().find(|key| key.contains("/main_line/") && key.contains("orders")).context("no file")?;
    let content = aws.object(file).await?;
    aws.s3.delete_object().bucket(&aws.bucket).key(file).send().await?;
    let (good, said) = re_dms(&sandbox, &["replay", "--into", "incomplete"])?;
    ensure!(!good && said.contains(file) && said.contains("is gone from S3"), "{said}");
    ensure!(aws.keys("replay.json").await?.iter().all(|key| !key.contains("incomplete")));
    aws.s3.put_object().bucket(&aws.bucket).key(file).body(content.into()).send().await?;
    ensure!(aws.sqs.list_queues().send().await?.queue_urls().len() == 3, "an answer queue was left");

    // With a checkpoint what is before it may go; one more is made on top of it.
    let names: Vec<_> = dumps.iter().map(|(time, _)| time.clone()).collect();
    let (good, said) = re_dms(&sandbox, &["segments", "checkpoint", "--to", &names[1]])?;
    ensure!(good, "{said}");
    let seq = said.rsplit_once("as of segment ").and_then(|(_, rest)| rest.split_once(','));
    let seq: u64 = seq.context("no segment")?.0.parse()?;
    for key in aws.keys("").await?.iter().filter(|key| key.contains("/main_line/")) {
        let number = key.split_once("/segments/").and_then(|(_, rest)| rest.get(..12)?.parse::<u64>().ok());
        if number.is_some_and(|number| number <= seq) || key.contains("/copy/") {
            aws.s3.delete_object().bucket(&aws.bucket).key(key).send().await?;
        }
    }
    let (good, said) = re_dms(&sandbox, &["replay", "--into", "before", "--to", &names[0]])?;
    ensure!(!good && said.contains("is gone from S3"), "{said}");
    for (number, into) in [(1, "merged_1"), (2, "merged_2"), (2, "merged_again")] {
        if into == "merged_again" {
            let (good, said) = re_dms(&sandbox, &["segments", "checkpoint"])?;
            ensure!(good, "{said}");
        }
        replay(&sandbox, &["--to", &names[number], "--into", into, "--stream", into])?;
        for (name, expected) in &dumps[number].1 {
            let table = name.split_once('.').context("a schema")?.1;
            ensure!(
                rows(&warehouse, &format!("{into}.{table}")).await? == *expected,
                "{into}.{table} differs"
            );
        }
    }

    // All the while nothing happened to the stream itself.
    source.batch_execute("INSERT INTO twice VALUES (99, 'live')").await?;
    sandbox.wait_and_compare()?;
    sandbox.restart_capture()?;
    sandbox.wait_and_compare()?;

    // A warehouse that lost everything begins with the checkpoint: most segments are gone.
    sandbox.kill_capture()?;
    warehouse.batch_execute(LOSE_EVERYTHING).await?;
    let said = replay(&sandbox, &[])?;
    ensure!(!said.contains("0 segments"), "{said}");
    let again = replay(&sandbox, &[])?;
    ensure!(again.contains("0 segments and 0 rows loaded now"), "{again}");
    sandbox.restart_capture()?;
    source.batch_execute("INSERT INTO twice VALUES (100, 'goes on')").await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}

fn start_replay(sandbox: &Sandbox, arguments: &[&str]) -> Result<Child> {
    let config = sandbox.text("capture_config")?;
    let mut command = Command::new(binary("re_dms"));
    command.args(["replay", "--config", config]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// A warehouse that lost everything gets it back from S3 without the source, while loaders and the command itself are
/// killed at random moments; so does another schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_warehouse_comes_back_from_s3_alone_through_kill_9() -> Result<()> {
    let mut sandbox = copied("[batch]\ninterval = \"20ms\"\n[queues]\nresend_after = \"5s\"\n").await?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    for statement in PHASES.into_iter().flatten() {
        source.batch_execute(statement).await?;
        sleep(Duration::from_millis(60)).await;
    }
    for n in 0..60 {
        let sql = format!(
            "UPDATE bought SET amount = {n} WHERE id % 60 = {n}; INSERT INTO twice VALUES ({n}, 'more')"
        );
        source.batch_execute(&sql).await?;
        sleep(Duration::from_millis(40)).await;
    }
    sandbox.wait_and_compare()?;
    let mut dump = Vec::new();
    for table in ["bought", "twice", "fresh"] {
        dump.push((table, rows(&source, &format!("public.{table}")).await?));
    }
    sandbox.kill_capture()?;
    kill(sandbox.pid("source")?);
    warehouse.batch_execute(LOSE_EVERYTHING).await?;

    let aws = sandbox.pid("aws")?;
    for arguments in [&[][..], &["--into", "elsewhere"]] {
        let mut command = start_replay(&sandbox, arguments)?;
        for round in 0..3 {
            sleep(Duration::from_millis(rand::random_range(100..900))).await;
            for pid in loader_pids(aws) {
                kill(pid);
            }
            if round == 1 {
                kill(command.id());
                command.wait()?;
                command = start_replay(&sandbox, arguments)?;
            }
        }
        let started = Instant::now();
        while command.try_wait()?.is_none() {
            if started.elapsed() > Duration::from_secs(170) {
                command.kill()?;
            }
            sleep(Duration::from_millis(100)).await;
        }
        ensure!(
            command.wait()?.success(),
            "{arguments:?} failed: {:?}",
            re_dms(&sandbox, &[&["replay"], arguments].concat())
        );
        let schema = if arguments.is_empty() { "public" } else { "elsewhere" };
        for (table, expected) in &dump {
            ensure!(
                rows(&warehouse, &format!("{schema}.{table}")).await? == *expected,
                "{schema}.{table} differs"
            );
        }
    }
    sandbox.up_again()?;
    sandbox.source().await?.batch_execute("INSERT INTO twice VALUES (1000, 'goes on')").await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}
