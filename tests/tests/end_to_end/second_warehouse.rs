//! The history goes into another warehouse, by a loader of its own: with tables in it that were read anew in between, as a whole
//! and range by range, from the beginning and from a checkpoint.

mod place;

use anyhow::{Result, ensure};
use re_dms_tests::{Aws, Sandbox, run};
use tokio_postgres::Client;

use place::SecondWarehouse;

const CONFIG: &str =
    "[batch]\ninterval = \"300ms\"\n[[tables]]\nmatch = \"public.whole\"\nresync_by = \"snapshot\"\n";

const TABLES: &str = "
    CREATE TABLE ranged (id int PRIMARY KEY, v text, body text);
    ALTER TABLE ranged ALTER body SET STORAGE EXTERNAL;
    INSERT INTO ranged SELECT g, 'v', repeat(md5(g::text), 80) FROM generate_series(1, 200) g;
    CREATE TABLE whole (id int PRIMARY KEY, v text);
    INSERT INTO whole SELECT g, 'v' FROM generate_series(1, 200) g;
    CREATE TABLE keyless (a int, b text);
    ALTER TABLE keyless REPLICA IDENTITY FULL;
    INSERT INTO keyless SELECT g % 7, 'b' FROM generate_series(1, 50) g;";

const CHANGES: &str = "
    UPDATE ranged SET v = v || '.' WHERE id % 5 = 0; UPDATE ranged SET id = id + 1000 WHERE id % 20 = 3;
    UPDATE whole SET v = v || '.' WHERE id % 7 = 0; DELETE FROM whole WHERE id % 31 = 0;
    INSERT INTO keyless VALUES (9, 'new'); DELETE FROM keyless WHERE a = 3;";

/// What only a reading anew mends.
const DAMAGE: &str = "
    DELETE FROM public.ranged WHERE id % 4 = 0; UPDATE public.ranged SET v = 'spoilt' WHERE id % 9 = 0;
    INSERT INTO public.whole VALUES (-1, 'surplus'); UPDATE public.whole SET v = 'spoilt' WHERE id % 9 = 0;";

const ALL: [&str; 3] = ["ranged", "whole", "keyless"];

async fn rows(client: &Client, table: &str) -> Result<Vec<String>> {
    let rows = client.query(&format!("SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1"), &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn re_dms(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let config = sandbox.text("capture_config")?;
    let output = run("re_dms", &[arguments, &["--config", config]].concat())?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "{arguments:?}: {said}\n{}", sandbox.capture_log());
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_warehouse_gets_what_was_read_anew_too() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    sandbox.kill_capture()?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    source.batch_execute(TABLES).await?;
    sandbox.new_stream("first", CONFIG)?;
    sandbox.wait_and_compare()?;
    source.batch_execute(CHANGES).await?;
    sandbox.wait_and_compare()?;
    warehouse.batch_execute(DAMAGE).await?;
    re_dms(&sandbox, &["tables", "resync", "public.ranged", "public.whole"])?;
    source.batch_execute(CHANGES).await?;
    sandbox.wait_and_compare()?;

    let second = SecondWarehouse::beside(&sandbox, &Aws::of(&sandbox).await?).await?;
    let theirs = second.client().await?;
    let aside = |name: &str, more: &[&str]| {
        re_dms(&sandbox, &[&["replay", "--queue", &second.queue_url, "--stream", name], more].concat())
    };
    let said = aside("moved", &[])?;
    ensure!(!said.contains("0 segments"), "{said}");
    for table in ALL {
        let expected = rows(&source, table).await?;
        ensure!(rows(&theirs, &format!("public.{table}")).await? == expected, "{table} differs");
    }
    let again = aside("moved", &[])?;
    ensure!(again.contains("0 segments and 0 rows loaded now"), "{again}");
    re_dms(&sandbox, &["segments", "checkpoint"])?;
    let said = aside("merged", &["--into", "merged"])?;
    ensure!(!said.contains("0 segments"), "{said}");
    for table in ALL {
        let expected = rows(&source, table).await?;
        ensure!(rows(&theirs, &format!("merged.{table}")).await? == expected, "merged.{table} differs");
    }

    // The first one knows nothing of it.
    let ledgers = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables \
                   WHERE schemaname = 're_dms' AND tablename LIKE 'ledger%'";
    let found =
        |client: Client| async move { anyhow::Ok(client.query_one(ledgers, &[]).await?.get::<_, String>(0)) };
    ensure!(found(theirs).await? == "ledger_merged ledger_moved");
    let ours = found(warehouse).await?;
    ensure!(ours.contains("ledger_first") && !ours.contains("moved"), "{ours}");
    source.batch_execute(CHANGES).await?;
    sandbox.wait_and_compare()?;
    sandbox.down()
}
