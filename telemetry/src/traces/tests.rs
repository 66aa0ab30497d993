//! Against a local receiver.

use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::*;

type Posts = Arc<Mutex<Vec<(String, String)>>>;

/// Keeps what is posted, with the header `key` and the content's type.
async fn receiver() -> (String, Posts) {
    let posts = Posts::default();
    let take = async |State(posts): State<Posts>, headers: HeaderMap, body: String| {
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        posts.lock().unwrap().push((header("content-type") + " " + &header("key"), body));
        StatusCode::OK
    };
    let router = axum::Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&posts));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/"), posts)
}

fn service() -> Service {
    Service { name: "re_dms", version: "0.1.0", environment: "testing".into() }
}

#[tokio::test]
async fn spans_of_one_segment_make_one_trace() {
    let (endpoint, posts) = receiver().await;
    let (tracer, exporter) = to(Collector::new(&endpoint, ["key=geheim"]).unwrap(), service()).unwrap();
    tokio::spawn(exporter.run());
    let trace = Trace::of_digest(&std::array::from_fn(|number| u8::try_from(number).unwrap()));
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let child = SpanId([9; 8]);
    tracer.send(trace.root("segment", at(1)).until(at(4)).with("re_dms.segment", 7));
    tracer.send(trace.span("load", at(2)).until(at(3)).identified(child).failed("refused"));
    let below = trace.span("copying from S3", at(2)).until(at(1)).below(child);
    tracer.send(below.identified(SpanId([8; 8])).with("re_dms.table", "shop.orders"));
    tracer.flush(Duration::from_secs(20)).await;
    let posts = posts.lock().unwrap();
    let [(headers, body)] = posts.as_slice() else { panic!("{posts:?}") };
    assert_eq!(headers, "application/json geheim");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    insta::assert_json_snapshot!(body);
}

#[tokio::test]
async fn what_cannot_be_sent_is_lost_and_holds_up_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (tracer, exporter) = to(Collector::new(&closed, []).unwrap(), service()).unwrap();
    let trace = Trace::of_digest(&[7; 32]);
    for _ in 0..MOST_WAITING + 10 {
        tracer.send(trace.span("x", UNIX_EPOCH));
    }
    tokio::spawn(exporter.run());
    tracer.flush(Duration::from_secs(20)).await;
    Tracer::default().send(trace.span("x", UNIX_EPOCH));
    Tracer::default().flush(Duration::from_secs(20)).await;
    assert!(tracer.is_on() && !Tracer::default().is_on());
}

#[test]
fn addresses_and_headers_that_cannot_be_used_are_refused() {
    for (endpoint, headers) in [
        ("localhost:4318", vec![]),
        ("ftp://localhost", vec![]),
        ("http://localhost", vec!["no value"]),
        ("http://localhost", vec!["a name=value"]),
        ("http://localhost", vec!["name=li\nne"]),
    ] {
        assert!(Collector::new(endpoint, headers.iter().copied()).is_none(), "{endpoint} {headers:?}");
    }
    let collector =
        Collector::new("https://traces.example:4318/otlp", ["authorization=Basic geheim"]).unwrap();
    assert_eq!(collector.uri.path(), "/otlp/v1/traces");
    assert!(!format!("{collector:?}").contains("geheim"));
}
