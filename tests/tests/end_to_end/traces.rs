//! A segment's trace, from its first commit on the source to the loader's acknowledgement, at a local receiver of OTLP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use re_dms_tests::{Sandbox, Signal, signal, wait_for_end};
use serde_json::{Value, json};

use crate::metrics::take_posts;

/// All spans of what was posted, with the service that they are of.
fn spans(posts: &[String]) -> Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for post in posts {
        let (head, body) = post.split_once("\r\n\r\n").context("a post has a head")?;
        ensure!(head.starts_with("POST /v1/traces ") && head.contains("application/json"), "{head}");
        let body: Value = serde_json::from_str(body)?;
        for resource in body["resourceSpans"].as_array().context("resources")? {
            let service = resource["resource"]["attributes"][0]["value"]["stringValue"].clone();
            let service = service.as_str().context("a service")?;
            for scope in resource["scopeSpans"].as_array().context("scopes")? {
                let found = scope["spans"].as_array().context("spans")?;
                all.extend(found.iter().map(|span| (service.to_owned(), span.clone())));
            }
        }
    }
    Ok(all)
}

fn nanoseconds(span: &Value, field: &str) -> Result<u64> {
    Ok(span[field].as_str().context("a time is a text")?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capture_and_loader_tell_of_one_segment_in_one_trace() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let posts = Arc::new(Mutex::new(Vec::new()));
    let taking = tokio::spawn(take_posts(listener, Arc::clone(&posts)));
    let mut sandbox = Sandbox::up_with(&format!(
        "[traces]\notlp_endpoint = \"{endpoint}\"\notlp_headers = [\"authorization=Bearer geheim\"]\n"
    ))?;
    sandbox.restart_with_loader(&json!({ "RE_DMS_OTLP_ENDPOINT": endpoint }))?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);
             BEGIN; INSERT INTO a VALUES (1, 'planted7351'); INSERT INTO b VALUES (1, 'planted7351'); COMMIT",
        )
        .await?;
    sandbox.wait_and_compare()?;
    // The last spans go out with the end.
    let pid = sandbox.pid("capture")?;
    signal(pid, Signal::TERM)?;
    wait_for_end(pid)?;
    taking.abort();

    let posts = posts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(posts.iter().any(|post| post.to_lowercase().contains("authorization: bearer geheim")));
    ensure!(!posts.iter().any(|post| post.contains("planted7351")), "a value is in a trace");
    let log = std::fs::read_to_string(sandbox.text("capture_log")?)?;
    ensure!(!log.contains("geheim"), "a header is in the log");
    let spans = spans(&posts)?;
    let mut traces: BTreeMap<&str, Vec<&(String, Value)>> = BTreeMap::new();
    for span in &spans {
        traces.entry(span.1["traceId"].as_str().context("a trace")?).or_default().push(span);
    }
    // The one with both tables, if the first did not come in a segment of its own: at least one is whole.
    let has = |trace: &[&(String, Value)], service: &str, name: &str| {
        trace.iter().any(|(of, span)| of == service && span["name"] == name)
    };
    let of_capture =
        ["segment", "collect", "render", "upload", "write the manifest", "announce", "wait for the loader"];
    let of_loader = [
        "load",
        "statement",
        "locking the ledger",
        "copying from S3",
        "inserting rows",
        "recording the segment in the ledger",
        "acknowledge",
    ];
    let is_whole = |trace: &[&(String, Value)]| {
        of_capture.iter().all(|name| has(trace, "re_dms", name))
            && of_loader.iter().all(|name| has(trace, "re_dms_loader", name))
    };
    let whole: Vec<_> = traces.values().filter(|trace| is_whole(trace)).collect();
    ensure!(!whole.is_empty(), "no trace is whole: {spans:#?}");
    for trace in whole {
        let ids: BTreeSet<_> = trace.iter().filter_map(|(_, span)| span["spanId"].as_str()).collect();
        ensure!(ids.len() == trace.len(), "an id occurs twice: {trace:?}");
        let roots: Vec<_> = trace.iter().filter(|(_, span)| span["parentSpanId"].is_null()).collect();
        ensure!(roots.len() == 1 && roots[0].1["name"] == "segment", "{roots:?}");
        for (_, span) in trace {
            let parent = span["parentSpanId"].as_str();
            ensure!(parent.is_none_or(|parent| ids.contains(parent)), "its parent is missing: {span}");
            let (start, end) =
                (nanoseconds(span, "startTimeUnixNano")?, nanoseconds(span, "endTimeUnixNano")?);
            ensure!(start <= end && start > 1_600_000_000_000_000_000, "{span}");
        }
        let load = trace.iter().find(|(_, span)| span["name"] == "load").context("a load")?;
        let copy = trace.iter().find(|(_, span)| span["name"] == "copying from S3").context("a copy")?;
        ensure!(copy.1["parentSpanId"] == load.1["spanId"], "{copy:?}");
        ensure!(nanoseconds(&copy.1, "endTimeUnixNano")? > nanoseconds(&copy.1, "startTimeUnixNano")?);
    }
    Ok(())
}
