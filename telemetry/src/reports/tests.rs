//! Reports over HTTP to a receiver on this machine.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri as RequestUri};
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::fields::KeepFields;

type Received = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

/// Takes all requests, and refuses them if it is told to.
async fn receiver(answer: StatusCode) -> (String, Received) {
    let received = Received::default();
    let take = move |State(received): State<Received>, uri: RequestUri, headers: HeaderMap, body: String| async move {
        received.lock().unwrap().push((uri.to_string(), headers, body));
        answer
    };
    let router = Router::new().fallback(take).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

fn services(address: &str) -> Vec<Service> {
    vec![
        Service::Sentry(Sentry::from_dsn(&format!("http://abc123@{address}/sub/42")).unwrap()),
        Service::Rollbar(Rollbar::new("token456", &format!("http://{address}/")).unwrap()),
    ]
}

fn about() -> About {
    About { environment: "test".into(), release: "re_dms@9.9.9".into(), stream: Some("main".into()) }
}

/// Logs under a reporter to these services; says how many reports were lost.
async fn log(services: Vec<Service>, log: impl FnOnce()) -> u64 {
    let (layer, reporter, flush) = to(services, about()).unwrap();
    let lost = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&lost);
    tokio::spawn(reporter.run(move || *counted.lock().unwrap() += 1));
    let subscriber = tracing_subscriber::registry().with(KeepFields).with(layer);
    tracing::subscriber::with_default(subscriber, log);
    flush.wait(Duration::from_secs(30)).await;
    *lost.lock().unwrap()
}

#[tokio::test]
async fn errors_arrive_with_their_fields_and_other_lines_do_not() {
    let (address, received) = receiver(StatusCode::OK).await;
    let lost = log(services(&address), || {
        tracing::warn!(error = "it passes", "will be tried again");
        tracing::error!(target: "hyper::proto", "of a library");
        let span = tracing::info_span!("segment", segment = 7_u64);
        let _entered = span.enter();
        tracing::error!(error = "S3: away\n  hint: wait", table = "shop.orders", part = "stager", "ended");
    })
    .await;
    assert_eq!(lost, 0);
    let received = received.lock().unwrap();
    let [(sentry_path, sentry_headers, envelope), (rollbar_path, rollbar_headers, item)] =
        received.as_slice()
    else {
        panic!("{received:?}")
    };
    assert_eq!(sentry_path, "/sub/api/42/envelope/");
    let authorization = sentry_headers["x-sentry-auth"].to_str().unwrap();
    assert!(
        authorization.starts_with("Sentry sentry_version=7, ")
            && authorization.ends_with("sentry_key=abc123")
    );
    let lines: Vec<Value> = envelope.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [header, head, event] = lines.as_slice() else { panic!("{envelope}") };
    assert_eq!(head["length"], envelope.lines().last().unwrap().len());
    assert_eq!((&head["type"], &header["event_id"]), (&"event".into(), &event["event_id"]));
    assert_eq!(event["event_id"].as_str().unwrap().len(), 32);
    assert_eq!(event["tags"], serde_json::json!({"stream": "main", "segment": "7", "table": "shop.orders"}));
    assert_eq!(event["extra"], serde_json::json!({"part": "stager"}));
    assert_eq!(event["exception"]["values"][0]["value"], "S3: away\n  hint: wait");
    assert_eq!((&event["release"], &event["environment"]), (&"re_dms@9.9.9".into(), &"test".into()));

    assert_eq!(rollbar_path, "/api/1/item/");
    assert_eq!(rollbar_headers["x-rollbar-access-token"], "token456");
    let item: Value = serde_json::from_str(item).unwrap();
    let data = &item["data"];
    assert_eq!(data["body"]["message"]["body"], "ended: S3: away\n  hint: wait");
    assert_eq!((&data["environment"], &data["level"]), (&"test".into(), &"error".into()));
    assert_eq!((&data["custom"]["segment"], &data["custom"]["stream"]), (&7.into(), &"main".into()));
    assert!(data["timestamp"].is_i64());
}

#[tokio::test]
async fn the_same_again_is_not_sent() {
    let (address, received) = receiver(StatusCode::OK).await;
    log(services(&address), || {
        for segment in 1..5 {
            tracing::error!(
                error = format!("segment {segment}: refused"),
                table = "a.b",
                "the loader failed"
            );
        }
        tracing::error!(error = "segment 5: refused", table = "a.c", "the loader failed");
    })
    .await;
    assert_eq!(received.lock().unwrap().len(), 4, "two reports to two services");
}

#[tokio::test]
async fn what_is_refused_or_reaches_nobody_is_counted() {
    let (address, received) = receiver(StatusCode::FORBIDDEN).await;
    assert_eq!(log(services(&address), || tracing::error!("ended")).await, 2);
    assert_eq!(received.lock().unwrap().len(), 2, "not tried again");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(log(services(&free.to_string()), || tracing::error!("ended")).await, 2);
}

#[tokio::test]
async fn a_panic_is_reported_without_a_text_that_may_hold_values() {
    let (address, received) = receiver(StatusCode::OK).await;
    let before = std::panic::take_hook();
    crate::panics::log_them();
    log(services(&address), || {
        let value = String::from("hunter2");
        let _ = std::panic::catch_unwind(|| panic!("looking at {value}"));
    })
    .await;
    std::panic::set_hook(before);
    let received = received.lock().unwrap();
    assert_eq!(received.len(), 2);
    for (_, _, body) in received.iter() {
        assert!(!body.contains("hunter2") && body.contains("panicked"), "{body}");
        assert!(body.contains("reports/tests.rs") && body.contains("backtrace"), "{body}");
    }
}

#[test]
fn what_is_no_dsn_is_none_and_nothing_prints_secrets() {
    for dsn in [
        "",
        "abc",
        "https://host/1",
        "https://key@host",
        "ftp://key@host/1",
        "https://@host/1",
        "https://k@h/",
    ] {
        assert!(Sentry::from_dsn(dsn).is_none(), "{dsn}");
    }
    assert!(Rollbar::new("", rollbar::ROLLBAR).is_none() && Rollbar::new("t", "nowhere").is_none());
    let printed = format!("{:?}", services("127.0.0.1:1"));
    assert!(!printed.contains("abc123") && !printed.contains("token456"), "{printed}");
}
