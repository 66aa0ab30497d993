//! Rules 16, 18, 21 to 24 as far as one statement can't tell them: manifests, requests, batches, and what goes wrong.

use std::time::Duration;

use aws_sdk_redshiftdata::types::{SqlParameter, StatementStatusString, StatusString, SubStatementData};

use crate::client::{Api, BUCKET, DATABASE, refusal};
use crate::injections;
use crate::stand_in::Servers;

type Outcome = (u8, &'static str, Result<(), String>);

/// Every case of this file.
pub(crate) async fn all(servers: &Servers, api: &Api) -> Vec<Outcome> {
    vec![
        (8, "tables have at most 1600 columns", wide_tables(api).await),
        (16, "statements have at most 100 KB", long_statements(api).await),
        (18, "manifests", manifests(api).await),
        (21, "tables and files that are not there", nothing_to_load(api).await),
        (22, "requests", requests(api).await),
        (22, "parameters", parameters(api).await),
        (23, "one statement a text", one_statement(api).await),
        (23, "batches", batches(api).await),
        (23, "tokens", tokens(api).await),
        (23, "sessions", sessions(api).await),
        (23, "what is remembered, and how long", memory(servers).await),
        (23, "what the documents leave open", open_points(servers).await),
        (24, "faults", faults(servers).await),
        (24, "each injection, both ways", injections::all(servers).await),
    ]
}

#[expect(clippy::needless_pass_by_value, reason = "what is compared is made for it")]
fn expect(
    found: impl PartialEq<&'static str> + std::fmt::Debug,
    expected: &'static str,
) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn fails<T>(result: Result<T, String>, words: &str) -> Result<(), String> {
    match result {
        Ok(_) => Err(format!("passed instead of failing with {words:?}")),
        Err(error) if error.contains(words) => Ok(()),
        Err(error) => Err(format!("{error:?} does not hold {words:?}")),
    }
}

async fn wide_tables(api: &Api) -> Result<(), String> {
    let sql = |columns: usize| {
        let columns: Vec<_> = (0..columns).map(|number| format!("c{number} INT")).collect();
        format!("CREATE TABLE wide (\"id\" INT, {})", columns.join(", "))
    };
    fails(api.run(&sql(1600)).await, "1600 columns")?;
    api.run(&sql(1599)).await.map(drop)
}

async fn long_statements(api: &Api) -> Result<(), String> {
    let sql = |bytes: usize| format!("SELECT '{}'", "x".repeat(bytes - "SELECT ''".len()));
    api.run(&sql(100 * 1024)).await?;
    fails(api.run(&sql(100 * 1024 + 1)).await, "ValidationException")?;
    fails(api.batch(&[sql(100 * 1024 + 1)]).await, "ValidationException")
}

async fn manifests(api: &Api) -> Result<(), String> {
    api.run("CREATE TABLE listed (a INT)").await?;
    api.put("m/1", b"1\n".to_vec()).await;
    api.put("m/10", b"10\n".to_vec()).await;
    let copy = |key: &str, options: &str| {
        format!("COPY listed FROM 's3://{BUCKET}/{key}' IAM_ROLE default CSV {options}")
    };
    let entry = |url: &str, more: &str| format!(r#"{{"url":"{url}"{more}}}"#);
    let (one, gone) = (format!("s3://{BUCKET}/m/1"), format!("s3://{BUCKET}/m/gone"));
    let manifests = [
        (format!(r#"{{"entries":[{},{}]}}"#, entry(&one, ""), entry(&one, "")), None),
        (format!(r#"{{"entries":[{},{}]}}"#, entry(&one, ""), entry(&gone, r#","mandatory":false"#)), None),
        (format!(r#"{{"entries":[{}]}}"#, entry(&one, r#","meta":{"content_length":2}"#)), None),
        (
            format!(r#"{{"entries":[{},{}]}}"#, entry(&one, ""), entry(&gone, r#","mandatory":true"#)),
            Some("NoSuchKey"),
        ),
        (format!(r#"{{"entries":[{}]}}"#, entry(&gone, "")), Some("does not exist")),
        (format!(r#"{{"entries":[{}]}}"#, entry(&format!("s3://{BUCKET}/m/"), "")), Some("8001")),
        (format!(r#"{{"entries":[{}]}}"#, entry("m/1", "")), Some("8001")),
        (
            format!(r#"{{"entries":[{}]}}"#, entry(&one, r#","size":2"#)),
            Some("Problem reading manifest file"),
        ),
        (format!(r#"{{"files":[{}]}}"#, entry(&one, "")), Some("Problem reading manifest file")),
        (format!("[{}]", entry(&one, "")), Some("Problem reading manifest file")),
        (r#"{"entries":[]}"#.to_owned(), Some("Problem reading manifest file")),
        ("1\n".to_owned(), Some("Problem reading manifest file")),
    ];
    for (text, error) in manifests {
        api.put("m.manifest", text.clone().into_bytes()).await;
        let ran = api.run(&copy("m.manifest", "MANIFEST")).await;
        match error {
            None => ran.map(|_| ()).map_err(|error| format!("{text}: {error}"))?,
            Some(words) => fails(ran, words).map_err(|error| format!("{text}: {error}"))?,
        }
    }
    expect(api.rows("SELECT a, COUNT(*) FROM listed GROUP BY a").await?.as_str(), "1,4")?;
    fails(api.run(&copy("m.manifes", "MANIFEST")).await, "Problem reading manifest file")?;
    // Compressed it is none, and without its keyword it is data.
    api.put("m.manifest", vec![0x1f, 0x8b, 8, 0]).await;
    fails(api.run(&copy("m.manifest", "GZIP MANIFEST")).await, "Problem reading manifest file")?;
    api.put("m.manifest", format!(r#"{{"entries":[{}]}}"#, entry(&one, "")).into_bytes()).await;
    fails(api.run(&copy("m.manifest", "")).await, "Load into table 'listed' failed")?;
    fails(api.run(&copy("m.manifest", "GZIP")).await, "decompressed")?;
    // Without a manifest the path is a prefix.
    let loaded = api.run(&copy("m/1", "")).await?;
    ensure(loaded.result_rows() == 2, "m/1 and m/10 begin with m/1")
}

async fn nothing_to_load(api: &Api) -> Result<(), String> {
    let copy = format!("COPY nowhere FROM 's3://{BUCKET}/m/1' IAM_ROLE default CSV");
    fails(api.run(&copy).await, "nonexistent table nowhere")?;
    let copy = format!("COPY listed FROM 's3://{BUCKET}/none' IAM_ROLE default CSV");
    fails(api.run(&copy).await, "does not exist")?;
    let copy = "COPY listed FROM 's3://no-such-bucket/none' IAM_ROLE default CSV";
    fails(api.run(copy).await, "S3ServiceException")
}

async fn requests(api: &Api) -> Result<(), String> {
    let execute = || api.client.execute_statement().sql("SELECT 1");
    let target = || execute().database(DATABASE).workgroup_name("rules");
    let refused = [
        execute().database(DATABASE),
        execute().workgroup_name("rules"),
        target().cluster_identifier("c"),
        target().db_user("u"),
        target().secret_arn("no-arn"),
        target().session_id("7f0c2f6a-8b8e-4a53-9d5e-3f3b5a6d7c8b"),
        execute().database(DATABASE).cluster_identifier("c").db_user("u").secret_arn("arn:aws:x"),
        execute().database(DATABASE).cluster_identifier("Not-A-Name"),
        execute().database("elsewhere").workgroup_name("rules"),
        target().client_token("x".repeat(65)),
        target().wait_time_seconds(31),
        target().session_keep_alive_seconds(86_401),
        target().sql(""),
    ];
    for (position, request) in refused.into_iter().enumerate() {
        match request.send().await {
            Ok(_) => return Err(format!("request {position} passed")),
            Err(error) => expect(refusal(&error).0.as_str(), "ValidationException")
                .map_err(|found| format!("request {position}: {found}"))?,
        }
    }
    let by_user = execute().database(DATABASE).cluster_identifier("c").db_user("u").send().await;
    by_user.map_err(|error| format!("{:?}", refusal(&error)))?;
    for count in [0, 41] {
        fails(api.batch(&vec!["SELECT 1".to_owned(); count]).await, "ValidationException")?;
    }
    api.batch(&vec!["SELECT 1".to_owned(); 40]).await.map(|_| ())
}

async fn parameters(api: &Api) -> Result<(), String> {
    let parameter =
        |name: &str, value: &str| SqlParameter::builder().name(name).value(value).build().unwrap();
    let request = |sql: &str, parameters: Vec<SqlParameter>| {
        let request = api.client.execute_statement().sql(sql).database(DATABASE).workgroup_name("rules");
        request.set_parameters(Some(parameters)).send()
    };
    let refused = [
        ("SELECT :a", vec![]),
        ("SELECT :a", vec![parameter("a", "")]),
        ("SELECT :a", vec![parameter("a", "1"), parameter("b", "1")]),
        ("SELECT 1", vec![parameter("a", "1")]),
        ("SELECT ':a'", vec![parameter("a", "1")]),
        ("SELECT :a -- :b", vec![parameter("a", "1"), parameter("b", "1")]),
        ("SELECT :a", vec![parameter("a", "1"), parameter("a", "1")]),
        ("SELECT :a", vec![parameter("a-b", "1")]),
    ];
    for (sql, parameters) in refused {
        match request(sql, parameters).await {
            Ok(_) => return Err(format!("{sql} passed")),
            Err(error) => expect(refusal(&error).0.as_str(), "ValidationException")?,
        }
    }
    let sent = request("SELECT :a::int + 1, :b", vec![parameter("a", "41"), parameter("b", "null")]).await;
    let id = sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
    api.ended(&id).await?;
    // A name is no value.
    let sent = request("SELECT 1 FROM :t", vec![parameter("t", "listed")]).await;
    let id = sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
    fails(api.ended(&id).await, "syntax error")
}

async fn one_statement(api: &Api) -> Result<(), String> {
    fails(api.run("SELECT 1; SELECT 2").await, "multiple commands")?;
    fails(api.batch(&["SELECT 1; SELECT 2".to_owned()]).await, "multiple commands")?;
    api.run("SELECT 1;").await.map(|_| ())
}

async fn batches(api: &Api) -> Result<(), String> {
    api.run("CREATE TABLE batched (a INT NOT NULL)").await?;
    let sqls = ["INSERT INTO batched VALUES (1), (2)", "INSERT INTO batched VALUES (NULL)", "SELECT 1"];
    let request = api.client.batch_execute_statement().set_sqls(Some(sqls.map(str::to_owned).to_vec()));
    let sent = request.database(DATABASE).workgroup_name("rules").send().await;
    let id = sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
    fails(api.ended(&id).await, "Cannot insert a NULL value into column a")?;
    let described =
        api.client.describe_statement().id(&id).send().await.map_err(|e| format!("{:?}", refusal(&e)))?;
    let subs = described.sub_statements();
    let ids: Vec<&str> = subs.iter().map(SubStatementData::id).collect();
    ensure(ids == [format!("{id}:1"), format!("{id}:2"), format!("{id}:3")], "the parts' ids")?;
    let statuses: Vec<_> =
        subs.iter().filter_map(|sub| sub.status().map(StatementStatusString::as_str)).collect();
    ensure(statuses == ["FINISHED", "FAILED", "ABORTED"], &format!("{statuses:?}"))?;
    ensure(subs[0].result_rows() == 2 && subs[2].result_rows() == -1, "ResultRows")?;
    expect(api.rows("SELECT COUNT(*) FROM batched").await?.as_str(), "0")?;
    fails(api.batch(&["BEGIN".to_owned(), "SELECT 1".to_owned()]).await, "transaction control")?;
    fails(api.batch(&["SELECT 1".to_owned(), "COMMIT".to_owned()]).await, "transaction control")?;
    for id in [id.clone(), format!("{id}:1")] {
        match api.client.get_statement_result().id(&id).send().await {
            Ok(_) => return Err(format!("{id} has a result")),
            Err(error) => expect(refusal(&error).0.as_str(), "ResourceNotFoundException")?,
        }
    }
    let inserted = api.run("INSERT INTO batched VALUES (1)").await?;
    match api.client.get_statement_result().id(inserted.id()).send().await {
        Ok(_) => Err("an INSERT has a result".to_owned()),
        Err(error) => expect(refusal(&error).0.as_str(), "ResourceNotFoundException"),
    }
}

async fn tokens(api: &Api) -> Result<(), String> {
    let request = |sql: &str| {
        let request = api.client.execute_statement().sql(sql).database(DATABASE).workgroup_name("rules");
        request.client_token("a-token-of-the-rules").send()
    };
    let first = request("INSERT INTO batched VALUES (7)").await.map_err(|e| format!("{:?}", refusal(&e)))?;
    let second = request("INSERT INTO batched VALUES (7)").await.map_err(|e| format!("{:?}", refusal(&e)))?;
    ensure(first.id() == second.id(), "a token names one statement")?;
    api.ended(first.id().unwrap_or_default()).await?;
    expect(api.rows("SELECT COUNT(*) FROM batched WHERE a = 7").await?.as_str(), "1")?;
    match request("SELECT 1").await {
        Ok(_) => Err("a token was taken for another statement".to_owned()),
        Err(error) => expect(refusal(&error).0.as_str(), "ValidationException"),
    }
}

async fn sessions(api: &Api) -> Result<(), String> {
    let session = api.session("BEGIN").await?;
    api.in_session(&session, "CREATE TEMP TABLE mine (a INT)").await?;
    // A failure ends the transaction, wherever it was noticed.
    fails(api.in_session(&session, "SELEC 1").await, "syntax error")?;
    fails(api.in_session(&session, "SELECT 1").await, "current transaction is aborted")?;
    api.in_session(&session, "COMMIT").await?;
    fails(api.in_session(&session, "SELECT * FROM mine").await, "does not exist")?;
    api.in_session(&session, "SELECT 1").await.map(|_| ())
}

async fn memory(servers: &Servers) -> Result<(), String> {
    let forgetful = servers
        .stand_in(|config| {
            config.memory.statement_seconds = 1;
            config.memory.token_seconds = 1;
        })
        .await;
    let api = Api::of(&forgetful.endpoint(), &servers.aws_endpoint).await;
    let request = || {
        let request =
            api.client.execute_statement().sql("SELECT 1").database(DATABASE).workgroup_name("rules");
        request.client_token("again").send()
    };
    let first = request().await.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let second = request().await.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
    ensure(first != second, "the token was remembered for too long")?;
    match api.client.describe_statement().id(first).send().await {
        Ok(_) => Err("the statement was remembered for too long".to_owned()),
        Err(error) => expect(refusal(&error).0.as_str(), "ResourceNotFoundException"),
    }
}

/// The other reading, changed while it runs.
async fn open_points(servers: &Servers) -> Result<(), String> {
    let stand_in = servers.stand_in(|_| {}).await;
    let api = Api::of(&stand_in.endpoint(), &servers.aws_endpoint).await;
    api.run("CREATE TABLE opened (a INT, j SUPER)").await?;
    api.put("open/null", b"\"\\N\",1\n".to_vec()).await;
    let copy = format!("COPY opened FROM 's3://{BUCKET}/open/null' IAM_ROLE default CSV");
    let alter = |name: &str| {
        vec![
            format!("ALTER TABLE opened ADD COLUMN {name} INT"),
            format!("COPY opened (a, j) {}", &copy[12..]),
        ]
    };
    let commit = ["INSERT INTO opened (a) VALUES (5)", "COMMIT", "SELECT 1 / 0"].map(str::to_owned);
    ensure(api.run(&copy).await?.result_rows() == 1, "a quoted NULL is NULL, and counted")?;
    api.run("SELECT '1'::int").await?;
    fails(api.batch(&alter("b")).await, "altered")?;
    fails(api.batch(&commit).await, "transaction control")?;
    expect(api.rows("SELECT COUNT(*) FROM opened WHERE a = 5").await?.as_str(), "0")?;
    let client = &api.client;
    let token = |sql: &'static str| async move {
        let request = client.execute_statement().sql(sql).database(DATABASE).workgroup_name("rules");
        request
            .client_token("a-token-that-is-used-again")
            .send()
            .await
            .map_err(|e| format!("{:?}", refusal(&e)))
    };
    let first = token("SELECT 1").await?;
    fails(token("SELECT 2").await, "ValidationException")?;
    // A row of 5 MB, all but a byte of it blanks in excess; NULL AS with two backslashes for one in the file.
    api.run("CREATE TABLE long_row (a VARCHAR(1))").await?;
    api.put("open/long", format!("\"1{}\"\n", " ".repeat(5 << 20)).into_bytes()).await;
    let long = format!("COPY long_row FROM 's3://{BUCKET}/open/long' IAM_ROLE default CSV");
    fails(api.run(&long).await, "failed")?;
    api.put("open/backslash", b"\\N,1\n".to_vec()).await;
    let backslash = format!(
        "COPY opened (a, j) FROM 's3://{BUCKET}/open/backslash' IAM_ROLE default CSV NULL AS '\\\\N'"
    );
    fails(api.run(&backslash).await, "failed")?;
    let client = tokio::net::TcpStream::connect(stand_in.address).await.unwrap();
    let other = serde_json::json!({"open_points": {
        "copies_report_rows": false, "colons_are_parameters": true, "copies_may_follow_alter": true, "batches_may_commit": true,
        "reused_tokens_replay": true, "copy_row_megabytes": 64, "copy_strings_are_escaped": true,
    }});
    control(client, "PATCH", "/_standin/settings", &other.to_string()).await?;
    ensure(api.run(&copy).await?.result_rows() == -1, "rows are not told")?;
    fails(api.run("SELECT '1'::int").await, "ValidationException")?;
    ensure(token("SELECT 2").await?.id() == first.id(), "a token names its first statement")?;
    api.run(&long).await?;
    api.run(&backslash).await?;
    api.batch(&alter("b")).await?;
    fails(api.batch(&commit).await, "division by zero")?;
    expect(api.rows("SELECT COUNT(*) FROM opened WHERE a = 5").await?.as_str(), "1")?;
    let client = tokio::net::TcpStream::connect(stand_in.address).await.unwrap();
    let other = serde_json::json!({"open_points": {"quoted_fields_may_be_null": false}});
    control(client, "PATCH", "/_standin/settings", &other.to_string()).await?;
    fails(api.run(&format!("COPY opened (a, j) {}", &copy[12..])).await, "failed")
}

async fn faults(servers: &Servers) -> Result<(), String> {
    let settings = serde_json::json!({
        "throttle_requests": 1,
        "refuse_requests": { "count": 1, "by": "active_statements" },
        "conflict_commits": 1,
    });
    let stand_in = servers.stand_in(|config| config.faults = serde_json::from_value(settings).unwrap()).await;
    let api = Api::of(&stand_in.endpoint(), &servers.aws_endpoint).await;
    fails(api.run("SELECT 1").await, "ThrottlingException")?;
    fails(api.run("SELECT 1").await, "ActiveStatementsExceededException")?;
    fails(api.run("INSERT INTO batched VALUES (9)").await, "1023")?;
    let set = async |settings: serde_json::Value| {
        let client = tokio::net::TcpStream::connect(stand_in.address).await.unwrap();
        control(client, "PATCH", "/_standin/faults", &settings.to_string()).await
    };
    let refused = serde_json::json!({"refuse_requests": {"count": 1, "by": "internal_error"}});
    set(refused).await?;
    fails(api.run("INSERT INTO batched VALUES (9)").await, "InternalServerException")?;
    set(serde_json::json!({"disk_full": true})).await?;
    fails(api.run("INSERT INTO batched VALUES (9)").await, "Disk Full")?;
    api.run("SELECT 1").await?;
    set(serde_json::json!({"disk_full": false, "cluster": "paused"})).await?;
    fails(api.run("SELECT 1").await, "paused")?;
    set(serde_json::json!({"cluster": "resizing"})).await?;
    fails(api.run("INSERT INTO batched VALUES (9)").await, "resizing")?;
    api.run("SELECT 1").await?;
    set(serde_json::json!({"cluster": "available"})).await?;
    expect(api.rows("SELECT COUNT(*) FROM batched WHERE a = 9").await?.as_str(), "0")?;
    // Done, and the answer says the opposite.
    set(serde_json::json!({"fail_executions": {"count": 1, "after_commit": true}})).await?;
    fails(api.run("INSERT INTO batched VALUES (9)").await, "lost")?;
    expect(api.rows("SELECT COUNT(*) FROM batched WHERE a = 9").await?.as_str(), "1")?;
    // Done, and no answer comes.
    set(serde_json::json!({"lose_answers": {"count": 1, "by": "internal_error"}})).await?;
    fails(api.run("INSERT INTO batched VALUES (9)").await, "InternalServerException")?;
    expect(api.rows("SELECT COUNT(*) FROM batched WHERE a = 9").await?.as_str(), "2")?;
    set(serde_json::json!({"latency_ms": 300, "commit_latency_ms": 300})).await?;
    let began = std::time::Instant::now();
    let ran = api.run("INSERT INTO batched VALUES (9)").await?;
    ensure(began.elapsed() >= Duration::from_millis(600), "statement and commit are slow")?;
    ensure(ran.status() == Some(&StatusString::Finished), "and still done")?;
    fails(set(serde_json::json!({"latency": 1})).await, "422")
}

/// One plain request; the stand-in closes the connection after its answer. Returns the body.
pub(crate) async fn control(
    mut stream: tokio::net::TcpStream,
    method: &str,
    path: &str,
    body: &str,
) -> Result<String, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: stand-in\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let answer = if answer.starts_with("HTTP/1.1 2") { Ok(answer) } else { Err(answer) };
    answer.map(|answer| answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}
