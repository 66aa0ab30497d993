//! Faults of rights and clocks: who owns the tables, who may use the bucket's key, which role COPY has, what time it is.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Aws, Sandbox, binary};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Checked, changed};
use crate::stand_in::set;

/// As S3 answers where the role lacks a right on the bucket's key.
const KMS_DENIED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>User: \
    arn:aws:sts::123456789012:assumed-role/capture/session is not authorized to perform: kms:GenerateDataKey on resource: \
    arn:aws:kms:eu-west-1:123456789012:key/1234abcd because no identity-based policy allows the kms:GenerateDataKey \
    action</Message><RequestId>R</RequestId></Error>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_finds_wrong_owners_keys_roles_and_clocks() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source
        .batch_execute("CREATE TABLE mine (id int PRIMARY KEY); CREATE TABLE \"Theirs\" (id int PRIMARY KEY)")
        .await?;
    source.batch_execute("INSERT INTO mine VALUES (1); INSERT INTO \"Theirs\" VALUES (1)").await?;
    sandbox.wait_and_compare()?;
    let config = changed(&sandbox, "same", &[])?;
    let checked = Checked::run(&config, &[])?;
    checked.expect("Redshift: tables", "ok", "belong to the loader's user")?;
    for clock in ["source: clock", "S3: clock", "loader: clock"] {
        checked.expect(clock, "ok", "within")?;
    }

    owners(&sandbox, &config).await?;
    copy_roles(&sandbox, &config).await?;
    bucket_key(&sandbox).await?;
    clocks(&sandbox, &config)
}

/// Somebody made a table before the loader did; another one of the same schema is none of the stream's.
async fn owners(sandbox: &Sandbox, config: &Path) -> Result<()> {
    let warehouse = sandbox.warehouse().await?;
    warehouse
        .batch_execute(
            "CREATE ROLE somebody; CREATE TABLE public.beside (id int); ALTER TABLE public.beside OWNER TO somebody;
             ALTER TABLE public.theirs OWNER TO somebody",
        )
        .await?;
    // Who may do everything needs to own nothing.
    Checked::run(config, &[])?.expect("Redshift: tables", "ok", "")?;
    // From here on the loader's user is an ordinary one, as it is in Redshift.
    warehouse
        .batch_execute(
            "CREATE ROLE loader; GRANT ALL ON SCHEMA re_dms, public TO loader;
             DO $$ DECLARE t record; s text; BEGIN
                 FOR t IN SELECT schemaname, tablename FROM pg_tables
                     WHERE schemaname IN ('re_dms', 'public') AND tablename NOT IN ('beside', 'theirs') LOOP
                     EXECUTE format('ALTER TABLE %I.%I OWNER TO loader', t.schemaname, t.tablename);
                 END LOOP;
                 FOR s IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 're_dms_standin%' LOOP
                     EXECUTE format('GRANT ALL ON SCHEMA %I TO loader; GRANT ALL ON ALL TABLES IN SCHEMA %I TO loader; \
                         GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO loader', s, s, s);
                 END LOOP;
                 EXECUTE format('GRANT ALL ON DATABASE %I TO loader', current_database());
                 EXECUTE format('ALTER ROLE %I SET role = loader', session_user);
             END $$",
        )
        .await?;
    let checked = Checked::run(config, &[])?;
    checked.expect("Redshift: login", "ok", "as loader")?;
    checked.expect("Redshift: tables", "error", "somebody else: public.theirs (somebody)")?;
    ensure!(!checked.finding("Redshift: tables")?.1.contains("beside"));
    checked.expect("Redshift: rows", "ok", "")?;
    // What is granted counts as well.
    let database = |sql: &str| format!("DO $$ BEGIN EXECUTE format('{sql}', current_database()); END $$");
    warehouse.batch_execute(&database("REVOKE CREATE ON DATABASE %I FROM loader")).await?;
    Checked::run(config, &[])?.expect("Redshift: CREATE on the database", "error", "permission denied")?;
    warehouse.batch_execute(&database("GRANT CREATE ON DATABASE %I TO loader")).await?;
    warehouse.batch_execute("REVOKE CREATE ON SCHEMA re_dms FROM loader").await?;
    Checked::run(config, &[])?.expect("Redshift: CREATE in re_dms", "error", "permission denied")?;
    warehouse
        .batch_execute("GRANT CREATE ON SCHEMA re_dms TO loader; ALTER TABLE public.theirs OWNER TO loader")
        .await?;
    Checked::run(config, &[])?.expect("Redshift: tables", "ok", "")
}

async fn copy_roles(sandbox: &Sandbox, config: &Path) -> Result<()> {
    for (error, hint) in [
        (
            "Not authorized to get credentials of role arn:aws:iam::123456789012:role/other",
            "attach it to the warehouse",
        ),
        (
            "User arn:aws:redshift:eu-west-1:123456789012:dbuser:c/u is not authorized to assume IAM Role arn:aws:iam::1:role/other",
            "attach it",
        ),
        ("S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid X", "s3:GetObject"),
        (
            "S3ServiceException:User: arn:aws:sts::1:assumed-role/copy/x is not authorized to perform: kms:Decrypt on resource: \
             arn:aws:kms:eu-west-1:1:key/k,Status 403,Error AccessDenied,Rid X",
            "kms:Decrypt",
        ),
    ] {
        set(sandbox, &json!({ "fail_copies": error })).await?;
        let checked = Checked::run(config, &[])?;
        checked.expect("Redshift: COPY", "error", &error[..30])?;
        checked.expect("Redshift: CREATE in re_dms", "ok", "")?;
        let findings = checked.report["findings"].as_array().context("findings")?;
        let copy = findings.iter().find(|finding| finding["item"] == "Redshift: COPY").context("COPY")?;
        ensure!(copy["hint"].as_str().is_some_and(|text| text.contains(hint)), "{error}: {copy}");
    }
    set(sandbox, &json!({ "fail_copies": Value::Null })).await
}

/// S3 as it is, but for a key that the capture's role may not use.
async fn bucket_key(sandbox: &Sandbox) -> Result<()> {
    let endpoint = sandbox.text("aws_endpoint")?.to_owned();
    let aws = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let aws = aws.clone();
            tokio::spawn(async move { pass_on(client, &aws).await });
        }
    });
    let config = changed(sandbox, "key", &[(&endpoint, &proxy)])?;
    let checked = Checked::run(&config, &["--no-loader"])?;
    checked.expect("S3: bucket", "ok", "")?;
    checked.expect("S3: objects", "error", "kms:GenerateDataKey")?;
    let findings = checked.report["findings"].as_array().context("findings")?;
    let objects = findings.iter().find(|finding| finding["item"] == "S3: objects").context("objects")?;
    ensure!(
        objects["hint"].as_str().is_some_and(|hint| hint.contains("on the bucket's key")),
        "the hint is about the bucket, not its key: {objects}"
    );
    serving.abort();
    Aws::of(sandbox).await?.announced().await?;
    Ok(())
}

/// One request: answered here if it writes an object, else by the local AWS.
async fn pass_on(mut client: TcpStream, aws: &str) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8(head)?;
    if text.starts_with("PUT /") {
        let length = KMS_DENIED.len();
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{KMS_DENIED}"
        );
        client.write_all(answer.as_bytes()).await?;
        return Ok(());
    }
    let mut server = TcpStream::connect(aws).await?;
    let first = text.find("\r\n").context("a request line")? + 2;
    server.write_all(format!("{}Connection: close\r\n{}", &text[..first], &text[first..]).as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The capture's machine is two minutes ahead of everybody.
fn clocks(sandbox: &Sandbox, config: &Path) -> Result<()> {
    let library = sandbox.capture_data_dir()?.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/preflight/clock.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status()?;
    ensure!(compiled.success(), "the clock can't be compiled");
    let mut command = Command::new(binary("re_dms"));
    command.args(["check", "--json", "--config"]).arg(config).env("LD_PRELOAD", &library);
    let checked = Checked::of(&command.output()?)?;
    for clock in ["source: clock", "S3: clock", "loader: clock"] {
        checked.expect(clock, "warning", " s from this machine's")?;
    }
    Ok(())
}
