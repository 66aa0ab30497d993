//! Invariant 9 over a whole run: no row value and no secret in any log, status, answer or argument, whatever goes wrong.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, run};

use crate::operate::until;

/// In every row that is written.
const VALUE: &str = "planted-value-4711";
/// The constant of a definition: `re_dms plan` shows definitions, and nobody else does.
const DEFAULT: &str = "planted-default-4711";
/// In the password and the keys.
const SECRET: &str = "planted-secret-4711";
/// A number that only rows hold.
const NUMBER: &str = "8675309867530";

#[tokio::test]
async fn no_value_and_no_secret_is_told_anywhere() -> Result<()> {
    let settings = format!(
        "[source]\nlook_interval = \"2s\"\npassword = \"{SECRET}\"\nhash_columns = [\"public.hashed.v\"]\nhash_key = \"{SECRET}\"\n\
         [s3]\nstatus_interval = \"1s\"\n[log]\nlevel = \"re_dms_capture=trace,re_dms=trace,info\"\n\
         [types]\ninexact_numeric = \"null\"\nnumeric_scale = 2\n"
    );
    let mut sandbox = Sandbox::up_with(&settings)?;
    let (source, warehouse) = (sandbox.source().await?, sandbox.warehouse().await?);
    let config = sandbox.text("capture_config")?.to_owned();
    // Tables that Redshift does not take, each for its values.
    warehouse
        .batch_execute(
            "CREATE TABLE public.typed (id bigint, v date);
             CREATE TABLE public.strict (id bigint, v varchar(65535) CHECK (length(v) < 5))",
        )
        .await?;
    let insert = |table: &str, id: &str| format!("INSERT INTO {table} VALUES ({id}, '{VALUE}')");
    source
        .batch_execute(&format!(
            "CREATE TABLE good (id bigint PRIMARY KEY, v text); CREATE TABLE typed (LIKE good INCLUDING ALL);
             CREATE TABLE strict (LIKE good INCLUDING ALL); CREATE TABLE hashed (LIKE good INCLUDING ALL);
             CREATE TABLE keyless (id bigint, v text); ALTER TABLE keyless REPLICA IDENTITY FULL;
             CREATE TABLE bent (id bigint PRIMARY KEY, v text, d date, n numeric, f float8);
             {}; {}; {}; {}; {};
             INSERT INTO bent VALUES ({NUMBER}, repeat('{VALUE}', 9000), 'infinity', 1e60, 'NaN')",
            insert("good", NUMBER),
            insert("typed", NUMBER),
            insert("strict", NUMBER),
            insert("hashed", NUMBER),
            insert("keyless", NUMBER),
        ))
        .await?;
    sandbox.wait(120)?;
    source
        .batch_execute(&format!(
            "UPDATE good SET v = v || '{VALUE}'; UPDATE keyless SET v = '{VALUE}-2'; UPDATE good SET id = id + 1;
             ALTER TABLE good ADD COLUMN later text DEFAULT '{DEFAULT}'; DELETE FROM keyless; TRUNCATE hashed"
        ))
        .await?;
    sandbox.wait(120)?;
    let mut told: Vec<(String, String)> = Vec::new();
    let mut tell = |what: &str, output: &Output| {
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        told.push((what.to_owned(), String::from_utf8_lossy(&text).into_owned()));
    };
    tell(
        "resume",
        &run("re_dms", &["tables", "resume", "--config", &config, "--timeout", "60", "public.strict"])?,
    );
    tell("list", &run("re_dms", &["tables", "list", "--config", &config])?);
    tell("plan", &run("re_dms", &["plan", "--config", &config])?);
    tell("status", &run("re_dms", &["status", "--config", &config])?);
    tell("status as JSON", &run("re_dms", &["status", "--json", "--config", &config])?);
    tell("check", &run("re_dms", &["check", "--config", &config])?);
    let pid = sandbox.pid("capture")?;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline"))?;

    // A value that stops the capture by its policy, while it says so.
    let stops = settings.replace("inexact_numeric = \"null\"", "inexact_numeric = \"error\"");
    sandbox.new_stream("stops", &format!("copy.enabled = false\n{stops}"))?;
    source.batch_execute(&format!("INSERT INTO bent (id, v, n) VALUES (2, '{VALUE}', {NUMBER}e40)")).await?;
    until(|| Ok((!sandbox.runs("capture")?).then_some(()))).await.context("the capture did not stop")?;
    tell("status of one that stopped", &run("re_dms", &["status", "--config", &config])?);
    // A password that is refused, and a config that is broken.
    let broken = PathBuf::from(&config).with_file_name("broken.toml");
    std::fs::write(
        &broken,
        format!("stream = \"x\"\n[source]\nurl = \"postgres://u:{SECRET}@\npassword = {SECRET}\n"),
    )?;
    tell("a broken config", &run("re_dms", &["run", "--config", &broken.display().to_string()])?);

    let aws = Aws::of(&sandbox).await?;
    for suffix in ["status.json", "loaded.json", "stream.json", "position.json"] {
        for key in aws.keys(suffix).await? {
            told.push((key.clone(), String::from_utf8_lossy(&aws.object(&key).await?).into_owned()));
        }
    }
    told.push(("arguments".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
    let logs = Path::new(sandbox.text("capture_log")?).parent().context("a folder of logs")?;
    for part in ["capture", "aws"] {
        let log = std::fs::read(logs.join(format!("{part}.log")))?;
        ensure!(log.len() > 1000, "the log of {part} is empty");
        told.push((format!("the log of {part}"), String::from_utf8_lossy(&log).into_owned()));
    }
    // Whoever reads nothing finds nothing: each of these has been at work.
    let all: String = told.iter().map(|(_, text)| text.as_str()).collect();
    for sign in
        ["quarantined", "stays quarantined", "Redshift: COPY", "types.inexact_numeric", "\"loaded_by\""]
    {
        ensure!(all.contains(sign), "nobody says {sign}");
    }
    for (what, text) in &told {
        let default = if what == "plan" { None } else { Some(DEFAULT) };
        for planted in [VALUE, SECRET, NUMBER].into_iter().chain(default) {
            let at = text.find(planted);
            let line = at.and_then(|at| text[..at].lines().last()).unwrap_or_default();
            ensure!(at.is_none(), "{what} has {planted} after: {line}");
        }
    }
    Ok(())
}
