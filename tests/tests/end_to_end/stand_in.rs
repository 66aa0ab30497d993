//! The pipeline against a stand-in for Redshift that is set otherwise than by default, and that goes wrong in every way.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_tests::Sandbox;
use re_dms_tests::workload::Workload;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The other reading of every point that the documents leave open, and the other isolation level.
fn other_settings() -> Value {
    json!({
        "isolation": "serializable",
        "open_points": {
            "quoted_fields_may_be_null": false,
            "super_knows_null_as": false,
            "empty_super_is_null": true,
            "floats_may_be_special": true,
            "times_may_be_24": false,
            "dates_may_be_far": true,
            "reused_tokens_replay": true,
            "batches_may_commit": true,
            "copies_report_rows": false,
            "copies_may_follow_alter": true,
            "copy_row_megabytes": 64,
            "copy_strings_are_escaped": true,
            "colons_are_parameters": true,
        },
    })
}

#[tokio::test]
async fn every_open_point_may_be_the_other_way_round() -> Result<()> {
    let config = "[types]\nsuper_null = \"empty\"\n";
    let sandbox = Sandbox::up_with_redshift(&json!({ "settings": other_settings() }), config)?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            r#"CREATE TABLE rich (id int PRIMARY KEY, name text, doc jsonb, at timestamptz, f float8, r real, n numeric(20,4),
                    d date, t time, tt timetz, b bytea, ok boolean, u uuid, tags text[], many numeric, c char(4));
               CREATE TABLE keyless (a int, f float8, doc json, at timestamp); ALTER TABLE keyless REPLICA IDENTITY FULL;
               CREATE TABLE "by text" (k text PRIMARY KEY, v varchar(8));
               INSERT INTO rich VALUES
                 (1, 'it''s "quoted", \ and :named', '{"a": [1, null, "x:y"]}', '2024-02-29 12:34:56.789012+02', 1e300, 0.1,
                  1234567890123456.7891, '2024-02-29', '23:59:59.999999', '12:00:00+05:30', '\x00ff5c', true,
                  '00000000-0000-0000-0000-000000000001', '{a,NULL,"c,d"}', 1e20, 'ab'),
                 (2, '', '""', 'infinity', 'NaN', 'Infinity', NULL, '10000-01-01', '00:00:00', NULL, '', false, NULL, '{}', NULL, ''),
                 (3, NULL, NULL, '4713-01-01 00:00:00+00 BC', '-Infinity', NULL, 'NaN', '0044-03-15 BC', NULL, NULL, NULL, NULL,
                  NULL, NULL, 'NaN', NULL),
                 (4, '\N', 'null', NULL, -0.0, 1e-40, -1, 'infinity', NULL, NULL, NULL, NULL, NULL, NULL, 0, ' ');
               INSERT INTO keyless VALUES (1, 0.5, '{}', now()), (1, 0.5, '{}', NULL), (NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL);
               INSERT INTO "by text" VALUES ('a', 'x'), ('a ', 'y'), ('', 'z')"#,
        )
        .await?;
    sandbox.wait_and_compare()?;
    source
        .batch_execute(
            r#"UPDATE rich SET name = name || '!', f = 2 WHERE id IN (1, 3); UPDATE rich SET id = 40 WHERE id = 4;
               DELETE FROM rich WHERE id = 2; INSERT INTO rich (id) VALUES (2);
               DELETE FROM keyless WHERE ctid = (SELECT max(ctid) FROM keyless); UPDATE keyless SET a = 2 WHERE at IS NULL;
               UPDATE rich SET doc = NULL WHERE id = 40; UPDATE rich SET doc = 'null' WHERE id = 3; UPDATE keyless SET doc = NULL WHERE a = 1;
               UPDATE "by text" SET v = 'w' WHERE k = 'a '; DELETE FROM "by text" WHERE k = '';
               ALTER TABLE rich ADD COLUMN extra text DEFAULT 'it''s new', DROP COLUMN many;
               UPDATE rich SET extra = 'changed' WHERE id = 1;
               ALTER TABLE "by text" RENAME COLUMN v TO w; INSERT INTO "by text" VALUES ('b', 'v');
               ALTER TABLE "by text" ALTER COLUMN w TYPE varchar(40); INSERT INTO "by text" VALUES ('c', repeat('w', 40))"#,
        )
        .await?;
    sandbox.wait_and_compare()?;
    source.batch_execute("TRUNCATE keyless; INSERT INTO keyless VALUES (7, 7, '[7]', NULL)").await?;
    let mut workload = Workload::start(sandbox.source().await?, 21).await?;
    workload.transactions(60).await?;
    sandbox.wait_and_compare()?;
    foreign_driver(&sandbox)?;
    sandbox.down()
}

/// What was loaded, as AWS's own driver sees it.
fn foreign_driver(sandbox: &Sandbox) -> Result<()> {
    let url: tokio_postgres::Config = sandbox.text("redshift_url")?.parse()?;
    let venv = std::env::var_os("RE_DMS_VENV")
        .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv"), Into::into);
    let output = Command::new(venv.join("bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/end_to_end/read_with_redshift_connector.py"))
        .args(["127.0.0.1", &url.get_ports().first().context("a port")?.to_string()])
        .args([
            url.get_user().context("a user")?,
            std::str::from_utf8(url.get_password().context("a password")?)?,
        ])
        .arg(url.get_dbname().context("a database")?)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(told.contains("and :named!") && told.contains(r#"{"a":[1,null,"x:y"]}"#), "{told}");
    ensure!(told.contains("2024, 2, 29, 10, 34, 56, 789012"), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_loader_outlasts_all_that_goes_wrong() -> Result<()> {
    let sandbox =
        Sandbox::up_with_redshift(&json!({ "faults": { "latency_ms": 20, "commit_latency_ms": 50 } }), "")?;
    let mut workload = Workload::start(sandbox.source().await?, 22).await?;
    workload.transactions(20).await?;
    sandbox.wait_and_compare()?;
    let passing = [
        json!({ "throttle_requests": 5, "refuse_requests": { "count": 4, "by": "internal_error" } }),
        json!({ "refuse_requests": { "count": 3, "by": "active_statements" } }),
        json!({ "refuse_requests": { "count": 2, "by": "database_connection" }, "conflict_commits": 2 }),
        json!({ "fail_executions": { "count": 1, "after_commit": true }, "lose_answers": { "count": 2, "by": "internal_error" } }),
        json!({ "fail_executions": { "count": 1, "error": "1023 DETAIL: Serializable isolation violation on table - t" } }),
        json!({ "lose_answers": { "count": 2, "by": "connection" } }),
    ];
    for faults in passing {
        set(&sandbox, &faults).await?;
        workload.transactions(30).await?;
        sandbox.wait(120)?;
    }
    for (state, usual) in [
        (json!({ "disk_full": true }), json!({ "disk_full": false })),
        (json!({ "cluster": "paused" }), json!({ "cluster": "available" })),
        (json!({ "cluster": "resizing" }), json!({ "cluster": "available" })),
    ] {
        set(&sandbox, &state).await?;
        workload.transactions(30).await?;
        sleep(Duration::from_secs(3)).await;
        let status = sandbox.capture_status()?;
        ensure!(status["segments_in_flight"].as_u64() > Some(0), "{state} stops nothing: {status}");
        set(&sandbox, &usual).await?;
        sandbox.wait(120)?;
    }
    ensure!(
        sandbox.capture_status()?["quarantined"].as_array().is_none_or(Vec::is_empty),
        "tables were given up"
    );
    sandbox.wait_and_compare()
}

/// Changes some of the faults, at the control endpoint.
pub(crate) async fn set(sandbox: &Sandbox, changes: &Value) -> Result<()> {
    let endpoint = sandbox.text("redshift_control_endpoint")?;
    let rest = endpoint.strip_prefix("http://").context("an HTTP endpoint")?;
    let (host, path) = rest.split_once('/').context("an endpoint with a path")?;
    let body = changes.to_string();
    let mut stream = TcpStream::connect(host).await?;
    let request = format!(
        "PATCH /{path}/faults HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 2"), "{changes}: {answer}");
    Ok(())
}
