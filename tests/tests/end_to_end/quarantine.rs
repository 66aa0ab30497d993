//! One bad table does not stop the others (invariant 10), and comes back whole.

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Sandbox, run};
use serde_json::Value;

/// A text that is too long is a reason, too, if somebody wants it so.
const LONG: &str =
    "[[columns]]\nmatch = \"public.long.v\"\ntype = \"VARCHAR(10)\"\nlong_text = \"quarantine\"\n";

#[tokio::test]
async fn a_bad_table_is_quarantined_and_resumed_without_the_others_noticing() -> Result<()> {
    let mut sandbox = Sandbox::up_with(LONG)?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    // Two tables that can't take what comes, each in its own way: one by its type, one when COPY's rows are inserted.
    warehouse
        .batch_execute(
            "CREATE TABLE public.typed (id integer, v date);
             CREATE TABLE public.strict (id integer, v varchar(65535) CHECK (v <> 'no'))",
        )
        .await?;
    source
        .batch_execute(
            "CREATE TABLE good (id int PRIMARY KEY, v text); CREATE TABLE typed (LIKE good INCLUDING ALL);
             CREATE TABLE strict (LIKE good INCLUDING ALL); CREATE TABLE long (LIKE good INCLUDING ALL);
             INSERT INTO long VALUES (1, 'ten letter');
             INSERT INTO good VALUES (1, 'a'); INSERT INTO strict VALUES (1, 'yes')",
        )
        .await?;
    sandbox.wait(120)?;
    source
        .batch_execute(
            "BEGIN; INSERT INTO good VALUES (2, 'b'); INSERT INTO typed VALUES (1, 'a'), (2, 'b');
             INSERT INTO strict VALUES (2, 'no'); INSERT INTO long VALUES (2, 'eleven lett'); COMMIT",
        )
        .await?;
    // The other tables' part of the same transaction arrives.
    sandbox.wait(120)?;
    let bad = ["public.long", "public.strict", "public.typed"];
    ensure!(quarantined(&sandbox)? == bad, "{:?}", sandbox.capture_status()?);
    let (same, said) = sandbox.diff()?;
    ensure!(!same && said.contains("strict") && said.contains("typed"), "{said}");
    let good: i64 = warehouse.query_one("SELECT count(*) FROM good", &[]).await?.get(0);
    ensure!(good == 2, "{good} rows of the good table");

    // More comes meanwhile, also over a restart, and is skipped at once.
    source.batch_execute("UPDATE strict SET v = 'later'; DELETE FROM typed WHERE id = 1").await?;
    sandbox.wait(120)?;
    sandbox.restart_capture()?;
    source.batch_execute("INSERT INTO good VALUES (3, 'c'); INSERT INTO typed VALUES (3, 'c')").await?;
    sandbox.wait(120)?;
    let config = sandbox.text("capture_config")?.to_owned();
    let listed = run("re_dms", &["tables", "list", "--config", &config])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(
        listed.contains("public.typed: column v is date in Redshift") || listed.contains("column v is DATE"),
        "{listed}"
    );
    ensure!(
        listed.contains("public.strict  skipped since segment 2") && listed.contains("hint: "),
        "{listed}"
    );
    ensure!(!listed.contains("no)") && !listed.contains("(2,"), "a row's values are shown: {listed}");

    // Nothing was remedied yet.
    let resume =
        |table: &str| run("re_dms", &["tables", "resume", "--config", &config, "--timeout", "60", table]);
    let refused = resume("public.typed")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("stays quarantined"), "{said}");
    let unknown = resume("public.good")?;
    ensure!(String::from_utf8_lossy(&unknown.stderr).contains("is not quarantined"));

    warehouse
        .batch_execute("DROP TABLE public.typed; ALTER TABLE public.strict DROP CONSTRAINT strict_v_check")
        .await?;
    for table in ["public.typed", "public.strict"] {
        let resumed = resume(table)?;
        ensure!(
            resumed.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&resumed.stderr),
            sandbox.capture_log()
        );
    }
    source.batch_execute("UPDATE long SET v = 'short' WHERE id = 2").await?;
    let resynced =
        run("re_dms", &["tables", "resync", "--config", &config, "--timeout", "120", "public.long"])?;
    ensure!(resynced.status.success(), "{}", String::from_utf8_lossy(&resynced.stderr));
    ensure!(quarantined(&sandbox)?.is_empty(), "{:?}", sandbox.capture_status()?);
    sandbox.wait_and_compare()?;
    source.batch_execute("INSERT INTO typed VALUES (4, 'd'); INSERT INTO strict VALUES (4, 'd')").await?;
    sandbox.wait_and_compare()
}

/// By name, as the capture tells.
fn quarantined(sandbox: &Sandbox) -> Result<Vec<String>> {
    let status = sandbox.capture_status()?;
    let tables = status["quarantined"].as_array().context("status.json has no quarantined")?;
    let name = |table: &Value| table["table"].as_str().map(str::to_owned).context("a table has a name");
    tables.iter().map(name).collect()
}
