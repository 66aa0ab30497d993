//! Redshift's tables follow every change of the source's, with and without the event trigger.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use re_dms_tests::{Sandbox, run};
use serde_json::Value;
use tokio_postgres::Client;

/// Who tells of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detector {
    /// Relation messages, and the catalog.
    Catalog,
    /// The event trigger.
    Trigger,
}

/// Tables with rows from before, each for one kind of change.
const TABLES: &str = r#"
    CREATE TABLE adds (id int PRIMARY KEY, v text); INSERT INTO adds SELECT g, 'old' FROM generate_series(1, 5) g;
    CREATE TABLE several (id int PRIMARY KEY, v text, w int); INSERT INTO several SELECT g, 'old', g FROM generate_series(1, 5) g;
    CREATE TABLE again (id int PRIMARY KEY, a int, b int, c int); INSERT INTO again SELECT g, g, g, g FROM generate_series(1, 5) g;
    CREATE TABLE names (id int PRIMARY KEY, a int, b text, "C" date); INSERT INTO names SELECT g, g, 'b' || g, '2020-01-01' FROM generate_series(1, 5) g;
    CREATE TABLE swaps (id int PRIMARY KEY, a int, b int); INSERT INTO swaps SELECT g, g, -g FROM generate_series(1, 5) g;
    CREATE TABLE heir (id int PRIMARY KEY, a int, b int); INSERT INTO heir SELECT g, g, -g FROM generate_series(1, 5) g;
    CREATE TABLE types (id int PRIMARY KEY, vc varchar(5), n numeric(6,2), i int, bo boolean, d date, u uuid, vt varchar(10));
    INSERT INTO types SELECT g, 'ä' || g, g + 0.25, g, g % 2 = 0, ('2020-02-0' || g)::date, '6f1c0c5e-0f0c-4f0f-8f0f-6f1c0c5e0f0c', 't' || g FROM generate_series(1, 5) g;
    CREATE TABLE keys (id int PRIMARY KEY, k int UNIQUE NOT NULL, v text); INSERT INTO keys SELECT g, -g, 'old' FROM generate_series(1, 5) g;
    CREATE TABLE "Named" (id int PRIMARY KEY, v text); INSERT INTO "Named" SELECT g, 'old' FROM generate_series(1, 5) g;
    CREATE TABLE moved (id int PRIMARY KEY, v text); INSERT INTO moved SELECT g, 'old' FROM generate_series(1, 5) g;
    CREATE TABLE remade (id int PRIMARY KEY, v text); INSERT INTO remade SELECT g, 'old' FROM generate_series(1, 5) g;
    CREATE TABLE this (id int PRIMARY KEY, v text); INSERT INTO this SELECT g, 'this' FROM generate_series(1, 5) g;
    CREATE TABLE that (id int PRIMARY KEY, v text, w int); INSERT INTO that SELECT g, 'that' FROM generate_series(1, 5) g;
    CREATE TABLE middle (id int PRIMARY KEY, a int, b int); INSERT INTO middle SELECT g, g, g FROM generate_series(1, 5) g;
    CREATE TABLE back (id int PRIMARY KEY, a int); INSERT INTO back SELECT g, g FROM generate_series(1, 5) g;
    CREATE TABLE parts (id int, p int, v text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
    CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE part2 PARTITION OF parts FOR VALUES IN (2);
    INSERT INTO parts SELECT g, 1 + g % 2, 'old' FROM generate_series(1, 5) g;
"#;

/// A row of the table in `docs/schema-changes.md`, by a part of its name, and statements for it; what has none goes with
/// what is above it.
pub(super) type Change = (&'static str, &'static str);

/// Statements that are sent one by one, as people do.
pub(super) const CHANGES: &[Change] = &[
    (
        "ADD COLUMN",
        "ALTER TABLE adds ADD n int, ADD i int DEFAULT 7, ADD t text DEFAULT 'it''s \"new\", \\ äö', ADD s varchar(10) DEFAULT '', ADD b boolean DEFAULT true",
    ),
    (
        "with a constant default",
        "ALTER TABLE adds ADD nu numeric(10,3) DEFAULT 1.50, ADD nx numeric DEFAULT 1e-10, ADD f float8 DEFAULT 0.1, ADD d date DEFAULT '2020-02-29', ADD j jsonb DEFAULT '{\"a\": [1, null, \"x\"]}', ADD x bytea DEFAULT '\\x00ff', ADD a text[] DEFAULT '{a,NULL,\"b c\"}', ADD m money DEFAULT 12.5",
    ),
    (
        "`now()` included",
        "ALTER TABLE adds ADD at timestamptz DEFAULT now(), ADD later int; ALTER TABLE adds ALTER later SET DEFAULT 9",
    ),
    ("", "INSERT INTO adds (id) VALUES (6); UPDATE adds SET v = 'new' WHERE id = 1"),
    ("several in one command", "ALTER TABLE several DROP v, ADD x int DEFAULT 1, DROP w, ADD y text"),
    ("", "INSERT INTO several VALUES (6, 2, 'y'); UPDATE several SET y = 'z' WHERE id < 3"),
    (
        "drop and add under one name",
        "ALTER TABLE again DROP b; ALTER TABLE again ADD b int DEFAULT 5; ALTER TABLE again DROP c",
    ),
    ("", "ALTER TABLE again ADD c text"),
    ("", "UPDATE again SET a = 0 WHERE id = 2; INSERT INTO again VALUES (6, 6, 6, 'six')"),
    (
        "DROP COLUMN, RENAME COLUMN",
        "ALTER TABLE names RENAME a TO first; ALTER TABLE names RENAME b TO \"Second\"",
    ),
    ("", "UPDATE names SET first = 10 WHERE id = 1; INSERT INTO names VALUES (6, 6, 'six')"),
    ("", "ALTER TABLE names RENAME \"C\" TO c; ALTER TABLE names RENAME first TO a"),
    ("", "INSERT INTO names VALUES (7, 7, 'seven')"),
    (
        "renames in a circle",
        "BEGIN; ALTER TABLE swaps RENAME a TO x; ALTER TABLE swaps RENAME b TO a; ALTER TABLE swaps RENAME x TO b; INSERT INTO swaps VALUES (6, 60, 66); COMMIT",
    ),
    ("a rename to a name just dropped", "ALTER TABLE heir DROP a; ALTER TABLE heir RENAME b TO a"),
    ("", "INSERT INTO heir VALUES (6, 6)"),
    (
        "a longer VARCHAR or numeric",
        "ALTER TABLE types ALTER vc TYPE varchar(50), ALTER n TYPE numeric(8,4), ALTER i TYPE bigint",
    ),
    (
        "",
        "INSERT INTO types VALUES (6, repeat('ä', 50), 1234.5678, 5000000000, true, '2020-01-01', NULL, 'x')",
    ),
    (
        "rows anew, without USING",
        "ALTER TABLE types ALTER bo TYPE text, ALTER d TYPE timestamp, ALTER u TYPE text, ALTER vt TYPE text, ALTER i TYPE numeric",
    ),
    (
        "",
        "INSERT INTO types VALUES (7, 'x', 1, 1e20, 'yes', '2020-01-01 12:00', 'no uuid', repeat('long', 1000))",
    ),
    (
        "primary key",
        "ALTER TABLE keys DROP CONSTRAINT keys_pkey; ALTER TABLE keys ADD PRIMARY KEY (k); ALTER TABLE keys ALTER id DROP NOT NULL, ALTER v SET DEFAULT 'd'",
    ),
    (
        "",
        "INSERT INTO keys VALUES (NULL, 6); UPDATE keys SET v = 'by k' WHERE k = -3; DELETE FROM keys WHERE k = -4",
    ),
    ("replica identity", "ALTER TABLE keys REPLICA IDENTITY FULL; UPDATE keys SET v = 'full' WHERE k = -1"),
    ("RENAME TO", "ALTER TABLE \"Named\" RENAME TO called; INSERT INTO called VALUES (6, 'new')"),
    (
        "SET SCHEMA",
        "CREATE SCHEMA sales; ALTER TABLE moved SET SCHEMA sales; INSERT INTO sales.moved VALUES (6, 'new')",
    ),
    (
        "DROP TABLE",
        "DROP TABLE remade; CREATE TABLE remade (id int PRIMARY KEY, other date); INSERT INTO remade VALUES (1, '2020-01-01')",
    ),
    (
        "names that go round",
        "BEGIN; ALTER TABLE this RENAME TO x; ALTER TABLE that RENAME TO this; ALTER TABLE x RENAME TO that; INSERT INTO this VALUES (6, 'this', 6); INSERT INTO that VALUES (6, 'that'); COMMIT",
    ),
    (
        "",
        "BEGIN; INSERT INTO middle VALUES (6, 6, 6); UPDATE middle SET a = 0 WHERE id = 1; ALTER TABLE middle DROP b; ALTER TABLE middle ADD b int DEFAULT 8; INSERT INTO middle VALUES (7, 7, 7); UPDATE middle SET a = 2 WHERE id = 1; DELETE FROM middle WHERE id = 2; COMMIT",
    ),
    (
        "DDL that is rolled back",
        "BEGIN; ALTER TABLE back ADD b int DEFAULT 1; INSERT INTO back VALUES (6, 6, 6); ROLLBACK; BEGIN; INSERT INTO back VALUES (7, 7); SAVEPOINT s; ALTER TABLE back DROP a; INSERT INTO back VALUES (8); ROLLBACK TO s; INSERT INTO back VALUES (9, 9); COMMIT",
    ),
    (
        "",
        "ALTER TABLE parts ADD n int DEFAULT 3; CREATE TABLE part3 PARTITION OF parts FOR VALUES IN (3); INSERT INTO parts VALUES (6, 3, 'new')",
    ),
    ("", "ALTER TABLE parts RENAME v TO w; UPDATE parts SET w = 'newer' WHERE p = 1"),
    (
        "CREATE TABLE AS, SELECT INTO",
        "CREATE TABLE derived AS SELECT * FROM adds; INSERT INTO derived SELECT * FROM adds; SELECT id, v INTO selected FROM adds",
    ),
    ("", "ALTER TABLE derived ADD more int DEFAULT 1; INSERT INTO derived (id) VALUES (100)"),
];

/// Several changes of one table between two looks at it.
pub(super) const WHILE_DOWN: &[Change] = &[
    (
        "DDL while the capture was down",
        "ALTER TABLE again RENAME a TO z; ALTER TABLE again ADD a int DEFAULT 4; INSERT INTO again (id, a) VALUES (20, 20)",
    ),
    (
        "",
        "ALTER TABLE names DROP c; INSERT INTO names VALUES (20, 20); ALTER TABLE names ADD c text DEFAULT 'c'; INSERT INTO names VALUES (21, 21)",
    ),
    (
        "",
        "INSERT INTO several VALUES (20, 20, 'y'); ALTER TABLE several RENAME y TO z; INSERT INTO several VALUES (21, 21, 'z'); ALTER TABLE several DROP x; INSERT INTO several VALUES (22, 'z')",
    ),
    (
        "",
        "INSERT INTO called VALUES (20, 'called'); ALTER TABLE called RENAME TO renamed; INSERT INTO renamed VALUES (21, 'renamed'); CREATE TABLE called (id int PRIMARY KEY); INSERT INTO called VALUES (1)",
    ),
    (
        "",
        "INSERT INTO remade VALUES (20, '2020-01-01'); DROP TABLE remade; CREATE TABLE remade (id int PRIMARY KEY); INSERT INTO remade VALUES (5)",
    ),
    (
        "",
        "INSERT INTO back VALUES (20, 20); ALTER TABLE back ADD b int DEFAULT 1; INSERT INTO back VALUES (21, 21)",
    ),
];

async fn one_by_one(source: &Client, statements: &[&str]) -> Result<()> {
    for statement in statements {
        source.batch_execute(statement).await?;
    }
    Ok(())
}

async fn in_order(source: &Client, changes: &[Change]) -> Result<()> {
    for (_, statements) in changes {
        source.batch_execute(statements).await?;
    }
    Ok(())
}

/// Equal rows, and in Redshift no column and no table that the source lacks.
async fn is_followed(sandbox: &Sandbox, source: &Client) -> Result<()> {
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let ours = columns(source, "NOT c.relispartition").await?;
    let theirs = columns(&warehouse, "true").await?;
    let more: Vec<_> = theirs.difference(&ours).collect();
    ensure!(more.is_empty(), "only in Redshift: {more:?}\n{}", sandbox.capture_log());
    Ok(())
}

async fn columns(client: &Client, condition: &str) -> Result<BTreeSet<String>> {
    let sql = format!(
        "SELECT lower(format('%s.%s.%s', n.nspname, c.relname, a.attname)) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('public', 'sales') AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND {condition}"
    );
    Ok(client.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

pub(super) fn install(sandbox: &Sandbox, argument: &str) -> Result<()> {
    let output = run("re_dms", &["init", argument, "--config", sandbox.text("capture_config")?])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn marked(sandbox: &Sandbox) -> Result<Vec<(String, String)>> {
    let status = sandbox.capture_status()?;
    let tables = status["needs_resync"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(tables.iter().map(|table| (text(&table["table"]), text(&table["reason"]))).collect())
}

/// Everything that both detectors follow.
async fn follow(detector: Detector) -> Result<()> {
    // What is marked is to stay so, to be looked at.
    let mut sandbox = Sandbox::up_with(
        "[batch]\ninterval = \"300ms\"\n[[tables]]\nmatch = \"*.*\"\nresync = \"manual\"\n",
    )?;
    let source = sandbox.source().await?;
    source.batch_execute(TABLES).await?;
    sandbox.wait_and_compare()?;
    if detector == Detector::Trigger {
        install(&sandbox, "--ddl-trigger")?;
    }
    in_order(&source, CHANGES).await?;
    is_followed(&sandbox, &source).await?;
    // Without the trigger nobody knows whether there was a USING; with it the table is told apart from one that had one.
    let tables: Vec<_> = marked(&sandbox)?.into_iter().map(|(table, _)| table).collect();
    let expected: &[&str] = if detector == Detector::Catalog { &["public.types"] } else { &[] };
    ensure!(tables == expected, "{tables:?}");

    sandbox.kill_capture()?;
    in_order(&source, WHILE_DOWN).await?;
    sandbox.up_again()?;
    is_followed(&sandbox, &source).await?;

    // The disk is lost, and definitions change meanwhile: what was known lies on S3.
    sandbox.kill_capture()?;
    std::fs::remove_dir_all(sandbox.capture_data_dir()?)?;
    one_by_one(
        &source,
        &[
            "ALTER TABLE renamed RENAME v TO value; ALTER TABLE renamed ADD n int DEFAULT 2",
            "INSERT INTO renamed VALUES (30, 'x', 3); ALTER TABLE again DROP z; INSERT INTO again (id) VALUES (30)",
        ],
    )
    .await?;
    sandbox.up_again()?;
    is_followed(&sandbox, &source).await?;

    if detector == Detector::Trigger {
        only_by_the_trigger(&mut sandbox, &source).await?;
    }
    needs_resync(&mut sandbox, &source).await
}

/// Tables that nobody touches afterwards, and changes that leave no trace in the catalog.
async fn only_by_the_trigger(sandbox: &mut Sandbox, source: &Client) -> Result<()> {
    one_by_one(
        source,
        &[
            "DROP TABLE swaps, derived",
            "BEGIN; SAVEPOINT s; ALTER TABLE back ADD c int DEFAULT 1; RELEASE s; INSERT INTO back VALUES (30, 30, 30, 30); COMMIT",
            "ALTER TABLE back ALTER a TYPE bigint",
            "CREATE TABLE empty (id int PRIMARY KEY, v text)",
            "ALTER TABLE heir RENAME TO inherited; ALTER TABLE inherited ADD x int DEFAULT 6, DROP a",
            "ALTER SCHEMA sales RENAME TO shop",
            "CREATE TABLE shop.gone (id int); DROP TABLE shop.gone",
            "BEGIN; INSERT INTO middle VALUES (10, 10, 10); ALTER TABLE middle DROP b; ALTER TABLE middle ADD c int DEFAULT 9; INSERT INTO middle VALUES (11, 11, 11); UPDATE middle SET c = 1 WHERE id = 10; ALTER TABLE middle RENAME c TO b; INSERT INTO middle VALUES (12, 12, 12); DELETE FROM middle WHERE id = 3; COMMIT",
        ],
    )
    .await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let tables =
        "SELECT string_agg(table_schema || '.' || table_name, ' ' ORDER BY table_name) FROM information_schema.tables
                  WHERE table_name IN ('swaps', 'derived', 'empty', 'heir', 'inherited', 'moved', 'gone')";
    let row = warehouse.query_one(tables, &[]).await?;
    let found: Option<&str> = row.get(0);
    ensure!(found == Some("public.empty public.inherited shop.moved"), "{found:?}");
    source
        .batch_execute("INSERT INTO shop.moved VALUES (50, 'x'); INSERT INTO empty VALUES (1, 'x')")
        .await?;
    sandbox.wait_and_compare()?;

    // It can be taken away, and changes are followed by the catalog from there on.
    install(sandbox, "--remove-ddl-trigger")?;
    let left = source.query_one("SELECT count(*) FROM pg_event_trigger", &[]).await?;
    ensure!(left.get::<_, i64>(0) == 0, "nothing is left");
    ensure!(source.query("SELECT FROM pg_namespace WHERE nspname = 're_dms'", &[]).await?.is_empty());
    source
        .batch_execute("ALTER TABLE inherited DROP x; ALTER TABLE inherited ADD x int; INSERT INTO inherited VALUES (60, 1)")
        .await?;
    sandbox.wait_and_compare()
}

/// What can't be exact is told, also after a restart, and the rest goes on.
async fn needs_resync(sandbox: &mut Sandbox, source: &Client) -> Result<()> {
    one_by_one(
        source,
        &[
            "ALTER TABLE adds ADD volatile float8 DEFAULT random(); INSERT INTO adds (id, volatile) VALUES (50, 0.5)",
            "ALTER TABLE called ADD v int DEFAULT 1; ALTER TABLE called ALTER v TYPE text USING 'x' || v; INSERT INTO called VALUES (50, 'y')",
        ],
    )
    .await?;
    sandbox.wait(120)?;
    let wanted = |marked: &[(String, String)]| {
        let has = |name: &str, reason: &str| {
            marked.iter().any(|(table, why)| table == name && why.contains(reason))
        };
        has("public.adds", "volatile: its default is not constant") && has("public.called", "column v")
    };
    let found = marked(sandbox)?;
    ensure!(wanted(&found), "{found:?}");
    let log = sandbox.capture_log();
    ensure!(log.contains("needs a resync") && log.contains("hint:"), "{log}");
    sandbox.restart_capture()?;
    source.batch_execute("UPDATE adds SET volatile = 1; UPDATE called SET v = 'again'").await?;
    sandbox.wait_and_compare()?;
    let found = marked(sandbox)?;
    ensure!(wanted(&found), "after a restart: {found:?}");
    Ok(())
}

#[tokio::test]
async fn changes_are_followed_by_the_catalog() -> Result<()> {
    follow(Detector::Catalog).await
}

#[tokio::test]
async fn changes_are_followed_by_the_event_trigger() -> Result<()> {
    follow(Detector::Trigger).await
}

#[tokio::test]
async fn a_view_in_the_way_is_named_and_the_stream_goes_on_without_it() -> Result<()> {
    let sandbox = Sandbox::up_with("[batch]\ninterval = \"300ms\"\n")?;
    let source = sandbox.source().await?;
    source
        .batch_execute("CREATE TABLE read (id int PRIMARY KEY, a int, b varchar(4)); INSERT INTO read VALUES (1, 1, 'b')")
        .await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    warehouse
        .batch_execute("CREATE SCHEMA reports; CREATE VIEW reports.totals AS SELECT a FROM read")
        .await?;
    // A longer VARCHAR is no matter for the view; the column that it reads is.
    source
        .batch_execute("ALTER TABLE read ALTER b TYPE varchar(8); INSERT INTO read VALUES (2, 2, 'eight')")
        .await?;
    sandbox.wait_and_compare()?;
    source.batch_execute("ALTER TABLE read DROP a; INSERT INTO read VALUES (3, 'c')").await?;
    let deadline = Instant::now() + Duration::from_secs(120);
    let error = loop {
        let status = sandbox.capture_status()?;
        if let Some(error) = status["last_error"].as_str() {
            break error.to_owned();
        }
        ensure!(Instant::now() < deadline, "nothing was told:\n{}", sandbox.capture_log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    ensure!(error.contains("reports.totals") && error.contains("hint: drop these views"), "{error}");
    warehouse.batch_execute("DROP VIEW reports.totals").await?;
    is_followed(&sandbox, &source).await
}
