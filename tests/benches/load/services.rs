//! What the loader talks to, as far as it needs them: the Lambda runtime's API with one invocation, an S3 with manifests, a
//! Data API that has done everything at once, queues that take what comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use re_dms_shared::manifest::{Manifest, sha256_hex};
use re_dms_shared::message::{self, SegmentStaged};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::segments::Size;

/// Ends with the benchmark's process.
pub(crate) struct Services {
    authority: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// The first one is segment 1's.
    manifests: Vec<Vec<u8>>,
    event: String,
    told: Mutex<Told>,
    answered: Notify,
}

/// What the function did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    first_call: Option<Instant>,
    invoked: Option<Instant>,
    answered: Option<(Instant, String)>,
    pub(crate) data_api_calls: u64,
    pub(crate) s3_requests: u64,
    pub(crate) sqs_requests: u64,
    pub(crate) ledger_rows: usize,
    statements: u64,
}

impl Told {
    pub(crate) fn first_call_after(&self, start: Instant) -> Result<Duration> {
        Ok(self.first_call.context("the Data API was not called")?.duration_since(start))
    }

    /// From the event to the answer.
    pub(crate) fn invocation(&self) -> Result<Duration> {
        let (answered, _) = self.answered.as_ref().context("no answer")?;
        Ok(answered.duration_since(self.invoked.context("no invocation")?))
    }
}

impl Services {
    pub(crate) async fn start(size: Size) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let authority = listener.local_addr()?.to_string();
        let (mut manifests, mut records): (Vec<Vec<u8>>, Vec<Value>) = Default::default();
        for seq in 1..=size.segments {
            let manifest = size.manifest(seq, manifests.last().map(|before| sha256_hex(before)))?;
            let staged = SegmentStaged {
                format: message::FORMAT,
                stream: "main".into(),
                epoch: Manifest::from_json(&manifest)?.epoch,
                seq,
                bucket: "bucket".into(),
                manifest_key: format!("re_dms/main/E/segments/{seq:012}/manifest.json"),
                manifest_sha256: sha256_hex(&manifest),
                ack_queue_url: format!("http://{authority}/000000000000/acks"),
            };
            manifests.push(manifest);
            records.push(json!({
                "messageId": seq.to_string(), "receiptHandle": "r", "body": serde_json::to_string(&staged)?,
                "md5OfBody": "", "attributes": { "ApproximateReceiveCount": "1" }, "messageAttributes": {},
                "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:segments.fifo",
                "awsRegion": "us-east-1",
            }));
        }
        let event = json!({ "Records": records });
        let shared = Arc::new(Shared {
            manifests,
            event: event.to_string(),
            told: Mutex::default(),
            answered: Notify::new(),
        });
        let router = Router::new().fallback(request).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { authority, shared })
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub(crate) fn manifest_bytes(&self) -> usize {
        self.shared.manifests.iter().map(Vec::len).sum()
    }

    pub(crate) fn told(&self) -> Told {
        self.shared.told().clone()
    }

    /// The function's answer to its one invocation.
    pub(crate) async fn answer(&self) -> Result<String> {
        let answered = self.shared.answered.notified();
        if tokio::time::timeout(Duration::from_secs(120), answered).await.is_err() {
            bail!("the function did not answer: {:?}", self.told());
        }
        Ok(self.told().answered.map(|(_, answer)| answer).unwrap_or_default())
    }
}

impl Shared {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn request(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    if uri.path().starts_with("/2018-06-01/runtime/") {
        return runtime(&shared, uri.path(), &body).await;
    }
    if let Some(operation) = target.strip_prefix("RedshiftData.") {
        return data_api(&shared, operation, &body);
    }
    if target.starts_with("AmazonSQS.") {
        shared.told().sqs_requests += 1;
        return json_answer(&json!({ "MessageId": "1", "MD5OfMessageBody": "" }));
    }
    shared.told().s3_requests += 1;
    let seq = uri.path().rsplit('/').nth(1).and_then(|seq| seq.parse::<usize>().ok());
    match seq.and_then(|seq| shared.manifests.get(seq.checked_sub(1)?)) {
        Some(manifest) if method == Method::GET => manifest.clone().into_response(),
        _ => StatusCode::OK.into_response(),
    }
}

async fn runtime(shared: &Shared, path: &str, body: &[u8]) -> Response {
    if !path.ends_with("/next") {
        let answer = String::from_utf8_lossy(body).into_owned();
        shared.told().answered = Some((Instant::now(), answer));
        shared.answered.notify_one();
        return StatusCode::ACCEPTED.into_response();
    }
    let is_first = shared.told().invoked.is_none();
    if !is_first {
        std::future::pending::<()>().await;
    }
    shared.told().invoked = Some(Instant::now());
    let deadline = SystemTime::now() + Duration::from_secs(120);
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let headers = [
        ("Lambda-Runtime-Aws-Request-Id", "00000000-0000-0000-0000-000000000001".to_owned()),
        ("Lambda-Runtime-Deadline-Ms", deadline.to_string()),
        (
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:us-east-1:000000000000:function:loader".to_owned(),
        ),
        ("Content-Type", "application/json".to_owned()),
    ];
    (headers, shared.event.clone()).into_response()
}

/// Every statement is finished, and no query has rows: an empty ledger, an empty log, no tables.
fn data_api(shared: &Shared, operation: &str, body: &[u8]) -> Response {
    let mut told = shared.told();
    told.first_call.get_or_insert_with(Instant::now);
    told.data_api_calls += 1;
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let sqls = body["Sqls"].as_array().into_iter().flatten().chain(body.get("Sql"));
    let recorded =
        |sql: &&Value| sql.as_str().is_some_and(|sql| sql.starts_with("INSERT INTO \"re_dms\".\"ledger_"));
    told.ledger_rows += sqls.filter(recorded).count();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    match operation {
        "GetStatementResult" => {
            json_answer(&json!({ "Records": [], "ColumnMetadata": [], "TotalNumRows": 0 }))
        }
        _ => {
            told.statements += 1;
            let id = format!("00000000-0000-0000-0000-{:012}", told.statements);
            let session = format!("10000000-0000-0000-0000-{:012}", 1);
            json_answer(
                &json!({ "Id": id, "Status": "FINISHED", "CreatedAt": now, "SessionId": session, "HasResultSet": true }),
            )
        }
    }
}

fn json_answer(value: &Value) -> Response {
    ([("Content-Type", "application/x-amz-json-1.1")], value.to_string()).into_response()
}
