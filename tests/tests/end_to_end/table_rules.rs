//! `[[tables]]`: how tables lie in Redshift, and what becomes of changes of their definitions; `re_dms plan`; tables that
//! nobody writes to.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use re_dms_tests::{Sandbox, run};
use tokio_postgres::Client;

/// One text of all rows, to be compared.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<String> {
    let sql = format!("SELECT COALESCE(string_agg(r, ' '), '') FROM ({sql}) AS q (r)");
    Ok(client.query_one(&sql, &[]).await?.get(0))
}

pub(super) async fn columns(client: &Client, table: &str) -> Result<String> {
    let sql = "SELECT column_name::text FROM information_schema.columns \
               WHERE table_schema || '.' || table_name = '{table}' ORDER BY column_name";
    rows(client, &sql.replace("{table}", table)).await
}

/// Asks the warehouse until it answers so.
async fn until(sandbox: &Sandbox, sql: &str, expected: &str) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let found = rows(&warehouse, sql).await?;
        if found == expected {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{found:?}, not {expected:?}:\n{}", sandbox.capture_log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn until_columns(sandbox: &Sandbox, table: &str, expected: &str) -> Result<()> {
    let sql = format!(
        "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY 1"
    );
    until(sandbox, &sql, expected).await
}

pub(super) fn re_dms(sandbox: &Sandbox, arguments: &[&str]) -> Result<(bool, String)> {
    let config = sandbox.text("capture_config")?.to_owned();
    let output = run("re_dms", &[arguments, &["--config", &config]].concat())?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

pub(super) async fn held(sandbox: &Sandbox) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let status = sandbox.capture_status()?;
        let tables = status["quarantined"].as_array().cloned().unwrap_or_default();
        let held: Vec<_> = tables.iter().filter(|table| table["held"] == true).collect();
        if let [held] = held.as_slice() {
            return Ok(format!("{} {}", held["table"], held["reason"]));
        }
        if Instant::now() > deadline {
            bail!("nothing is held: {tables:?}\n{}", sandbox.capture_log());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const LAYOUT: &str = r#"
    [batch]
    interval = "300ms"
    [[tables]]
    match = "public.laid*"
    distkey = "customer"
    sortkey = ["at", "customer"]
    encode = { note = "zstd" }
    primary_key = true
"#;

/// A table's life with all that Redshift is unwilling to change.
async fn lay(sandbox: &Sandbox, source: &Client, table: &str) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    source
        .batch_execute(&format!(
            "CREATE TABLE {table} (id varchar(10) PRIMARY KEY, customer int, at timestamp, note varchar(10), k int UNIQUE NOT NULL);
             INSERT INTO {table} SELECT 'id' || g, g, now(), 'note', -g FROM generate_series(1, 5) g"
        ))
        .await?;
    sandbox.wait_and_compare()?;
    let laid = format!(
        "SELECT format('%s:%s:%s:%s', column_name, distkey, sortkey, is_nullable) FROM re_dms_standin.svv_redshift_columns
         WHERE table_name = '{table}' AND (distkey OR sortkey > 0 OR is_nullable = 'NO') ORDER BY 1"
    );
    let found = rows(&warehouse, &laid).await?;
    ensure!(found == "at:f:1:YES customer:t:2:YES id:f:0:NO", "{found}");
    let statements = [
        "ALTER TABLE {t} ALTER note TYPE varchar(50), ALTER id TYPE varchar(2000)",
        "INSERT INTO {t} VALUES (repeat('ä', 2000), 6, now(), repeat('n', 50), -6)",
        "ALTER TABLE {t} DROP COLUMN customer, ADD more int DEFAULT 2; UPDATE {t} SET note = 'x' WHERE k = -1",
        "ALTER TABLE {t} ALTER at TYPE date; UPDATE {t} SET note = 'y' WHERE k = -2",
        "ALTER TABLE {t} DROP CONSTRAINT {t}_pkey; ALTER TABLE {t} ADD PRIMARY KEY (k); ALTER TABLE {t} ALTER id DROP NOT NULL",
        "INSERT INTO {t} (id, k) VALUES (NULL, -7); UPDATE {t} SET note = 'by k' WHERE k = -3; DELETE FROM {t} WHERE k = -4",
        "ALTER TABLE {t} DROP COLUMN id; INSERT INTO {t} (k) VALUES (-8)",
    ];
    for statement in statements {
        source.batch_execute(&statement.replace("{t}", table)).await?;
        // What a rewritten table's rows had in a new column is not to be had later.
        sandbox.wait(120)?;
    }
    sandbox.wait_and_compare()?;
    let found = rows(&warehouse, &laid).await?;
    ensure!(found.is_empty(), "nothing is in the way any more: {found}");
    Ok(())
}

#[tokio::test]
async fn tables_lie_as_they_are_wanted_and_are_changed_all_the_same() -> Result<()> {
    let sandbox = Sandbox::up_with(LAYOUT)?;
    let source = sandbox.source().await?;
    lay(&sandbox, &source, "laid").await?;
    let (installed, said) = re_dms(&sandbox, &["init", "--ddl-trigger"])?;
    ensure!(installed, "{said}");
    lay(&sandbox, &source, "laid_too").await
}

const POLICIES: &str = r#"
    [batch]
    interval = "300ms"
    [source]
    look_interval = "1s"
    [[tables]]
    match = "public.keeps*"
    dropped_columns = "keep"
    dropped_tables = "keep"
    [[tables]]
    match = "public.ignores*"
    schema_changes = "ignore"
    resync = "manual"
    [[tables]]
    match = "public.holds*"
    schema_changes = "hold"
"#;

/// About the table that is called `{t}` in them.
async fn one_by_one(source: &Client, table: &str, statements: &[&str]) -> Result<()> {
    for statement in statements {
        source.batch_execute(&statement.replace("{t}", table)).await?;
    }
    Ok(())
}

/// What is dropped stays, with what it held.
async fn keep(sandbox: &Sandbox, source: &Client, table: &str) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    one_by_one(
        source,
        table,
        &[
            "CREATE TABLE {t} (id int PRIMARY KEY, a text, b int); INSERT INTO {t} SELECT g, 'old' || g, g FROM generate_series(1, 4) g",
            "ALTER TABLE {t} ADD d int DEFAULT 5; UPDATE {t} SET b = 0 WHERE id = 1",
        ],
    )
    .await?;
    // What rows from before have in a column that is gone when the catalog is asked is not to be had.
    sandbox.wait_and_compare()?;
    one_by_one(
        source,
        table,
        &[
            "ALTER TABLE {t} DROP a, DROP d; UPDATE {t} SET b = 10 WHERE id = 1; DELETE FROM {t} WHERE id = 2; INSERT INTO {t} VALUES (5, 5)",
        ],
    )
    .await?;
    sandbox.wait_and_compare()?;
    let kept = format!(
        "SELECT concat_ws(':', id, b, COALESCE(a, '-'), COALESCE(d::text, '-')) FROM {table} ORDER BY id"
    );
    let found = rows(&warehouse, &kept).await?;
    ensure!(found == "1:10:old1:5 3:3:old3:5 4:4:old4:5 5:5:-:-", "{found}");
    // A new column of the name is another one.
    one_by_one(
        source,
        table,
        &[
            "ALTER TABLE {t} ADD a int DEFAULT 7; UPDATE {t} SET b = 30 WHERE id = 3; INSERT INTO {t} VALUES (6, 6, 6)",
            "ALTER TABLE {t} RENAME b TO d; UPDATE {t} SET d = 40 WHERE id = 4",
        ],
    )
    .await?;
    sandbox.wait_and_compare()?;
    let kept = format!(
        "SELECT concat_ws(':', id, d, a, COALESCE(re_dms_kept_2_a, '-'), COALESCE(re_dms_kept_4_d::text, '-')) \
                FROM {table} ORDER BY id"
    );
    let found = rows(&warehouse, &kept).await?;
    ensure!(found == "1:10:7:old1:5 3:30:7:old3:5 4:40:7:old4:5 5:5:7:-:- 6:6:6:-:-", "{found}");
    // So is a new table.
    let oid: u32 = source.query_one(&format!("SELECT '{table}'::regclass::oid"), &[]).await?.get(0);
    one_by_one(
        source,
        table,
        &["DROP TABLE {t}; CREATE TABLE {t} (id int PRIMARY KEY, z text); INSERT INTO {t} VALUES (1, 'z')"],
    )
    .await?;
    sandbox.wait_and_compare()?;
    ensure!(columns(&warehouse, &format!("public.{table}")).await? == "id z");
    let found =
        rows(&warehouse, &format!("SELECT id::text FROM re_dms_kept_{oid}_{table} ORDER BY id")).await?;
    ensure!(found == "1 3 4 5 6", "{found}");
    Ok(())
}

/// Redshift's table stays as it is, as long as values fit.
async fn ignore(sandbox: &mut Sandbox, source: &Client, table: &str) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    one_by_one(
        source,
        table,
        &[
            "CREATE TABLE {t} (id int PRIMARY KEY, a bigint, b int); INSERT INTO {t} VALUES (1, 1, 1), (2, 2, 2)",
            "ALTER TABLE {t} ADD c text; INSERT INTO {t} VALUES (3, 3, 3, 'three')",
            "ALTER TABLE {t} RENAME a TO x; ALTER TABLE {t} DROP b; UPDATE {t} SET x = 20, c = 'two' WHERE id = 2",
            "ALTER TABLE {t} ALTER x TYPE int; INSERT INTO {t} VALUES (4, 4, 'four')",
        ],
    )
    .await?;
    sandbox.wait(120)?;
    sandbox.restart_capture()?;
    one_by_one(source, table, &["INSERT INTO {t} VALUES (5, 5, 'five'); DELETE FROM {t} WHERE id = 4"])
        .await?;
    sandbox.wait(120)?;
    ensure!(columns(&warehouse, &format!("public.{table}")).await? == "a b id", "{}", sandbox.capture_log());
    let found = rows(
        &warehouse,
        &format!("SELECT concat_ws(':', id, a, COALESCE(b::text, '-')) FROM {table} ORDER BY id"),
    )
    .await?;
    ensure!(found == "1:1:1 2:20:2 3:3:3 5:5:-", "{found}");
    // What does not fit into the old type can't be ignored: somebody has to say so.
    one_by_one(source, table, &["ALTER TABLE {t} ALTER x TYPE text; UPDATE {t} SET x = 'text' WHERE id = 5"])
        .await?;
    let held = held(sandbox).await?;
    ensure!(held.contains(&format!("public.{table}")) && held.contains("ADD COLUMN"), "{held}");
    let (approved, said) = re_dms(sandbox, &["tables", "approve", &format!("public.{table}")])?;
    ensure!(approved, "{said}\n{}", sandbox.capture_log());
    until(
        sandbox,
        &format!(
            "SELECT concat_ws(':', id, x, COALESCE(b::text, '-'), COALESCE(c, '-')) FROM {table} ORDER BY id"
        ),
        "1:1:1:- 2:20:2:- 3:3:3:- 5:text:-:five",
    )
    .await?;
    let marked = sandbox.capture_status()?["needs_resync"].to_string();
    ensure!(marked.contains(&format!("public.{table}")) && marked.contains("was left out"), "{marked}");
    one_by_one(source, table, &["DROP TABLE {t}"]).await?;
    Ok(())
}

/// A change waits for somebody, and the others do not.
async fn hold(sandbox: &mut Sandbox, source: &Client, table: &str) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    one_by_one(
        source,
        table,
        &[
            "CREATE TABLE {t} (id int PRIMARY KEY, a text); INSERT INTO {t} SELECT g, 'old' FROM generate_series(1, 3) g",
            "CREATE TABLE goes_{t} (id int PRIMARY KEY); INSERT INTO {t} VALUES (4, 'old')",
        ],
    )
    .await?;
    sandbox.wait_and_compare()?;
    one_by_one(source, table, &["ALTER TABLE {t} ADD c varchar(9) DEFAULT 'secret'; INSERT INTO {t} VALUES (5, 'new'); INSERT INTO goes_{t} VALUES (1)"]).await?;
    let told = held(sandbox).await?;
    ensure!(
        told.contains(&format!("public.{table}")) && told.contains("ADD COLUMN") && !told.contains("secret"),
        "{told}"
    );
    one_by_one(
        source,
        table,
        &["INSERT INTO goes_{t} VALUES (2); ALTER TABLE {t} DROP a; DELETE FROM {t} WHERE id = 1"],
    )
    .await?;
    sandbox.wait(120)?;
    ensure!(columns(&warehouse, &format!("public.{table}")).await? == "a id");
    ensure!(rows(&warehouse, &format!("SELECT id::text FROM goes_{table} ORDER BY id")).await? == "1 2");
    sandbox.restart_capture()?;
    let (_, said) = re_dms(sandbox, &["plan"])?;
    let add = said.find(&format!(r#"ALTER TABLE "public"."{table}" ADD COLUMN "c" VARCHAR(36);"#));
    let drop = said.find(&format!(r#"ALTER TABLE "public"."{table}" DROP COLUMN "a";"#));
    ensure!(add.is_some() && add < drop && said.contains("held since segment"), "{said}");
    let (resumed, said) = re_dms(sandbox, &["tables", "resume", &format!("public.{table}")])?;
    ensure!(!resumed && said.contains(&format!("re_dms tables approve public.{table}")), "{said}");
    let (approved, said) = re_dms(sandbox, &["tables", "approve", &format!("public.{table}")])?;
    ensure!(approved, "{said}\n{}", sandbox.capture_log());
    sandbox.wait_and_compare()?;
    ensure!(columns(&warehouse, &format!("public.{table}")).await? == "c id");
    // Dropping it is a change, too.
    one_by_one(source, table, &["DROP TABLE {t}"]).await?;
    let told = held(sandbox).await?;
    ensure!(told.contains("DROP TABLE"), "{told}");
    let (approved, said) = re_dms(sandbox, &["tables", "approve", &format!("public.{table}")])?;
    ensure!(approved, "{said}");
    ensure!(columns(&warehouse, &format!("public.{table}")).await?.is_empty());
    Ok(())
}

/// Nobody writes to them, and there is no event trigger.
async fn idle(sandbox: &mut Sandbox, source: &Client) -> Result<()> {
    one_by_one(
        source,
        "",
        &[
            "CREATE TABLE idle (id int PRIMARY KEY, a int); INSERT INTO idle VALUES (1, 1)",
            "CREATE TABLE busy (id int PRIMARY KEY); INSERT INTO busy VALUES (1)",
        ],
    )
    .await?;
    sandbox.wait_and_compare()?;
    source.batch_execute("ALTER TABLE idle ADD c int DEFAULT 4").await?;
    until(
        sandbox,
        "SELECT c::text FROM (SELECT to_jsonb(i) ->> 'c' FROM idle i) q (c) WHERE c IS NOT NULL",
        "4",
    )
    .await?;
    source.batch_execute("ALTER TABLE idle RENAME TO idler; ALTER TABLE idler DROP a").await?;
    until_columns(sandbox, "idler", "c id").await?;
    sandbox.wait_and_compare()?;

    // What nobody has seen yet is told on demand.
    sandbox.kill_capture()?;
    one_by_one(
        source,
        "",
        &["ALTER TABLE idler ADD e date; DROP TABLE busy; CREATE TABLE unborn (id int PRIMARY KEY)"],
    )
    .await?;
    let (_, said) = re_dms(sandbox, &["plan"])?;
    for sql in [
        r#"DROP TABLE "public"."busy";"#,
        r#"ALTER TABLE "public"."idler" ADD COLUMN "e" DATE;"#,
        r#"CREATE TABLE IF NOT EXISTS "public"."unborn" ("id" INTEGER);"#,
    ] {
        ensure!(said.contains(sql), "{said}");
    }
    sandbox.up_again()?;
    until_columns(sandbox, "idler", "c e id").await?;
    until_columns(sandbox, "busy", "").await?;

    // The trigger is taken away by hand: the look notices.
    let (installed, said) = re_dms(sandbox, &["init", "--ddl-trigger"])?;
    ensure!(installed, "{said}");
    source.batch_execute("ALTER TABLE idler RENAME TO idlest").await?;
    until_columns(sandbox, "idlest", "c e id").await?;
    let triggers =
        rows(source, "SELECT format('DROP EVENT TRIGGER %I;', evtname) FROM pg_event_trigger").await?;
    source.batch_execute(&triggers).await?;
    source.batch_execute("ALTER TABLE idlest DROP e; ALTER TABLE idlest ADD e int").await?;
    let integer = "SELECT data_type::text FROM information_schema.columns WHERE table_name = 'idlest' AND column_name = 'e'";
    until(sandbox, integer, "integer").await?;
    ensure!(sandbox.capture_log().contains("the event trigger is gone"), "{}", sandbox.capture_log());
    source.batch_execute("INSERT INTO idlest VALUES (2, 2, 2)").await?;
    sandbox.wait_and_compare()
}

#[tokio::test]
async fn changes_are_kept_ignored_held_or_foreseen_as_the_tables_rules_say() -> Result<()> {
    let mut sandbox = Sandbox::up_with(POLICIES)?;
    let source = sandbox.source().await?;
    keep(&sandbox, &source, "keeps").await?;
    ignore(&mut sandbox, &source, "ignores").await?;
    hold(&mut sandbox, &source, "holds").await?;
    let (installed, said) = re_dms(&sandbox, &["init", "--ddl-trigger"])?;
    ensure!(installed, "{said}");
    keep(&sandbox, &source, "keeps_too").await?;
    ignore(&mut sandbox, &source, "ignores_too").await?;
    hold(&mut sandbox, &source, "holds_too").await?;
    let (removed, said) = re_dms(&sandbox, &["init", "--remove-ddl-trigger"])?;
    ensure!(removed, "{said}");
    idle(&mut sandbox, &source).await
}
