//! Rule 24, all of it: whatever may go wrong does so by the configuration file's text and at the control endpoint alike.

use std::time::{Duration, Instant};

use re_dms_sandbox::redshift::FaultSettings;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::api::control;
use crate::client::{Api, BUCKET};
use crate::stand_in::{Served, Servers};

/// What goes wrong, what a client is told of it, and whether the statement is done all the same.
type Injection = (Value, &'static str, bool);

/// Whatever befalls a statement that adds a row.
fn injections() -> Vec<Injection> {
    let refused = |by: &str| json!({ "refuse_requests": { "count": 1, "by": by } });
    vec![
        (json!({ "throttle_requests": 1 }), "ThrottlingException", false),
        (refused("internal_error"), "InternalServerException", false),
        (refused("active_statements"), "ActiveStatementsExceededException", false),
        (refused("active_sessions"), "ActiveSessionsExceededException", false),
        (refused("database_connection"), "DatabaseConnectionException", false),
        (json!({ "conflict_commits": 1 }), "1023", false),
        (json!({ "fail_executions": { "count": 1 } }), "connection to the database was lost", false),
        (json!({ "fail_executions": { "count": 1, "error": "1018" } }), "1018", false),
        (json!({ "fail_executions": { "count": 1, "after_commit": true } }), "was lost", true),
        (json!({ "lose_answers": { "count": 1, "by": "internal_error" } }), "InternalServerException", true),
        // The client sees no answer at all.
        (json!({ "lose_answers": { "count": 1, "by": "connection" } }), "(\"\", \"\")", true),
        (json!({ "disk_full": true }), "Disk Full", false),
        (json!({ "cluster": "paused" }), "paused", false),
        (json!({ "cluster": "resizing" }), "read-only", false),
    ]
}

async fn set(stand_in: &Served, faults: &Value) {
    let stream = TcpStream::connect(stand_in.address).await.unwrap();
    control(stream, "POST", "/_standin/faults", &faults.to_string()).await.unwrap();
}

async fn rows(api: &Api) -> usize {
    api.rows("SELECT COUNT(*) FROM injected").await.unwrap().parse().unwrap()
}

/// A stand-in where things go wrong, and one beside it where nothing does.
struct Pair<'a> {
    stand_in: &'a Served,
    faulty: Api,
    plain: &'a Api,
}

impl Pair<'_> {
    /// Runs the statement and clears the faults.
    async fn meets(&self, sql: &str, (faults, words, done): &Injection) -> Result<(), String> {
        let before = rows(self.plain).await;
        match self.faulty.run(sql).await {
            Err(error) if error.contains(words) => {}
            Err(error) => return Err(format!("{faults}: {error} instead of {words}")),
            Ok(_) => return Err(format!("{faults}: nothing went wrong")),
        }
        let came = rows(self.plain).await - before;
        if came != usize::from(*done) {
            return Err(format!("{faults}: {came} rows came"));
        }
        set(self.stand_in, &json!({})).await;
        let again = self.faulty.run(sql).await;
        again.map(drop).map_err(|error| format!("{faults} is not over: {error}"))
    }
}

/// Each injection by the configuration, and each at a stand-in that runs.
pub(crate) async fn all(servers: &Servers) -> Result<(), String> {
    let running = servers.stand_in(|_| {}).await;
    let beside = servers.stand_in(|_| {}).await;
    let plain = Api::of(&beside.endpoint(), &servers.aws_endpoint).await;
    plain.run("CREATE TABLE injected (a INT)").await?;
    plain.put("injected/file", b"1\n".to_vec()).await;
    let copy = format!("COPY injected FROM 's3://{BUCKET}/injected/file' IAM_ROLE default CSV");
    let insert = "INSERT INTO injected VALUES (1)".to_owned();
    let refused = (json!({ "fail_copies": "the role may not" }), "the role may not", false);
    let all = injections().into_iter().map(|injection| (insert.clone(), injection));
    for (sql, injection) in all.chain([(copy, refused)]) {
        let faults: FaultSettings = serde_json::from_value(injection.0.clone()).unwrap();
        let configured = servers.stand_in(|config| config.faults = faults).await;
        for stand_in in [&configured, &running] {
            let faulty = Api::of(&stand_in.endpoint(), &servers.aws_endpoint).await;
            if std::ptr::eq(stand_in, &running) {
                set(stand_in, &injection.0).await;
            }
            Pair { stand_in, faulty, plain: &plain }.meets(&sql, &injection).await?;
        }
    }
    // Both kinds of latency, one after the other.
    for latency in ["latency_ms", "commit_latency_ms"] {
        set(&running, &json!({ latency: 400 })).await;
        let faulty = Api::of(&running.endpoint(), &servers.aws_endpoint).await;
        let began = Instant::now();
        faulty.run(&insert).await?;
        if began.elapsed() < Duration::from_millis(400) {
            return Err(format!("{latency} makes nothing slow"));
        }
    }
    Ok(())
}
